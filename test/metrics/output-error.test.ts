import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MAX_SQNR_DB, OutputErrorAccumulator, type OutputError } from '../../src/metrics/output-error.js';
import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { seeded } from './seeded.js';
import { floats, longs, strings } from './tensors.js';

function errorOf(...pairs: readonly (readonly [Tensor, Tensor])[]): OutputError {
  const accumulator = new OutputErrorAccumulator('y');
  for (const [baseline, candidate] of pairs) accumulator.add(baseline, candidate);
  return accumulator.result();
}

const vector = (baseline: readonly number[], candidate: readonly number[]) =>
  errorOf([floats([baseline.length], baseline), floats([candidate.length], candidate)]);

test('OutputErrorAccumulator: hand-computed values over two samples', () => {
  const error = errorOf(
    [floats([1, 3], [3, 0, -4]), floats([1, 3], [3, 0, -3])],
    [floats([1, 3], [0, 5, 0]), floats([1, 3], [2, 1, 0])],
  );
  // Σb² = 25 + 25, Σ(b − c)² = 1 + 4 + 16, Σbc = 21 + 5, Σc² = 18 + 5, Σ|b − c| = 1 + 2 + 4
  const { sqnrDb, cosine, meanAbsError, ...rest } = error;
  assert.ok(sqnrDb !== null && Math.abs(sqnrDb - 10 * Math.log10(50 / 21)) < 1e-12);
  assert.ok(cosine !== null && Math.abs(cosine - 26 / Math.sqrt(50 * 23)) < 1e-12);
  assert.ok(meanAbsError !== null && Math.abs(meanAbsError - 7 / 6) < 1e-12);
  assert.deepEqual(rest, {
    name: 'y',
    maxAbsError: 4,
    agreement: 0.5,
    equalShare: null,
    allZero: false,
    samples: 2,
    elements: 6,
    nonFinite: 0,
    nonFiniteMismatches: 0,
    nonFiniteSample: null,
    shapeMismatches: 0,
    collapsed: false,
  });
});

test('OutputErrorAccumulator: nothing added, everything null', () => {
  const error = errorOf();
  assert.deepEqual(
    [error.sqnrDb, error.cosine, error.maxAbsError, error.meanAbsError, error.agreement, error.equalShare],
    [null, null, null, null, null, null],
  );
  assert.equal(error.samples, 0);
  assert.equal(error.collapsed, false);
});

test('OutputErrorAccumulator: empty outputs count as samples and give no figures', () => {
  const error = vector([], []);
  assert.deepEqual([error.samples, error.elements, error.sqnrDb, error.meanAbsError], [1, 0, null, null]);
});

test('OutputErrorAccumulator: equal outputs reach the cap, all zero ones too', () => {
  assert.equal(vector([1, 2], [1, 2]).sqnrDb, MAX_SQNR_DB);
  const zeros = vector([0, 0], [0, 0]);
  assert.deepEqual([zeros.sqnrDb, zeros.cosine, zeros.collapsed, zeros.allZero], [MAX_SQNR_DB, null, false, true]);
});

test('OutputErrorAccumulator: a zero baseline has no SQNR when the candidate differs', () => {
  const error = vector([0, 0], [0, 1]);
  assert.deepEqual([error.sqnrDb, error.cosine, error.maxAbsError], [null, null, 1]);
});

test('OutputErrorAccumulator: scalars are compared, without agreement', () => {
  const error = errorOf([floats([], [10]), floats([], [9])], [floats([], [-10]), floats([], [-11])]);
  assert.deepEqual([error.sqnrDb, error.agreement, error.elements], [20, null, 2]);
});

test('OutputErrorAccumulator: ties in argmax go to the first on both sides', () => {
  const agreementOf = (b: readonly number[], c: readonly number[]) => errorOf([floats([1, 3], b), floats([1, 3], c)]).agreement;
  assert.equal(agreementOf([1, 7, 7], [0, 4, 4]), 1);
  assert.equal(agreementOf([1, 7, 7], [0, 4, 5]), 0);
  assert.equal(agreementOf([7, 7, 1], [9, 4, 4]), 1);
});

test('OutputErrorAccumulator: agreement counts every row of the last axis longer than 1', () => {
  assert.equal(errorOf([floats([2, 2, 2], [1, 0, 1, 0, 1, 0, 1, 0]), floats([2, 2, 2], [1, 0, 1, 0, 1, 0, 0, 1])]).agreement, 0.75);
  assert.equal(errorOf([floats([1, 2, 1, 1], [1, 0]), floats([1, 2, 1, 1], [0, 1])]).agreement, 0);
  assert.equal(errorOf([floats([2, 1], [1, 0]), floats([2, 1], [1, 0])]).agreement, null);
});

test('OutputErrorAccumulator: the same NaN and infinities on both sides are counted and are no error', () => {
  const error = vector([3, NaN, -Infinity, 4], [3, NaN, -Infinity, 5]);
  assert.deepEqual([error.nonFinite, error.nonFiniteMismatches, error.maxAbsError, error.meanAbsError], [2, 0, 1, 0.5]);
  assert.equal(error.sqnrDb, 10 * Math.log10(25));
  assert.equal(error.collapsed, false);
});

test('OutputErrorAccumulator: a candidate that turns non-finite has no error figures and is collapsed', () => {
  for (const lost of [NaN, Infinity, -Infinity]) {
    const error = vector([1, 2], [1, lost]);
    assert.deepEqual([error.sqnrDb, error.cosine, error.maxAbsError, error.meanAbsError], [null, null, null, null]);
    assert.deepEqual([error.nonFinite, error.nonFiniteMismatches, error.collapsed], [1, 1, true]);
  }
});

