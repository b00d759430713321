import { performance } from 'node:perf_hooks';
import type { DataSet } from '../data/data-set.js';
import type { DataSpec } from '../data/data-spec.js';
import type { ModelInput } from '../data/model-inputs.js';
import { openData } from '../data/open-data.js';
import { QdqError } from '../errors.js';
import { defineTask, type TaskContext } from '../runtime/task.js';
import { sortObservations, type NonFinite, type Observations, type TableSample } from './calibration-table.js';
import { observeSamples } from './observe-samples.js';
import { dimsText, PlanSessions, SampleRunner, type RunPlan } from './sample-runner.js';
import type { SeenValue } from './sampled-tap.js';

/** What to run, on which data. Plain data. */
export interface CollectRequest {
  readonly plan: Omit<RunPlan, 'threads'>;
  readonly inputs: readonly ModelInput[];
  readonly data: DataSpec;
  /** For each part that is observed apart: names of samples that are left out of it. */
  readonly excludes: readonly (readonly string[])[];
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

/** What the samples of each part gave. */
export interface ObservedValues {
  readonly kind: 'observed';
  readonly parts: readonly ObservedPart[];
}

/** What all samples of a part gave. */
export interface ObservedPart extends Observations {
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
    const parts: { readonly data: DataSet; readonly total: number }[] = [];
    for (const exclude of request.excludes) {
      const excluded = new Set(exclude);
      // What a reader gives, it may give once.
      const all = await openData(request.data, request.inputs);
      const data = excluded.size > 0 ? all.filter((name) => !excluded.has(name)) : all;
      parts.push({ data, total: data.total ?? (await data.names()).length });
    }
    const isFinal = request.exact === 'as planned' || (request.exact === 'auto' ? parts.every(({ total }) => total <= EXACT_SAMPLES) : request.exact);
    if (!isFinal) return showValues(request.plan, parts[0]!.data);
    for (const warning of parts[0]!.data.warnings) context.warn(warning);
    const open = new Map<number, PlanSessions>();
    const sessionsOf = (plan: RunPlan) => {
      const sessions = open.get(plan.threads) ?? new PlanSessions(plan);
      open.set(plan.threads, sessions);
      return sessions;
    };
    try {
      const observed: ObservedPart[] = [];
      for (const { data, total } of parts) observed.push(await observeAll(request, data, total, sessionsOf, context));
      return { kind: 'observed', parts: observed };
    } finally {
      for (const sessions of open.values()) await sessions.close();
    }
  },
);

async function observeAll(
  { plan, threads, workers, maxSessions }: CollectRequest,
  data: DataSet,
  total: number,
  sessionsOf: (plan: RunPlan) => PlanSessions,
  context: TaskContext,
): Promise<ObservedPart> {
  const samples: TableSample[] = [];
  const nonFinite: NonFinite[] = [];
  let inferenceMs = 0;
  let nextEvent = 0;
  const tensors = await observeSamples(plan, data, total, { threads, workers, maxSessions }, sessionsOf, (sample, outcome) => {
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
  return { ...observations, inferenceMs, peakRssBytes: process.resourceUsage().maxRSS * 1024 };
}

async function showValues(plan: CollectRequest['plan'], data: DataSet): Promise<SeenValues> {
  for await (const { name, inputs } of data) {
    const sessions = new PlanSessions({ ...plan, threads: 0 });
    const values = await new SampleRunner(sessions).show(name, inputs);
    await sessions.close();
    return { kind: 'seen', values, inputDims: dimsText(inputs) };
  }
  throw noSample();
}

function noSample(): QdqError {
  return new QdqError('data-empty', 'no sample is left to calibrate with', 'Give more samples.');
}
