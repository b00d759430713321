import { performance } from 'node:perf_hooks';
import type { DataSpec } from '../data/data-spec.js';
import { modelInputs } from '../data/model-inputs.js';
import type { Model } from '../graph/model.js';
import { externalStorages } from '../onnx/model-tensors.js';
import type { RuntimeHost } from '../runtime/host.js';
import { stageModel } from '../runtime/staged-model.js';
import { bytesOf } from '../tensor/tensor.js';
import type { Observations } from './calibration-table.js';
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
  /** Observes extremes only: enough for the range method `minmax`, and faster. The records hold no bins. */
  readonly extremesOnly?: boolean;
  /** Threads to use; one for each core, where absent. */
  readonly threads?: number;
  /** Worker threads to share the samples with, for tests; chosen where absent. What is observed does not depend on it. */
  readonly workers?: number;
}

/** What was observed, and what it took. */
export interface CollectResult extends Observations {
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
  const start = performance.now();
  const { model, externalDataFolder, data, exclude = [], exact = 'auto', extremesOnly = false, threads, workers } = options;
  const tap = tapValues(model, options.names);
  const stage = (tapped: Model, name: string) => stageTap(host, tapped, name, externalDataFolder);
  const request: CollectRequest = {
    plan: { ...(tap.computed.length > 0 && { whole: await stage(tap.model, 'whole') }), fed: tap.fed, handedOut: [...tap.handedOut], extremesOnly },
    inputs: modelInputs(model.graph),
    data,
    exclude,
    // What is large in one branch has no elements where another one is taken: there is no one grid.
    exact: tap.handedOut.size > 0 || exact,
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
  const { kind: _, ...observed } = outcome;
  return { ...observed, durationMs: performance.now() - start };
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