test('OutputErrorAccumulator: a finite candidate where the baseline is not is a mismatch, not a collapse', () => {
  const error = vector([1, -Infinity], [1, -100]);
  assert.deepEqual([error.sqnrDb, error.nonFiniteMismatches, error.collapsed], [null, 1, false]);
  assert.equal(vector([Infinity], [-Infinity]).nonFiniteMismatches, 1);
});

test('OutputErrorAccumulator: collapsed below 3 dB, or constant against a varying baseline', () => {
  assert.equal(vector([10, -10], [-10, 10]).collapsed, true);
  assert.equal(vector([10, 11, 12], [11, 11, 11]).collapsed, true);
  // The baseline varies by less than two u8 steps: rounding alone makes it constant.
  assert.equal(vector([10, 10.05], [10, 10]).collapsed, false);
  assert.equal(vector([10, 11, 12], [10, 11, 11]).collapsed, false);
  assert.equal(vector([10], [10.1]).collapsed, false);
});

test('OutputErrorAccumulator: constant across samples counts as constant', () => {
  assert.equal(errorOf([floats([], [100]), floats([], [102])], [floats([], [104]), floats([], [102])]).collapsed, true);
});

test('OutputErrorAccumulator: another shape is counted and enters no figure', () => {
  const error = errorOf([floats([1, 2], [1, 2]), floats([1, 2], [1, 2])], [floats([1, 2], [1, 2]), floats([2, 1], [9, 9])]);
  assert.deepEqual([error.shapeMismatches, error.samples, error.elements, error.maxAbsError], [1, 1, 2, 0]);
});

test('OutputErrorAccumulator: integer, bool and string outputs have a share of equal elements and do not collapse', () => {
  const labels = errorOf([longs([4], [1, 2, 3, 4]), longs([4], [1, 2, 0, 4])]);
  assert.deepEqual([labels.equalShare, labels.agreement, labels.maxAbsError], [0.75, null, 3]);
  const flags = (values: readonly number[]) => tensorFromArray('bool', [values.length], Uint8Array.from(values));
  const bools = errorOf([flags([1, 0]), flags([0, 0])]);
  assert.deepEqual([bools.equalShare, bools.collapsed], [0.5, false]);
  const words = errorOf([strings(['cat', 'dog']), strings(['cat', 'cow'])]);
  assert.deepEqual([words.equalShare, words.sqnrDb, words.elements], [0.5, null, 2]);
});

test('OutputErrorAccumulator: float16 and float64 outputs', () => {
  const half = tensorFromArray('float16', [2], Uint16Array.of(0x3c00, 0xc000));
  const double = tensorFromArray('float64', [2], Float64Array.of(1, -1.5));
  assert.deepEqual(errorOf([half, double]).maxAbsError, 0.5);
});

test('OutputErrorAccumulator: one large sample or many small ones give the same figures', () => {
  const random = seeded(11);
  const rows = Array.from({ length: 40 }, () => Array.from({ length: 8 }, () => random() * 20 - 10));
  const noisy = rows.map((row) => row.map((value) => value + random() - 0.5));
  const split = errorOf(...rows.map((row, i) => [floats([1, 8], row), floats([1, 8], noisy[i] ?? [])] as const));
  const whole = errorOf([floats([40, 8], rows.flat()), floats([40, 8], noisy.flat())]);
  for (const key of ['sqnrDb', 'cosine', 'maxAbsError', 'meanAbsError', 'agreement'] as const) {
    assert.ok(Math.abs((split[key] ?? NaN) - (whole[key] ?? NaN)) < 1e-9, key);
  }
  assert.deepEqual([split.elements, split.samples, whole.samples], [whole.elements, 40, 1]);
});

test('OutputErrorAccumulator: scaling both sides keeps SQNR and cosine; halving the error adds 6.02 dB', () => {
  const random = seeded(5);
  for (let round = 0; round < 50; round++) {
    const b = Array.from({ length: 64 }, () => Math.fround(random() - 0.5));
    const e = b.map(() => (random() - 0.5) / 16);
    const pair = (scale: number, noise: number) => {
      const doubles = (values: readonly number[]) => tensorFromArray('float64', [values.length], Float64Array.from(values));
      return errorOf([doubles(b.map((x) => x * scale)), doubles(b.map((x, i) => (x + noise * (e[i] ?? 0)) * scale))]);
    };
    const one = pair(1, 1);
    assert.ok(Math.abs((pair(1024, 1).sqnrDb ?? NaN) - (one.sqnrDb ?? NaN)) < 1e-6);
    assert.ok(Math.abs((pair(1024, 1).cosine ?? NaN) - (one.cosine ?? NaN)) < 1e-9);
    assert.ok(Math.abs((pair(1, 0.5).sqnrDb ?? NaN) - (one.sqnrDb ?? NaN) - 20 * Math.log10(2)) < 1e-6);
    assert.ok((one.meanAbsError ?? NaN) <= (one.maxAbsError ?? NaN));
  }
});

test('OutputErrorAccumulator: the first sample with NaN or infinity is named, whichever side has it', () => {
  const accumulator = new OutputErrorAccumulator('y');
  accumulator.add(floats([2], [1, 2]), floats([2], [1, 2]), 'good');
  accumulator.add(floats([2], [1, NaN]), floats([2], [1, 3]), 'bad');
  accumulator.add(floats([2], [1, 2]), floats([2], [1, Infinity]), 'worse');
  const { nonFinite, nonFiniteMismatches, nonFiniteSample } = accumulator.result();
  assert.deepEqual({ nonFinite, nonFiniteMismatches, nonFiniteSample }, { nonFinite: 2, nonFiniteMismatches: 2, nonFiniteSample: 'bad' });
});
