import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseRange, needsEveryElement, RANGE_DEFAULTS, RANGE_METHODS, type RangeOptions } from '../../src/calibration/choose-range.js';
import type { Range } from '../../src/calibration/range.js';
import { TensorObserver } from '../../src/calibration/tensor-observer.js';
import type { TensorRecord } from '../../src/calibration/tensor-record.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { noise } from './models.js';

const COUNT = 20_000;

function recordOf(values: Float32Array): TensorRecord {
  const observer = new TensorObserver({ dtype: 'float32', dims: [values.length] });
  observer.add(tensorFromArray('float32', [values.length], values));
  return observer.record();
}

/** Normal numbers (Box and Muller). */
function normal(count: number, seed: number): Float32Array {
  const angle = noise(count, seed);
  return noise(count, seed + 1).map((value, i) => Math.sqrt(-2 * Math.log(Math.abs(value) + 1e-9)) * Math.cos(Math.PI * angle[i]!));
}

const laplace = noise(COUNT, 3).map((value) => -Math.sign(value) * Math.log(1 - Math.abs(value) * 0.99999));
const outliers = normal(COUNT, 5).map((value, i) => (i % 5_000 === 0 ? value * 200 : value));
const DATA: Readonly<Record<string, Float32Array>> = {
  uniform: noise(COUNT, 1),
  normal: normal(COUNT, 1),
  laplace,
  outliers,
  relu: normal(COUNT, 9).map((value) => Math.max(0, value)),
  'relu of outliers': outliers.map((value) => Math.max(0, value)),
  negative: normal(COUNT, 11).map((value) => -Math.abs(value)),
  relu6: normal(COUNT, 13).map((value) => Math.min(6, Math.max(0, 3 * value))),
  lopsided: normal(COUNT, 15).map((value) => (value < 0 ? value / 10 : value)),
};

const options = (changes: Partial<RangeOptions>): RangeOptions => ({ ...RANGE_DEFAULTS, ...changes });

/** Mean squared error of quantizing with a range, element by element. */
function squaredError(values: Float32Array, { min, max }: Range, levels: number): number {
  const step = (max - min) / (levels - 1);
  const zeroPoint = Math.round(-min / step);
  return values.reduce((sum, value) => {
    const quantized = Math.min(Math.max(Math.round(value / step) + zeroPoint, 0), levels - 1);
    return sum + ((quantized - zeroPoint) * step - value) ** 2;
  }, 0) / values.length;
}

for (const [name, values] of Object.entries(DATA)) {
  const record = recordOf(values);
  const [least, greatest] = [Math.min(0, ...values), Math.max(0, ...values)];

  for (const method of RANGE_METHODS) {
    for (const symmetric of [false, true]) {
      test(`${method} of ${name}${symmetric ? ', symmetric' : ''}: within the extremes, around 0, the same every time`, () => {
        const range = chooseRange(record, method, options({ symmetric }));
        const limit = Math.max(-least, greatest);
        assert.ok(range.min <= 0 && range.max >= 0 && range.max > range.min);
        assert.ok(range.min >= (symmetric ? -limit : least) && range.max <= (symmetric ? limit : greatest));
        if (symmetric) assert.equal(range.min, -range.max);
        assert.deepEqual(chooseRange({ ...record }, method, options({ symmetric })), range);
      });
    }
  }

  test(`minmax of ${name} is its extremes`, () => {
    assert.deepEqual(chooseRange(record, 'minmax'), { min: least, max: greatest });
  });

  test(`percentile of ${name} leaves the share outside that was asked for`, () => {
    for (const percentile of [90, 99, 99.9]) {
      const { min, max } = chooseRange(record, 'percentile', options({ percentile }));
      const magnitude = chooseRange(record, 'percentile', options({ percentile, symmetric: true })).max;
      const share = (outside: (value: number) => boolean) => values.filter(outside).length / COUNT;
      const expected = 1 - percentile / 100;
      const close = (actual: number, wanted: number) => assert.ok(Math.abs(actual - wanted) <= 0.001 + wanted * 0.05, `${actual} ${wanted}`);
      // Where many elements are one value, such as the 6 of a Relu6, the limit stands on it.
      if (name === 'relu6') assert.equal(max === 6, percentile > 98);
      else close(share((value) => value < min || value > max), expected);
      if (least < 0 && greatest > 0) close(share((value) => value < min), expected / 2);
      if (name !== 'relu6') close(share((value) => Math.abs(value) > magnitude), expected);
    }
    assert.deepEqual(chooseRange(record, 'percentile', options({ percentile: 100 })), { min: least, max: greatest });
  });

  test(`mse of ${name} is as good as the best that brute force finds`, () => {
    const few = values.subarray(0, 4_000);
    const [low, high] = [Math.min(0, ...few), Math.max(0, ...few)];
    const factors = Array.from({ length: 24 }, (_, i) => 0.9 ** i);
    const ranges = (low < 0 ? factors : [0]).flatMap((a) => (high > 0 ? factors : [0]).map((b) => ({ min: low * a, max: high * b })));
    for (const levels of [64, 256]) {
      const best = Math.min(...ranges.map((range) => squaredError(few, range, levels)));
      const chosen = squaredError(few, chooseRange(recordOf(few), 'mse', options({ levels })), levels);
      assert.ok(chosen <= best * 1.08, `${levels} levels: ${chosen} against ${best}`);
      const limit = Math.max(-low, high);
      const bestEven = Math.min(...factors.map((factor) => squaredError(few, { min: -limit * factor, max: limit * factor }, levels - 1)));
      const even = chooseRange(recordOf(few), 'mse', options({ levels: levels - 1, symmetric: true }));
      assert.ok(squaredError(few, even, levels - 1) <= bestEven * 1.08, `${levels} levels, symmetric`);
    }
  });
}

