import { Worker } from 'node:worker_threads';
import type { Sample } from '../data/sample.js';
import { QdqError, type ErrorCode } from '../errors.js';
import type { TableSample } from './calibration-table.js';
import type { WorkerMessage, WorkerRequest } from './collect-worker.js';
import type { Records, RunSamples, SampleListener } from './run-samples.js';
import type { RunPlan } from './sample-runner.js';

/** Samples that wait at each worker, so that it need not wait for them. */
const QUEUE_LENGTH = 2;

/** Runs samples in worker threads, each with sessions of its own. */
export class WorkerPool implements RunSamples {
  readonly #workers: Worker[];
  /** Samples that wait at each worker that is ready. */
  readonly #waiting = new Map<Worker, number>();
  readonly #samples: TableSample[] = [];
  readonly #records: Records[] = [];
  readonly #listener: SampleListener;
  #failure: { readonly index: number; readonly error: unknown } | undefined;
  #wake: () => void = () => undefined;

  /** Starts the threads, which take samples as soon as each has opened its session. */
  constructor(plan: RunPlan, size: number, listener: SampleListener) {
    this.#listener = listener;
    this.#workers = Array.from({ length: size }, () => this.#start(plan));
  }

  /** Waits until every worker takes samples. */
  async ready(): Promise<void> {
    await this.#until(() => this.failed || this.#waiting.size === this.#workers.length);
  }

  /** Whether a worker would take a sample now. */
  get hasRoom(): boolean {
    return this.#idlest() !== undefined;
  }

  get failed(): boolean {
    return this.#failure !== undefined;
  }

  /** Hands a sample to a worker, when one has room. */
  async add(sample: Sample): Promise<boolean> {
    await this.#until(() => this.failed || this.hasRoom);
    const worker = this.#idlest();
    if (this.failed || !worker) return false;
    const tensors = [...sample.inputs].map(([name, { dtype, dims, storage, strings }]) => ({
      name,
      dtype,
      dims,
      // A copy of its own: the bytes may be a view of something larger, and are handed over.
      bytes: storage.read().slice(),
      ...(strings === undefined ? {} : { strings }),
    }));
    this.#waiting.set(worker, this.#waiting.get(worker)! + 1);
    const message: WorkerRequest = { kind: 'run', index: this.#samples.length, name: sample.name, tensors };
    this.#samples.push({ name: sample.name, sha256: sample.digest });
    worker.postMessage(message, tensors.map(({ bytes }) => bytes.buffer));
    return true;
  }

  /**
   * Lets the workers end and returns what each observed; those that never got ready are not waited for. Where several samples
   * failed, the first in order is thrown, so that the error does not depend on timing. Workers are never ended inside a run,
   * which would abort the process.
   */
  async finish(): Promise<Records[]> {
    for (const worker of this.#workers) worker.postMessage({ kind: 'finish' } satisfies WorkerRequest);
    await this.#until(() => this.#waiting.size === 0);
    if (this.#failure) throw this.#failure.error;
    return [...this.#records];
  }

  #start(plan: RunPlan): Worker {
    const worker = new Worker(new URL('./collect-worker.js', import.meta.url), { workerData: plan });
    worker.on('message', (message: WorkerMessage) => this.#receive(worker, message));
    worker.on('error', (error) => this.#fail(Infinity, error));
    worker.on('exit', () => {
      this.#waiting.delete(worker);
      this.#wake();
    });
    return worker;
  }

  #receive(worker: Worker, message: WorkerMessage): void {
    if (message.kind === 'ready') this.#waiting.set(worker, 0);
    else if (message.kind === 'records') this.#records.push(message.records);
    else this.#waiting.set(worker, this.#waiting.get(worker)! - 1);
    if (message.kind === 'outcome') this.#listener(this.#samples[message.index]!, message.outcome);
    if (message.kind === 'failure') {
      const { code, text, hint } = message;
      this.#fail(message.index, new QdqError(code as ErrorCode, text, hint));
    }
    this.#wake();
  }

  #fail(index: number, error: unknown): void {
    if (!this.#failure || index < this.#failure.index) this.#failure = { index, error };
    this.#wake();
  }

  /** The worker with the fewest samples waiting, if any has room. */
  #idlest(): Worker | undefined {
    let found: Worker | undefined;
    let least = QUEUE_LENGTH;
    for (const [worker, waiting] of this.#waiting) {
      if (waiting < least) [found, least] = [worker, waiting];
    }
    return found;
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}
