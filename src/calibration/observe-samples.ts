import { availableParallelism } from 'node:os';
import type { Sample } from '../data/sample.js';
import { mergeTensors, type Observations } from './calibration-table.js';
import { LocalRun, type SampleListener } from './run-samples.js';
import type { PlanSessions, RunPlan } from './sample-runner.js';
import { SharedRun } from './shared-run.js';
import { WorkerPool } from './worker-pool.js';

/** What to use of the machine. */
export interface ObserveOptions {
  /** Threads in all; one for each core, where undefined. */
  readonly threads: number | undefined;
  /** Worker threads that are waited for; where undefined, as many as pay, which take part as soon as they are ready. */
  readonly workers: number | undefined;
  /** Sessions at most; each holds the weights in memory. */
  readonly maxSessions: number;
}

/** Up to this many samples, one session with all threads is done before several are open. */
const FEW_SAMPLES = 16;
/** More sessions than this take memory without being faster than several threads in each. */
const MAX_SESSIONS = 4;

/**
 * Runs the samples, `total` in number, and returns what was observed of each value. All sessions have the same number of threads, so
 * that the records do not depend on where a sample was run. `sessionsOf` gives those of this thread, which stay open.
 */
export async function observeSamples(
  plan: Omit<RunPlan, 'threads'>,
  samples: AsyncIterable<Sample>,
  total: number,
  { threads = availableParallelism(), workers, maxSessions }: ObserveOptions,
  sessionsOf: (plan: RunPlan) => PlanSessions,
  listener: SampleListener,
): Promise<Observations['tensors']> {
  const sessions = total <= FEW_SAMPLES ? 1 : Math.min(threads, MAX_SESSIONS, maxSessions);
  const finalPlan: RunPlan = { ...plan, threads: Math.max(1, Math.floor(threads / sessions)) };
  const pool = new WorkerPool(finalPlan, workers ?? sessions - 1, listener);
  const run = new SharedRun(pool, new LocalRun(sessionsOf(finalPlan), listener));
  try {
    if (workers !== undefined) await pool.ready();
    for await (const sample of readAhead(samples)) if (!(await run.add(sample))) break;
  } catch (error) {
    await run.finish();
    throw error;
  }
  return (await run.finish()).reduce(mergeTensors, {});
}

/** The samples, with the next one already on its way while one is worked on. */
async function* readAhead<T>(items: AsyncIterable<T>): AsyncGenerator<T> {
  const iterator = items[Symbol.asyncIterator]();
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
