import { setImmediate } from 'node:timers/promises';
import type { Sample } from '../data/sample.js';
import type { LocalRun, Records, RunSamples } from './run-samples.js';
import type { WorkerPool } from './worker-pool.js';

/** Gives samples to workers while they have room, and runs the others in this thread. */
export class SharedRun implements RunSamples {
  readonly #pool: WorkerPool;
  readonly #local: LocalRun;

  constructor(pool: WorkerPool, local: LocalRun) {
    this.#pool = pool;
    this.#local = local;
  }

  async add(sample: Sample): Promise<boolean> {
    // Lets in what the workers said while this thread was inside a run.
    await setImmediate();
    if (this.#pool.failed) return false;
    return this.#pool.hasRoom ? this.#pool.add(sample) : this.#local.add(sample);
  }

  async finish(): Promise<Records[]> {
    const [local, pool] = await Promise.allSettled([this.#local.finish(), this.#pool.finish()]);
    // Whatever failed in a worker came before a sample that failed here.
    if (pool.status === 'rejected') throw pool.reason;
    if (local.status === 'rejected') throw local.reason;
    return [...local.value, ...pool.value];
  }
}
