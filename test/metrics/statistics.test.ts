import assert from 'node:assert/strict';
import { test } from 'node:test';
import { medianRatioInterval, percentile, sortSamples, statsOf } from '../../src/metrics/statistics.js';
import { seeded } from './seeded.js';

const ascending = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

test('statsOf: hand-computed values, whatever the order, without touching the input', () => {
  const values = [9, 2, 4, 4, 5, 4, 5, 7];
  const stats = statsOf(values);
  assert.ok(stats);
  const { p95, ...rest } = stats;
  // Σ = 40, Σ(x − 5)² = 32, position of the 95th percentile 7 · 0.95 = 6.65: 7 + 0.65 · 2
  assert.deepEqual(rest, { n: 8, median: 4.5, mean: 5, stddev: Math.sqrt(32 / 7), min: 2, max: 9 });
  assert.ok(Math.abs(p95 - 8.3) < 1e-12);
  assert.deepEqual(values, [9, 2, 4, 4, 5, 4, 5, 7]);
});

test('statsOf: numbers are sorted as numbers, not as text', () => {
  assert.equal(statsOf([10, 9, 100])?.median, 10);
});

test('statsOf: an empty list gives null, a single sample has no spread', () => {
  assert.equal(statsOf([]), null);
  assert.deepEqual(statsOf([3]), { n: 1, median: 3, mean: 3, stddev: null, min: 3, max: 3, p95: 3 });
});

test('statsOf: refuses NaN and infinities', () => {
  assert.throws(() => statsOf([1, NaN]), RangeError);
  assert.throws(() => statsOf([Infinity]), /expected finite samples, received Infinity/);
});

test('percentile: ends, interpolation, and shares outside 0 … 1', () => {
  const samples = sortSamples([40, 10, 30, 20]);
  assert.ok(samples);
  assert.equal(percentile(samples, 0), 10);
  assert.equal(percentile(samples, 1), 40);
  assert.equal(percentile(samples, 0.5), 25);
  assert.equal(percentile(samples, 0.25), 17.5);
  assert.throws(() => percentile(samples, 95), RangeError);
});

test('statsOf: min ≤ median ≤ p95 ≤ max, and shifting the samples shifts all but the spread', () => {
  const random = seeded(1);
  for (let round = 0; round < 200; round++) {
    const values = Array.from({ length: 2 + Math.floor(random() * 30) }, () => random() * 100);
    const stats = statsOf(values);
    const shifted = statsOf(values.map((value) => value + 1000));
    assert.ok(stats && shifted && stats.stddev !== null && shifted.stddev !== null);
    assert.ok(stats.min <= stats.median && stats.median <= stats.p95 && stats.p95 <= stats.max);
    assert.ok(Math.abs(shifted.mean - stats.mean - 1000) < 1e-9);
    assert.ok(Math.abs(shifted.p95 - stats.p95 - 1000) < 1e-9);
    assert.ok(Math.abs(shifted.stddev - stats.stddev) < 1e-9);
  }
});

test('medianRatioInterval: the ranks of the exact binomial sums', () => {
  // n, then the largest k with Σ C(n, i) / 2ⁿ ≤ 2.5 % over i < k, computed in whole numbers
  for (const [n, rank] of [[6, 1], [8, 1], [9, 2], [10, 2], [20, 6], [30, 10], [50, 18], [70, 27], [100, 40]] as const) {
    const interval = medianRatioInterval(ascending(n), Array<number>(n).fill(1));
    assert.deepEqual(interval, { median: (n + 1) / 2, low: rank, high: n + 1 - rank }, `n = ${n}`);
  }
});

test('medianRatioInterval: the whole range below 6 pairs', () => {
  assert.deepEqual(medianRatioInterval([8, 2, 6], [2, 2, 2]), { median: 3, low: 1, high: 4 });
  assert.deepEqual(medianRatioInterval([8], [2]), { median: 4, low: 4, high: 4 });
});

test('medianRatioInterval: ratios are of pairs, so common drift cancels', () => {
  const drift = ascending(12);
  assert.deepEqual(medianRatioInterval(drift.map((t) => 3 * t), drift), { median: 3, low: 3, high: 3 });
});

test('medianRatioInterval: nothing to compare, times of zero, lists of different lengths', () => {
  assert.equal(medianRatioInterval([], []), null);
  assert.equal(medianRatioInterval([0, 1], [1, 0]), null);
  assert.deepEqual(medianRatioInterval([0, 4, 1], [1, 2, 0]), { median: 2, low: 2, high: 2 });
  assert.throws(() => medianRatioInterval([1, 2], [1]), /received 2 of the baseline, 1 of the candidate/);
});

test('medianRatioInterval: thousands of pairs neither underflow nor leave the normal approximation', () => {
  const n = 5000;
  const interval = medianRatioInterval(ascending(n), Array<number>(n).fill(1));
  // n/2 − 1.96·√n/2
  assert.ok(interval && Math.abs(interval.low - (n / 2 - 0.98 * Math.sqrt(n))) < 2);
});

test('medianRatioInterval: covers the true median in at least 95 % of experiments', () => {
  const random = seeded(7);
  const rounds = 4000;
  for (const n of [6, 11, 25]) {
    let covered = 0;
    for (let round = 0; round < rounds; round++) {
      // A skewed distribution with median 2^0.5
      const times = Array.from({ length: n }, () => 2 ** random());
      const interval = medianRatioInterval(times, Array<number>(n).fill(1));
      if (interval && interval.low <= Math.SQRT2 && Math.SQRT2 <= interval.high) covered++;
    }
    assert.ok(covered / rounds > 0.945, `n = ${n}: ${covered} of ${rounds}`);
  }
});
