import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mergeRecords, NO_BINS, type TensorRecord } from '../../src/calibration/tensor-record.js';
import { TensorObserver } from '../../src/calibration/tensor-observer.js';
import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { noise } from './models.js';

const samples = [5, 6_000, 1, 40_000, 333].map((length, i) => {
  const values = noise(length, i + 1).map((value) => value * 10 ** (i - 2));
  if (i === 3) values[100] = NaN;
  return tensorFromArray('float32', [1, length], values);
});

function observed(tensors: readonly Tensor[]): TensorRecord {
  const observer = new TensorObserver(tensors[0]!);
  for (const tensor of tensors) observer.add(tensor);
  return observer.record();
}

test('merged records are the record of all samples, in any order and grouping', () => {
  const whole = observed(samples);
  const parts = samples.map((sample) => observed([sample]));
  assert.deepEqual(parts.reduce(mergeRecords), whole);
  assert.deepEqual([...parts].reverse().reduce(mergeRecords), whole);
  assert.deepEqual(mergeRecords(observed(samples.slice(2)), observed(samples.slice(0, 2))), whole);
  assert.deepEqual(observed([...samples].reverse()), whole);
});

test('a record tells counts, extremes and how far they vary', () => {
  const record = observed([tensorFromArray('float32', [2, 2], Float32Array.of(-1, 0, 3, Infinity)), tensorFromArray('float32', [2, 1], Float32Array.of(-4, 1))]);
  const { bins, ...rest } = record;
  assert.deepEqual(rest, {
    dtype: 'float32',
    dims: [2, null],
    samples: 2,
    count: 6,
    sampled: false,
    min: -4,
    max: 3,
    sampleMinHigh: -1,
    sampleMaxLow: 1,
    nan: 0,
    inf: 1,
  });
  assert.equal(bins.count.reduce((a, b) => a + b), 5);
});

test('an observer that counts nothing tells all but the bins', () => {
  const map = tensorFromArray('float32', [1, 4, 40, 50], noise(8_000, 7));
  const reduced = { grid: [noise(600, 1), noise(300, 2)], maxima: [Float32Array.of(1, 2)], negatedMinima: [Float32Array.of(3, 4)] };
  const recordOf = (counts: boolean) => {
    const observer = new TensorObserver(map, counts);
    for (const sample of [...samples, map]) observer.add(sample);
    observer.addReduced([1, 4, 40, 50], reduced);
    observer.addGrid(map, [2, 2]);
    return observer.record();
  };
  assert.ok(recordOf(true).bins.index.length > 0);
  assert.deepEqual(recordOf(false), { ...recordOf(true), bins: NO_BINS });
});

test('dimensions are null where the rank varies', () => {
  assert.equal(observed([tensorFromArray('float32', [2], new Float32Array(2)), tensorFromArray('float32', [], new Float32Array(1))]).dims, null);
});

test('float16, bfloat16 and float64 are observed as float32', () => {
  const expected = observed([tensorFromArray('float32', [3], Float32Array.of(1, -2, 0.5))]);
  const halves = observed([tensorFromArray('float16', [3], Uint16Array.of(0x3c00, 0xc000, 0x3800))]);
  const brains = observed([tensorFromArray('bfloat16', [3], Uint16Array.of(0x3f80, 0xc000, 0x3f00))]);
  const doubles = observed([tensorFromArray('float64', [3], Float64Array.of(1, -2, 0.5))]);
  for (const record of [halves, brains, doubles]) assert.deepEqual({ ...record, dtype: 'float32' }, expected);
});

test('integers have types and counts only', () => {
  const { bins, ...record } = observed([tensorFromArray('int64', [2], BigInt64Array.of(1n, 2n))]);
  assert.equal(bins.index.length, 0);
  assert.deepEqual([record.dtype, record.count, record.min, record.max], ['int64', 2, null, null]);
});
