import { threadId } from 'node:worker_threads';
import { setTimeout as sleep } from 'node:timers/promises';
import { QdqError } from '../../src/errors.js';
import { defineWork } from '../../src/quantization/work.js';

/** The square of a number, after a while. */
export const slowSquareWork = defineWork(import.meta.url, 'slowSquareWork', async ({ value, ms }: { value: number; ms: number }) => {
  if (ms < 0) throw new RangeError('no such time');
  await sleep(ms);
  return value * value;
});

/** The thread that it runs in, which it keeps busy. */
export const threadWork = defineWork(import.meta.url, 'threadWork', (ms: number) => {
  const end = performance.now() + ms;
  while (performance.now() < end);
  return threadId;
});

/** Fails in one of several ways. */
export const failWork = defineWork(import.meta.url, 'failWork', (how: 'QdqError' | 'other' | 'exit'): number => {
  if (how === 'QdqError') throw new QdqError('external-data', 'it is short', 'copy it again');
  if (how === 'exit') process.exit(7);
  throw new Error('broken');
});
