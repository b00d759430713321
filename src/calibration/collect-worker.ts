/** Entry of a worker thread: runs the samples that it is sent, one after another, and hands back what it observed. */
import { parentPort, workerData } from 'node:worker_threads';
import { QdqError, messageOf } from '../errors.js';
import type { DType } from '../tensor/dtype.js';
import { memoryStorage, type Tensor } from '../tensor/tensor.js';
import type { Records } from './run-samples.js';
import { PlanSessions, SampleRunner, type RunPlan, type SampleOutcome } from './sample-runner.js';

/** What a worker is asked: to run samples, then to finish. */
export type WorkerRequest =
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

/** What a worker sends: that its session is open, for each sample an outcome or a failure, and at the end the records. */
export type WorkerMessage =
  | { readonly kind: 'ready' }
  | { readonly kind: 'outcome'; readonly index: number; readonly outcome: SampleOutcome }
  | { readonly kind: 'failure'; readonly index: number; readonly code: string; readonly text: string; readonly hint?: string }
  | { readonly kind: 'records'; readonly records: Records };

const send = (message: WorkerMessage) => parentPort!.postMessage(message);
const sessions = new PlanSessions(workerData as RunPlan);
const runner = new SampleRunner(sessions);
let failed = false;
// What is wrong with the model, the first sample tells.
let queue = sessions.open().catch(() => undefined);

void queue.then(() => send({ kind: 'ready' }));
parentPort!.on('message', (request: WorkerRequest) => {
  queue = queue.then(() => (request.kind === 'run' ? run(request) : finish()));
});

async function run({ index, name, tensors }: Extract<WorkerRequest, { kind: 'run' }>): Promise<void> {
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

async function finish(): Promise<void> {
  if (!failed) send({ kind: 'records', records: runner.records() });
  await sessions.close().catch(() => undefined);
  parentPort!.close();
}
