import assert from 'node:assert/strict';
import { test } from 'node:test';
import { argmax, classRows, isInTop } from '../../src/metrics/class-axis.js';
import { seeded } from './seeded.js';

test('classRows: the last axis, past trailing axes of length 1', () => {
  assert.deepEqual(classRows([2, 10]), { rows: 2, width: 10 });
  assert.deepEqual(classRows([2, 7, 10]), { rows: 14, width: 10 });
  assert.deepEqual(classRows([1, 1000, 1, 1]), { rows: 1, width: 1000 });
});

test('classRows: null for scalars, one dimension, single scores and empty shapes', () => {
  for (const dims of [[], [1], [10], [1, 1], [8, 1], [0, 10], [10, 0]]) assert.equal(classRows(dims), null, `[${dims.join(', ')}]`);
});

test('argmax: the first of equals, counted within the row', () => {
  const scores = Float32Array.of(9, 1, 5, 5, 2);
  assert.equal(argmax(scores, 1, 4), 1);
  assert.equal(argmax(Float32Array.of(3, 3, 3), 0, 3), 0);
});

test('argmax: NaN is never the greatest', () => {
  assert.equal(argmax(Float32Array.of(NaN, -5, NaN, -4), 0, 4), 3);
  assert.equal(argmax(Float32Array.of(NaN, NaN), 0, 2), -1);
  assert.equal(argmax(Float32Array.of(-Infinity, -Infinity), 0, 2), 0);
});

test('isInTop: k = 1 is argmax, every label is in the top of all, and the top k holds k labels', () => {
  const random = seeded(3);
  for (let round = 0; round < 300; round++) {
    const width = 2 + Math.floor(random() * 8);
    // Few distinct values, so that ties are common
    const scores = Float32Array.from({ length: width }, () => Math.floor(random() * 3));
    const labels = Array.from({ length: width }, (_, label) => label);
    for (let k = 1; k <= width; k++) {
      assert.equal(labels.filter((label) => isInTop(scores, 0, width, label, k)).length, k);
    }
    assert.ok(isInTop(scores, 0, width, argmax(scores, 0, width), 1));
  }
});

test('isInTop: a NaN score is in no top', () => {
  assert.equal(isInTop(Float32Array.of(NaN, 1), 0, 2, 0, 5), false);
});
