/** Entry of a worker thread: runs the samples that it is sent, one after another, and hands back what it observed. */
import { parentPort } from 'node:worker_threads';
import { QdqError, messageOf } from '../errors.js';
import type { DType } from '../tensor/dtype.js';
import { memoryStorage, type Tensor } from '../tensor/tensor.js';
import type { Records } from './run-samples.js';
import { SampleRunner, type RunPlan, type SampleOutcome } from './sample-runner.js';

/** What a worker is asked: to open its session first, then to run samples, then to finish. */
export type WorkerRequest =
  | { readonly kind: 'open'; readonly plan: RunPlan }
  | { readonly kind: 'run'; readonly index: number; readonly name: string; readonly tensors: readonly PlainTensor[] }
  | { readonly kind: 'finish' };

/** A tensor in the form that crosses between threads. */
export interface PlainTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly bytes: Uint8Array;
  readonly strings?: readonly string[];
}

/** What a worker sends: for each sample an outcome or a failure, and at the end the records. */
export type WorkerMessage =
  | { readonly kind: 'outcome'; readonly index: number; readonly outcome: SampleOutcome }
  | { readonly kind: 'failure'; readonly index: number; readonly code: string; readonly text: string; readonly hint?: string }
  | { readonly kind: 'records'; readonly records: Records };

const send = (message: WorkerMessage) => parentPort!.postMessage(message);
let runner: SampleRunner | undefined;
let failed = false;
let queue = Promise.resolve();

parentPort!.on('message', (request: WorkerRequest) => {
  queue = queue.then(() => handle(request));
});

async function handle(request: WorkerRequest): Promise<void> {
  if (request.kind === 'open') {
    runner = new SampleRunner(request.plan);
    // What is wrong with the model, the first sample tells.
    await runner.open().catch(() => undefined);
  } else if (request.kind === 'run') {
    await run(runner!, request);
  } else {
    if (runner && !failed) send({ kind: 'records', records: runner.records() });
    await runner?.close().catch(() => undefined);
    parentPort!.close();
  }
}

async function run(runner: SampleRunner, { index, name, tensors }: Extract<WorkerRequest, { kind: 'run' }>): Promise<void> {
  try {
    const inputs = new Map(
      tensors.map(({ bytes, name: input, ...rest }): [string, Tensor] => [input, { ...rest, storage: memoryStorage(bytes) }]),
    );
    send({ kind: 'outcome', index, outcome: await runner.run(name, inputs) });
  } catch (error) {
    failed = true;
    const hint = error instanceof QdqError && error.hint !== undefined ? { hint: error.hint } : {};
    send({ kind: 'failure', index, code: error instanceof QdqError ? error.code : 'internal', text: messageOf(error), ...hint });
  }
}