/**
 * Divergence of exponentially distributed elements from the same quantized with `levels` levels up to `limit`, in closed form: see
 * `entropyRange` for the definition.
 */
function exponentialDivergence(limit: number, levels: number): number {
  const size = limit / levels;
  const outside = Math.exp(-limit);
  const inLevel = 1 - Math.exp(-size);
  const perElement = Math.log(size / inLevel) - 1 + (size * Math.exp(-size)) / inLevel;
  const last = outside * Math.expm1(size);
  const ratio = (last + outside) / last;
  return (1 - outside) * perElement + last * (ratio - 1) * perElement + (last + outside) * Math.log(ratio) + Math.log(1 - outside);
}

test('entropy finds the least divergence of a distribution for which it is known', () => {
  const exponential = noise(400_000, 21).map((value) => -Math.log(1 - Math.abs(value) * 0.9999999));
  const limits = Array.from({ length: 200 }, (_, i) => 1 + i * 0.1);
  for (const levels of [64, 256]) {
    const least = Math.min(...limits.map((limit) => exponentialDivergence(limit, levels)));
    const { min, max } = chooseRange(recordOf(exponential), 'entropy', options({ levels }));
    assert.equal(min, 0);
    assert.ok(exponentialDivergence(max, levels) <= 1.3 * least, `${max} with ${levels} levels`);
  }
});

test('entropy clips a heavy tail and keeps what is even', () => {
  const heavy = normal(400_000, 5).map((value, i) => (i % 10_000 === 0 ? value * 200 : value));
  const record = recordOf(heavy);
  const clipped = chooseRange(record, 'entropy');
  assert.ok(clipped.max < 0.1 * record.max! && clipped.min > 0.1 * record.min!, JSON.stringify([clipped, record.min, record.max]));
  const even = chooseRange(recordOf(DATA['uniform']!), 'entropy');
  assert.ok(even.max > 0.98 && even.min < -0.98, JSON.stringify(even));
});

test('with very many levels entropy has nothing to clip', () => {
  const record = recordOf(outliers);
  assert.deepEqual(chooseRange(record, 'entropy', options({ levels: 65_536 })), chooseRange(record, 'minmax'));
});

test('tensors without spread have a range all the same', () => {
  const nothing = recordOf(new Float32Array(5_000).fill(NaN));
  const zeros = recordOf(new Float32Array(5_000));
  const threes = recordOf(new Float32Array(5_000).fill(3));
  const tiny = recordOf(new Float32Array(5_000).fill(1e-42));
  for (const method of RANGE_METHODS) {
    for (const symmetric of [false, true]) {
      for (const record of [nothing, zeros]) assert.deepEqual(chooseRange(record, method, options({ symmetric })), { min: 0, max: 0 });
      const { min, max } = chooseRange(threes, method, options({ symmetric }));
      assert.ok(Math.abs(max - 3) < 0.02 && min === (symmetric ? -max : 0), `${method} ${min} ${max}`);
      const small = chooseRange(tiny, method, options({ symmetric }));
      assert.ok(small.min <= 0 && small.max >= 0 && Number.isFinite(small.max - small.min), method);
    }
  }
});

test('only entropy needs every element', () => {
  assert.deepEqual(RANGE_METHODS.filter(needsEveryElement), ['entropy']);
});
