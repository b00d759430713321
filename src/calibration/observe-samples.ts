import { availableParallelism } from 'node:os';
import { performance } from 'node:perf_hooks';
import type { Sample } from '../data/sample.js';
import { QdqError } from '../errors.js';
import { mergeTensors, type Observations } from './calibration-table.js';
import type { ModelTaps } from './model-taps.js';
import { LocalRun, type RunSamples, type SampleListener } from './run-samples.js';
import { SharedRun } from './shared-run.js';
import { WorkerPool } from './worker-pool.js';

/** What to run, on what, and how. */
export interface ObserveOptions {
  /** The model's taps; closed when no more are needed. */
  readonly taps: ModelTaps;
  readonly samples: AsyncIterable<Sample>;
  /** Number of samples. */
  readonly total: number;
  /** Whether large activations are counted whole. */
  readonly exact: boolean;
  /** Threads in all; one for each core, where absent. */
  readonly threads?: number;
  /** Worker threads beside this one; chosen where absent. */
  readonly workers?: number;
}

/** Up to this many samples, one session with all threads is done before several are open. */
const FEW_SAMPLES = 16;
/** More sessions than this take memory without being faster than several threads in each. */
const MAX_SESSIONS = 4;
/** Work that is done sooner than this is not worth opening more sessions for. */
const SHORT_MS = 50;

/**
 * Runs the samples and returns what was observed of each value. The first sample is run in this thread and shows types, dimensions
 * and times; the others are then shared with worker threads where that pays. All sessions have the same number of threads, so that
 * the records do not depend on where a sample was run.
 */
export async function observeSamples(options: ObserveOptions, listener: SampleListener): Promise<Observations['tensors']> {
  const { taps, samples, total, exact } = options;
  const threads = options.threads ?? availableParallelism();
  const sessions = total <= FEW_SAMPLES ? 1 : Math.min(threads, MAX_SESSIONS);
  const iterator = samples[Symbol.asyncIterator]();
  const first = await iterator.next();
  if (first.done) throw new QdqError('data-empty', 'no sample is left to calibrate with', 'Give more samples.');

  // Threads take a while to start, so they do while the first sample is run.
  const pool = new WorkerPool(options.workers ?? sessions - 1, listener);
  let run: RunSamples = pool;
  try {
    let plan = await taps.planWhole(Math.max(1, Math.floor(threads / sessions)));
    if (exact) taps.close();
    let local = new LocalRun(plan, exact ? listener : () => undefined);
    const openMs = await timed(() => local.open());
    const sampleMs = await timed(() => local.add(first.value));
    if (!exact) {
      const [seen = {}] = await local.finish();
      plan = await taps.planReduced(plan, seen, first.value.inputs);
      taps.close();
      local = new LocalRun(plan, listener);
    }
    const savedMs = (total - 1) * sampleMs * (1 - 1 / sessions);
    if (options.workers !== undefined || savedMs > openMs + SHORT_MS) pool.open(plan);
    run = new SharedRun(pool, local);
    // The first sample only showed what large values there are; now it counts as the others do.
    if (!exact) await run.add(first.value);
    for await (const sample of readAhead(iterator)) if (!(await run.add(sample))) break;
  } catch (error) {
    await run.finish();
    throw error;
  }
  return (await run.finish()).reduce(mergeTensors, {});
}

/** What is left of an iterator, with the next one already on its way while one is worked on. */
async function* readAhead<T>(iterator: AsyncIterator<T>): AsyncGenerator<T> {
  const read = () => {
    const next = iterator.next();
    // It is waited for later; until then nobody hears of a failure.
    next.catch(() => undefined);
    return next;
  };
  try {
    for (let next = read(); ; ) {
      const result = await next;
      if (result.done === true) return;
      next = read();
      yield result.value;
    }
  } finally {
    await iterator.return?.();
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
