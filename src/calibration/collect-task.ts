import { performance } from 'node:perf_hooks';
import type { DataSet } from '../data/data-set.js';
import type { DataSpec } from '../data/data-spec.js';
import type { ModelInput } from '../data/model-inputs.js';
import { openData } from '../data/open-data.js';
import { QdqError } from '../errors.js';
import { defineTask, type TaskContext } from '../runtime/task.js';
import { sortObservations, type NonFinite, type Observations, type TableSample } from './calibration-table.js';
import { observeSamples } from './observe-samples.js';
import { dimsText, SampleRunner, type RunPlan } from './sample-runner.js';
import type { SeenValue } from './sampled-tap.js';

/** What to run, on which data. Plain data. */
export interface CollectRequest {
  readonly plan: Omit<RunPlan, 'threads'>;
  readonly inputs: readonly ModelInput[];
  readonly data: DataSpec;
  /** Names of samples that are left out. */
  readonly exclude: readonly string[];
  /** `as planned`: the plan is final, whatever it says of large values. */
  readonly exact: boolean | 'auto' | 'as planned';
  readonly threads?: number;
  readonly workers?: number;
  /** Sessions at most at the same time. */
  readonly maxSessions: number;
}

/** Values as the first sample showed them, asked for because large ones are to be reduced. */
export interface SeenValues {
  readonly kind: 'seen';
  readonly values: ReadonlyMap<string, SeenValue>;
  /** Dimensions of that sample's inputs. */
  readonly inputDims: string;
}

/** What all samples gave. */
export interface ObservedValues extends Observations {
  readonly kind: 'observed';
  readonly inferenceMs: number;
  readonly peakRssBytes: number;
}

/** From more samples than this on, `auto` counts large activations on a grid. */
export const EXACT_SAMPLES = 64;
/** Progress is told no oftener: sending it takes time too. */
const EVENT_INTERVAL_MS = 50;

/** Runs a plan; where large values are to be reduced and the plan does not say how, only shows what values there are. */
export const collectTask = defineTask(
  import.meta.url,
  'collectTask',
  async (request: CollectRequest, context: TaskContext): Promise<SeenValues | ObservedValues> => {
    const all = await openData(request.data, request.inputs);
    const excluded = new Set(request.exclude);
    const data = excluded.size > 0 ? all.filter((name) => !excluded.has(name)) : all;
    const total = data.total ?? (await data.names()).length;
    const isFinal = request.exact === 'as planned' || (request.exact === 'auto' ? total <= EXACT_SAMPLES : request.exact);
    if (!isFinal) return showValues(request.plan, data);
    for (const warning of all.warnings) context.warn(warning);
    return observeAll(request, data, total, context);
  },
);

async function observeAll({ plan, threads, workers, maxSessions }: CollectRequest, data: DataSet, total: number, context: TaskContext): Promise<ObservedValues> {
  const samples: TableSample[] = [];
  const nonFinite: NonFinite[] = [];
  let inferenceMs = 0;
  let nextEvent = 0;
  const tensors = await observeSamples(plan, data, total, { threads, workers, maxSessions }, (sample, outcome) => {
    samples.push(sample);
    nonFinite.push(...outcome.nonFinite);
    inferenceMs += outcome.inferenceMs;
    if (samples.length < total && performance.now() < nextEvent) return;
    nextEvent = performance.now() + EVENT_INTERVAL_MS;
    context.progress({ stage: 'calibrating', done: samples.length, total, unit: 'samples' });
  });
  if (samples.length === 0) throw noSample();
  const sampled = Object.values(tensors).some((record) => record.sampled);
  const observations = sortObservations({ sampled, samples, tensors, nonFinite });
  return { kind: 'observed', ...observations, inferenceMs, peakRssBytes: process.resourceUsage().maxRSS * 1024 };
}

async function showValues(plan: CollectRequest['plan'], data: DataSet): Promise<SeenValues> {
  for await (const { name, inputs } of data) {
    const runner = new SampleRunner({ ...plan, threads: 0 });
    const values = await runner.show(name, inputs);
    await runner.close();
    return { kind: 'seen', values, inputDims: dimsText(inputs) };
  }
  throw noSample();
}

function noSample(): QdqError {
  return new QdqError('data-empty', 'no sample is left to calibrate with', 'Give more samples.');
}
