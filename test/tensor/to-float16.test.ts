import assert from 'node:assert/strict';
import { test } from 'node:test';
import { float16ToNumber, numberToFloat16 } from '../../src/tensor/float16.js';
import { countOutsideFloat16, toFloat16 } from '../../src/tensor/to-float16.js';

const convert = (...values: number[]) => [...toFloat16(Float32Array.from(values))];

test('every float16 comes back, and so do the middles between two, to the even one', () => {
  for (let bits = 0; bits < 0x7c00; bits++) {
    const value = float16ToNumber(bits);
    const middle = (value + float16ToNumber(bits + 1)) / 2;
    const values = [value, -value, ...(bits > 0 && bits < 0x7bff ? [middle, Math.fround(middle * (1 + 2 ** -23)), Math.fround(middle * (1 - 2 ** -23))] : [])];
    assert.deepEqual(convert(...values), values.map(numberToFloat16));
  }
});

test('what float16 does not reach is clamped, infinity and NaN stay', () => {
  assert.deepEqual(convert(65519, 65520, 3.4e38, -1e6, Infinity, -Infinity, NaN), [0x7bff, 0x7bff, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00]);
  assert.deepEqual(convert(2 ** -25, 1e-12, -1e-30, 0, -0), [1, 1, 0x8001, 0, 0x8000]);
  assert.deepEqual(countOutsideFloat16(Float32Array.of(65519, 65520, -3e38, Infinity, NaN, 1e-12, -(2 ** -25), 2 ** -24, 0)), { large: 2, small: 2 });
});
