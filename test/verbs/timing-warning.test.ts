import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isNoisy, timingWarning } from '../../src/timing-warning.js';

const warningOf = (low: number, median: number, high: number) => timingWarning({ speedupInterval: { median, low, high }, runs: 12 });

test('timingWarning: says that timing has not decided, with the interval', () => {
  assert.match(warningOf(0.48, 0.86, 1.4)!.message, /^whether the quantized model is faster is open: its speed-up of 0\.86 has a 95 % interval from 0\.48 to 1\.40 over 12 pairs of runs$/);
  assert.match(warningOf(1.2, 2, 3.1)!.message, /^how much faster or slower/);
  assert.equal(warningOf(0.9, 1, 1.12)!.code, 'timing-noisy');
});

test('timingWarning: nothing where it has decided, where both are equally fast, or nothing was timed', () => {
  assert.equal(warningOf(1.4, 1.5, 1.6), undefined);
  assert.equal(warningOf(0.97, 1, 1.03), undefined);
  assert.equal(timingWarning({ speedupInterval: null, runs: 0 }), undefined);
  assert.deepEqual([isNoisy({ low: 1, median: 1.2, high: 1.51 }), isNoisy({ low: 1, median: 1.2, high: 1.5 })], [true, false]);
});
