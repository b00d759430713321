/** Entry of the child process: runs the tasks that the parent asks for, one after another. */
import { QdqError, messageOf } from '../errors.js';
import { preloadRuntime } from './session.js';
import type { EarlyEnd, Task, TaskFailure, TaskMessage, TaskRequest } from './task.js';

const send = (message: TaskMessage) => process.send?.(message);

async function handle(request: TaskRequest): Promise<void> {
  const { id } = request;
  try {
    const module = (await import(request.moduleUrl)) as Record<string, Task<unknown, unknown>>;
    const task = module[request.exportName];
    if (!task) throw new QdqError('internal', `no task ${request.exportName} in ${request.moduleUrl}`);
    const result = await task.run(request.args, {
      progress: (event) => send({ kind: 'progress', id, event }),
      warn: (warning) => send({ kind: 'warning', id, warning }),
      endsEarly: () => endingEarly.has(id),
    });
    send({ kind: 'result', id, result });
  } catch (error) {
    send({ kind: 'failure', id, failure: failureOf(error) });
  }
}

function failureOf(error: unknown): TaskFailure {
  const stack = error instanceof Error && error.stack ? { stack: error.stack } : {};
  if (error instanceof QdqError) {
    return { code: error.code, message: error.message, ...(error.hint === undefined ? {} : { hint: error.hint }), ...stack };
  }
  return { code: 'internal', message: messageOf(error), ...stack };
}

const endingEarly = new Set<number>();
let queue = Promise.resolve().then(preloadRuntime);
process.on('message', (message: TaskRequest | EarlyEnd) => {
  if ('endEarly' in message) for (const id of message.endEarly) endingEarly.add(id);
  else queue = queue.then(() => handle(message));
});
// The parent decides when to end; a terminal's Ctrl-C reaches the whole process group.
process.on('SIGINT', () => undefined);
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
