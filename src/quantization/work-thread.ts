/** Entry of a thread of a pool: does the work that it is asked for, one piece after another. */
import { parentPort } from 'node:worker_threads';
import { messageOf, QdqError } from '../errors.js';
import type { Work, WorkAnswer, WorkRequest } from './work.js';

const send = (answer: WorkAnswer) => parentPort!.postMessage(answer, buffersOf(answer));

parentPort!.on('message', (request: WorkRequest) => void answer(request));

async function answer({ moduleUrl, exportName, args }: WorkRequest): Promise<void> {
  try {
    const module = (await import(moduleUrl)) as Record<string, Work<unknown, unknown>>;
    const work = module[exportName];
    if (!work) throw new QdqError('internal', `no work ${exportName} in ${moduleUrl}`);
    send({ kind: 'result', result: await work.run(args) });
  } catch (error) {
    const code = error instanceof QdqError ? error.code : 'internal';
    const hint = error instanceof QdqError && error.hint !== undefined ? { hint: error.hint } : {};
    send({ kind: 'failure', code, message: messageOf(error), ...hint });
  }
}

/** An array that is the whole result is handed over; others are copied. */
function buffersOf(answer: WorkAnswer): ArrayBuffer[] {
  const { result } = answer as { readonly result?: unknown };
  return ArrayBuffer.isView(result) && result.byteLength === result.buffer.byteLength ? [result.buffer as ArrayBuffer] : [];
}
