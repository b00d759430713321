import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gradedOutputs, worstSqnrDb } from '../../src/metrics/worst-sqnr.js';

const float = (name: string, sqnrDb: number | null, elements = 10) => ({ name, sqnrDb, equalShare: null, elements });
const index = (name: string, sqnrDb: number | null) => ({ name, sqnrDb, equalShare: 0.5, elements: 10 });

test('the worst float output counts, not that of indices, texts or nothing', () => {
  const outputs = [float('boxes', 31), float('scores', 24), float('none', null, 0), index('classes', 3), index('text', null)];
  assert.equal(worstSqnrDb(outputs), 24);
  assert.deepEqual(gradedOutputs(outputs).map(({ name }) => name), ['boxes', 'scores']);
});

test('an output that is lost is the worst', () => {
  assert.equal(worstSqnrDb([float('boxes', 31), float('scores', null)]), -Infinity);
});

test('without floats the others count', () => {
  assert.equal(worstSqnrDb([index('classes', 12), index('ids', 30)]), 12);
});
