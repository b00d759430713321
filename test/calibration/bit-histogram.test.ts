import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BIN_SHIFT, binMagnitude, binOf, isFiniteBin, isNegativeBin } from '../../src/calibration/bins.js';
import { BitHistogram, scanExtremes } from '../../src/calibration/bit-histogram.js';
import { scanNumbers } from '../../src/calibration/scan.js';
import { noise } from './models.js';

const ODD_LENGTH = 70_003;

/** Numbers of many magnitudes, with zeros of both signs, denormals and the extremes of float32. */
function mixture(length: number): Float32Array {
  const values = noise(length, 7);
  const scales = noise(length, 8);
  return values.map((value, i) => {
    if (i % 11 === 0) return i % 2 === 0 ? 0 : -0;
    if (i % 997 === 0) return value * 1e-40;
    if (i % 1009 === 0) return Math.sign(value) * 3.4e38;
    return value * 10 ** (6 * scales[i]!);
  });
}

function countByHand(values: Float32Array): Map<number, number> {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const counts = new Map<number, number>();
  words.forEach((word, i) => {
    if (Number.isFinite(values[i]!)) counts.set(word >>> BIN_SHIFT, (counts.get(word >>> BIN_SHIFT) ?? 0) + 1);
  });
  return counts;
}

function assertCounts(histogram: BitHistogram, expected: Map<number, number>): void {
  const { index, count } = histogram.bins();
  assert.deepEqual([...index], [...expected.keys()].sort((a, b) => a - b));
  assert.deepEqual([...count], [...index].map((bin) => expected.get(bin)));
}

for (const length of [0, 1, 3, 4_095, 4_096, 4_097, 32_768, ODD_LENGTH]) {
  test(`BitHistogram counts ${length} elements as a plain loop does`, () => {
    const values = mixture(length);
    const histogram = new BitHistogram();
    assert.deepEqual(histogram.add(values), scanNumbers(values));
    assertCounts(histogram, countByHand(values));
  });
}

test('BitHistogram counts NaN and infinities apart, whatever their bits', () => {
  const values = mixture(ODD_LENGTH);
  const words = new Uint32Array(values.buffer);
  // The first is NaN by its last bit only, so that its bin is that of infinity.
  const special = [0x7f800001, 0x7fc00000, 0xffc00001, 0x7f800000, 0xff800000];
  special.forEach((word, i) => (words[i * 14_000] = word));
  const histogram = new BitHistogram();
  const scan = histogram.add(values);
  assert.equal(scan.nan, 3);
  assert.equal(scan.inf, 2);
  assert.deepEqual(scan, scanNumbers(values));
  assertCounts(histogram, countByHand(values));
});

test('BitHistogram of nothing but NaN holds nothing', () => {
  for (const length of [8, ODD_LENGTH]) {
    const histogram = new BitHistogram();
    assert.deepEqual(histogram.add(new Float32Array(length).fill(NaN)), { min: Infinity, max: -Infinity, nan: length, inf: 0 });
    assert.equal(histogram.bins().index.length, 0);
  }
});

test('BitHistogram adds up over calls and leaves nothing behind for another', () => {
  const values = mixture(ODD_LENGTH);
  const whole = new BitHistogram();
  whole.add(values);
  const parts = new BitHistogram();
  for (const [from, to] of [[50_000, ODD_LENGTH], [0, 17], [17, 50_000]] as const) parts.add(values.slice(from, to));
  assert.deepEqual(parts.bins(), whole.bins());
});

test('scanExtremes finds what a plain loop finds, and never a negative zero', () => {
  const values = mixture(ODD_LENGTH);
  assert.deepEqual(scanExtremes(values), scanNumbers(values));
  values[5] = Infinity;
  values[6] = NaN;
  assert.deepEqual(scanExtremes(values), scanNumbers(values));
  const zeros = scanExtremes(new Float32Array(ODD_LENGTH).fill(-0));
  assert.ok(Object.is(zeros.min, 0) && Object.is(zeros.max, 0));
});

test('a bin holds the values between its magnitudes', () => {
  for (const value of mixture(5_000)) {
    const bin = binOf(value);
    assert.ok(isFiniteBin(bin));
    assert.equal(isNegativeBin(bin), Object.is(Math.sign(value), -1) || Object.is(value, -0));
    assert.ok(binMagnitude(bin) <= Math.abs(value) && Math.abs(value) < binMagnitude(bin + 1), `${value}`);
  }
  assert.equal(isFiniteBin(binOf(Infinity)), false);
  assert.equal(isFiniteBin(binOf(-NaN)), false);
});
