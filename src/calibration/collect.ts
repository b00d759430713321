import { dirname } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { DataSpec } from '../data/data-spec.js';
import { openData } from '../data/open-data.js';
import { defineTask, type TaskContext } from '../runtime/task.js';
import { sortObservations, type NonFinite, type Observations, type TableSample } from './calibration-table.js';
import { ModelTaps } from './model-taps.js';
import { observeSamples } from './observe-samples.js';

/** What to observe, and with which data. Plain data. */
export interface CollectArguments {
  /** The float model as it will be quantized, in a temporary folder: files are written beside it. */
  readonly modelPath: string;
  /** Folder of the model's side files, where that is not the model's. */
  readonly externalDataFolder?: string;
  /** Values of the main graph to observe: outputs of nodes, and inputs of the model. */
  readonly names: readonly string[];
  readonly data: DataSpec;
  /** Names of samples that are left out, such as those held out for checking. */
  readonly exclude?: readonly string[];
  /** Whether every element is counted, or large activations on a grid; `auto`, the default, counts all of up to 64 samples. */
  readonly exact?: boolean | 'auto';
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

/** From more samples than this on, `auto` counts large activations on a grid. */
export const EXACT_SAMPLES = 64;
/** Progress is told no oftener: sending it takes time too. */
const EVENT_INTERVAL_MS = 50;

/**
 * Runs the model on the data and observes values. Belongs into the runtime's child process. Throws QdqError: those of `openData`
 * and of the samples, `data-empty` where all samples are excluded, `runtime-rejected`.
 */
export const collectTask = defineTask<CollectArguments, CollectResult>(import.meta.url, 'collectTask', collect);

async function collect(args: CollectArguments, context: TaskContext): Promise<CollectResult> {
  const start = performance.now();
  const { modelPath, names, externalDataFolder = dirname(modelPath) } = args;
  const taps = await ModelTaps.open({ modelPath, externalDataFolder, names });
  const all = await openData(args.data, taps.inputs);
  for (const warning of all.warnings) context.warn(warning);
  const excluded = new Set(args.exclude);
  const data = excluded.size > 0 ? all.filter((name) => !excluded.has(name)) : all;
  const total = data.total ?? (await data.names()).length;

  const samples: TableSample[] = [];
  const nonFinite: NonFinite[] = [];
  let inferenceMs = 0;
  let done = 0;
  let nextEvent = 0;
  const tensors = await observeSamples(
    {
      ...args,
      taps,
      samples: data,
      total,
      exact: args.exact === undefined || args.exact === 'auto' ? total <= EXACT_SAMPLES : args.exact,
    },
    (sample, outcome) => {
      samples.push(sample);
      nonFinite.push(...outcome.nonFinite);
      inferenceMs += outcome.inferenceMs;
      done++;
      if (done < total && performance.now() < nextEvent) return;
      nextEvent = performance.now() + EVENT_INTERVAL_MS;
      context.progress({ stage: 'calibrating', done, total, unit: 'samples' });
    },
  );
  const sampled = Object.values(tensors).some((record) => record.sampled);
  return {
    ...sortObservations({ sampled, samples, tensors, nonFinite }),
    durationMs: performance.now() - start,
    inferenceMs,
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
  };
}
