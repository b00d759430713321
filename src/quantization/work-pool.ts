import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { QdqError, type ErrorCode } from '../errors.js';
import type { Work, WorkAnswer, WorkRequest } from './work.js';

interface Job {
  readonly request: WorkRequest;
  readonly resolve: (result: never) => void;
  readonly reject: (error: unknown) => void;
}

/** Threads that nothing was asked of for so long are ended, which gives their memory back. */
const IDLE_MS = 250;

/**
 * Worker threads that share work. They start with the first piece of work and end some time after the last; an idle pool keeps no process
 * alive. Whoever gives work bounds the memory that it takes, by how much of it is under way at a time.
 */
export class WorkPool {
  readonly size: number;
  readonly #idle: Worker[] = [];
  readonly #busy = new Map<Worker, Job>();
  readonly #queue: Job[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** `size`: threads at most; one for each core where absent. */
  constructor(size: number = availableParallelism()) {
    this.size = size;
  }

  /** Does work in a thread. Rejects with the QdqError that it threw, or with `internal` where a thread broke down. */
  run<Arguments, Result>({ moduleUrl, exportName }: Work<Arguments, Result>, args: Arguments): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      this.#queue.push({ request: { moduleUrl, exportName, args }, resolve, reject });
      this.#next();
    });
  }

  #next(): void {
    clearTimeout(this.#timer);
    while (this.#queue.length > 0) {
      const worker = this.#idle.pop() ?? (this.#busy.size < this.size ? this.#start() : undefined);
      if (!worker) return;
      const job = this.#queue.shift()!;
      this.#busy.set(worker, job);
      worker.ref();
      worker.postMessage(job.request);
    }
    if (this.#busy.size === 0) this.#timer = setTimeout(() => this.#endIdle(), IDLE_MS).unref();
  }

  #start(): Worker {
    const worker = new Worker(new URL('./work-thread.js', import.meta.url));
    worker.on('message', (answer: WorkAnswer) => this.#receive(worker, answer));
    worker.on('error', (error) => this.#lose(worker, error));
    worker.on('exit', (code) => this.#lose(worker, new QdqError('internal', `a worker thread ended with code ${code}`)));
    return worker;
  }

  #receive(worker: Worker, answer: WorkAnswer): void {
    const job = this.#busy.get(worker);
    this.#busy.delete(worker);
    worker.unref();
    this.#idle.push(worker);
    this.#next();
    if (answer.kind === 'result') job?.resolve(answer.result as never);
    else job?.reject(new QdqError(answer.code as ErrorCode, answer.message, answer.hint));
  }

  #lose(worker: Worker, error: Error): void {
    const at = this.#idle.indexOf(worker);
    if (at >= 0) this.#idle.splice(at, 1);
    const job = this.#busy.get(worker);
    this.#busy.delete(worker);
    job?.reject(error);
    this.#next();
  }

  #endIdle(): void {
    for (const worker of this.#idle.splice(0)) void worker.terminate();
  }
}

let shared: WorkPool | undefined;

/** The pool that all work on weights shares, so that no two of them compete for the same cores. */
export function sharedPool(): WorkPool {
  return (shared ??= new WorkPool());
}

/**
 * Does work for each item and gives the results in the order of the items. Only as many are under way as keep the threads busy, so that
 * memory stays bounded however many items there are. `argumentsOf` is called when an item's turn comes.
 */
export async function* mapThroughPool<Item, Arguments, Result>(
  pool: WorkPool,
  items: Iterable<Item>,
  work: Work<Arguments, Result>,
  argumentsOf: (item: Item) => Arguments,
): AsyncGenerator<readonly [Item, Result]> {
  const waiting: (readonly [Item, Promise<Result>])[] = [];
  const take = async () => {
    const [item, result] = waiting.shift()!;
    return [item, await result] as const;
  };
  for (const item of items) {
    const result = pool.run(work, argumentsOf(item));
    // It is waited for in its turn; until then nobody hears of a failure.
    result.catch(() => undefined);
    waiting.push([item, result]);
    if (waiting.length > pool.size) yield await take();
  }
  while (waiting.length > 0) yield await take();
}
