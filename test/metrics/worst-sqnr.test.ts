import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gradedOutputs, worstQuality } from '../../src/metrics/worst-sqnr.js';

const float = (name: string, sqnrDb: number | null, elements = 10, collapsed = false) => ({ name, sqnrDb, equalShare: null, elements, collapsed });
const index = (name: string, equalShare: number) => ({ name, sqnrDb: 3, equalShare, elements: 10, collapsed: false });

test('the worst float output counts, not that of indices, texts or nothing', () => {
  const outputs = [float('boxes', 31), float('scores', 24), float('none', null, 0), index('classes', 0.5), index('text', 0.5)];
  assert.equal(worstQuality(outputs), 24);
  assert.deepEqual(gradedOutputs(outputs).map(({ name }) => name), ['boxes', 'scores']);
});

test('an output of zeros does not count, one that is lost is the worst', () => {
  assert.equal(worstQuality([float('boxes', 31), float('zeros', null)]), 31);
  assert.equal(worstQuality([float('boxes', 31), float('scores', null, 10, true)]), -Infinity);
});

test('without floats others count by their equal elements', () => {
  assert.ok(Math.abs(worstQuality([index('classes', 0.9), index('ids', 0.99)]) - 10) < 1e-9);
  assert.equal(worstQuality([index('classes', 1)]), 200);
  assert.equal(worstQuality([]), -Infinity);
});
