import { performance } from 'node:perf_hooks';
import type { DataSpec } from '../data/data-spec.js';
import { modelInputs } from '../data/model-inputs.js';
import type { Model } from '../graph/model.js';
import { externalStorages } from '../onnx/model-tensors.js';
import type { RuntimeHost } from '../runtime/host.js';
import { stageModel } from '../runtime/staged-model.js';
import { bytesOf } from '../tensor/tensor.js';
import type { Observations } from './calibration-table.js';
import { loopOutputs } from './loop-observer.js';
import { extremesTap } from './extremes-tap.js';
import { collectTask, type CollectRequest, type SeenValues } from './collect-task.js';
import type { ModelSource, RunPlan } from './sample-runner.js';
import { sampledTap } from './sampled-tap.js';
import { tapValues } from './tap.js';

/** What to observe, and with which data. */
export interface CollectOptions {
  /** The float model as it will be quantized. */
  readonly model: Model;
  /** Folder of the model's side files. */
  readonly externalDataFolder: string;
  /** Values of the main graph to observe: outputs of nodes, and inputs of the model. */
  readonly names: readonly string[];
  readonly data: DataSpec;
  /** Names of samples that are left out, such as those held out for checking. */
  readonly exclude?: readonly string[];
  /** Whether every element is counted, or large activations on a grid; `auto`, the default, counts all of up to 64 samples. */
  readonly exact?: boolean | 'auto';
  /**
   * Observes extremes only, of every element: enough for the range method `minmax`, and faster. The records hold no bins. A function tells which
   * values are float32; the runtime finds the extremes of these.
   */
  readonly extremesOnly?: ((value: string) => boolean) | undefined;
  /** Threads to use; one for each core, where absent. */
  readonly threads?: number;
  /** Worker threads to share the samples with, for tests; chosen where absent. What is observed does not depend on it. */
  readonly workers?: number;
}

/** What was observed, and what it took. */
export interface CollectResult extends Observations {
  /** Time for all parts that were observed together. */
  readonly durationMs: number;
  /** Time in the runtime, summed over sessions that run at the same time. */
  readonly inferenceMs: number;
  readonly peakRssBytes: number;
}

/**
 * Runs a model on data in the host's child process and observes values. To count large activations on a grid, their types and
 * dimensions must be known: then the first sample is run whole beforehand. Throws QdqError: those of `openData` and of the
 * samples, `data-empty` where all samples are excluded, `runtime-rejected`, `interrupted`.
 */
export async function collect(host: RuntimeHost, options: CollectOptions): Promise<CollectResult> {
  return (await collectParts(host, options, [options.exclude ?? []]))[0]!;
}

/** The same for several parts of the data that are observed apart, each without the samples of some names. */
export async function collectParts(host: RuntimeHost, options: Omit<CollectOptions, 'exclude'>, excludes: readonly (readonly string[])[]): Promise<CollectResult[]> {
  const start = performance.now();
  const { model, externalDataFolder, data, exact = 'auto', extremesOnly, threads, workers } = options;
  const tap = tapValues(model, options.names);
  const stage = (tapped: Model, name: string) => stageTap(host, tapped, name, externalDataFolder);
  const inLoops = new Set(loopOutputs(tap.looped));
  const { model: whole, extremes } = extremesOnly ? extremesTap(tap.model, (value) => !inLoops.has(value) && extremesOnly(value)) : { model: tap.model };
  const request: CollectRequest = {
    plan: { ...(tap.computed.length + tap.looped.size > 0 && { whole: await stage(whole, 'whole') }), fed: tap.fed, handedOut: [...tap.handedOut], ...(tap.looped.size > 0 && { looped: tap.looped }), ...(extremes && { extremes }) },
    inputs: modelInputs(model.graph),
    data,
    excludes,
    // Extremes need no sampling to be cheap. What is large in one branch has no elements where another one is taken: there is no one grid. Loops sample by themselves.
    exact: extremes ? 'as planned' : tap.handedOut.size + tap.looped.size > 0 || exact,
    maxSessions: maxSessions(model),
    ...(threads !== undefined && { threads }),
    ...(workers !== undefined && { workers }),
  };
  let outcome = await host.run(collectTask, request);
  if (outcome.kind === 'seen') {
    const sampled = await planSampled(tap.model, outcome, stage);
    outcome = await host.run(collectTask, { ...request, plan: { ...request.plan, ...(sampled && { sampled }) }, exact: 'as planned' });
  }
  if (outcome.kind !== 'observed') throw new TypeError('a plan that is final was not carried out');
  const durationMs = performance.now() - start;
  return outcome.parts.map((part) => ({ ...part, durationMs }));
}

/** Weights that all sessions together may hold in memory, beyond those of the first. */
const MAX_SESSION_BYTES = 2e9;

/** Each session holds weights of its own, so that large models get few of them. */
function maxSessions({ graph }: Model): number {
  return Math.max(1, Math.floor(MAX_SESSION_BYTES / Math.max(1, bytesOf(graph.initializers.values()))));
}

/** How to run samples like the one that was seen with large values reduced; undefined where none is large. */
async function planSampled(
  model: Model,
  { values, inputDims }: SeenValues,
  stage: (tapped: Model, name: string) => Promise<ModelSource>,
): Promise<RunPlan['sampled'] | undefined> {
  const reduced = sampledTap(model, values);
  if (!reduced) return undefined;
  const { joined, steps } = reduced;
  return { source: await stage(reduced.model, 'sampled'), joined, steps, inputDims };
}

/** Puts a tapped model where the sessions of several threads can open it. */
async function stageTap(host: RuntimeHost, model: Model, name: string, externalDataFolder: string): Promise<ModelSource> {
  const staged = await stageModel(host, model, `tapped-${name}.onnx`, externalDataFolder);
  const [external] = externalStorages(model);
  return external ? staged : { path: staged.path };
}
