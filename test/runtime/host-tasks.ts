import { existsSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { QdqError } from '../../src/errors.js';
import { defineTask } from '../../src/runtime/task.js';

const here = import.meta.url;

/** Gives back what it was given. */
export const echo = defineTask(here, 'echo', async (value: unknown) => value);

export const processId = defineTask(here, 'processId', async (_: null) => process.pid);

export const failWithCode = defineTask(here, 'failWithCode', async (hint: string | undefined): Promise<void> => {
  throw new QdqError('data-invalid', 'sample 3 is bad', hint);
});

export const failPlainly = defineTask(here, 'failPlainly', async (thrown: 'error' | 'text'): Promise<void> => {
  if (thrown === 'error') throw new TypeError('cannot read properties');
  // A module of a user may throw what is no Error.
  const module: string = 'data:text/javascript,throw%20"just%20text"';
  await import(module);
});

/** Fails after its caller has got no answer yet, as code of a user may. */
export const failLater = defineTask(here, 'failLater', async (_: null): Promise<void> => {
  setTimeout(() => {
    throw new RangeError('thrown outside of any promise');
  }, 1);
  await sleep(60_000);
});

/** Ends the process natively, as a defect of the runtime does. */
export const abort = defineTask(here, 'abort', async (words: string | null): Promise<void> => {
  if (words !== null) process.stderr.write(`${words}\n`);
  process.abort();
});

export const exit = defineTask(here, 'exit', async (code: number): Promise<void> => process.exit(code));

/** Writes a file to say that it has begun, and never ends. */
export const hang = defineTask(here, 'hang', async (path: string): Promise<void> => {
  writeFileSync(path, '');
  await sleep(600_000);
});

export const report = defineTask(here, 'report', async (count: number, context) => {
  for (let done = 1; done <= count; done++) {
    context.progress({ stage: 'counting', done, total: count, unit: 'samples' });
    if (done % 2 === 0) context.warn({ code: 'even', message: `${done} is even`, advice: 'none' });
  }
  return count;
});

/** Waits to be asked for what it has, and gives how it was asked. */
export const untilEarlyEnd = defineTask(here, 'untilEarlyEnd', async (_: null, context) => {
  context.progress({ stage: 'waiting', done: 0, unit: 'runs' });
  for (let i = 0; i < 1000 && !context.endsEarly(); i++) await sleep(5);
  return context.endsEarly();
});

/** Whether it was asked before it began. */
export const isEndingEarly = defineTask(here, 'isEndingEarly', async (_: null, context) => context.endsEarly());

/** Prints to both streams, in both ways. */
export const print = defineTask(here, 'print', async (text: string): Promise<void> => {
  const { log, error } = globalThis.console;
  log(`log ${text}`);
  process.stdout.write(`stdout ${text}\n`);
  error(`error ${text}`);
});

export const notCloneable = defineTask(here, 'notCloneable', async (_: null): Promise<unknown> => ({ call: () => undefined }));

/** When each of several tasks began and ended. */
export const span = defineTask(here, 'span', async (durationMs: number) => {
  const start = performance.now();
  await sleep(durationMs);
  return { start, end: performance.now() };
});

export const fileExists = defineTask(here, 'fileExists', async (path: string) => existsSync(path));
