import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bfloat16ToNumber, float16ToNumber, numberToFloat16 } from '../../src/tensor/float16.js';
import { outputsOf } from '../helpers/same-outputs.js';
import { parseModel } from '../helpers/graph-text.js';
import { tensorFromArray, typedArrayOf } from '../../src/tensor/tensor.js';
import { seeded } from '../metrics/seeded.js';

const ALL_BITS = Uint16Array.from({ length: 65536 }, (_, bits) => bits);

/** What onnxruntime's Cast makes of an array: an independent computation. */
async function cast(from: 'float16' | 'bfloat16' | 'float32', to: number, array: Uint16Array | Float32Array) {
  const model = parseModel(`input x ${from}[N]\ny = Cast(x) to=${to}\noutput y`);
  const outputs = await outputsOf(model, new Map([['x', tensorFromArray(from, [array.length], array)]]));
  return typedArrayOf(outputs.get('y')!);
}

test('float16ToNumber: all 65,536 bit patterns are what onnxruntime reads', async () => {
  const expected = (await cast('float16', 1, ALL_BITS)) as Float32Array;
  for (const bits of ALL_BITS) assert.ok(Object.is(float16ToNumber(bits), expected[bits]), `0x${bits.toString(16)}`);
});

test('numberToFloat16 undoes float16ToNumber; every NaN becomes 0x7e00', () => {
  for (const bits of ALL_BITS) {
    const value = float16ToNumber(bits);
    assert.equal(numberToFloat16(value), Number.isNaN(value) ? 0x7e00 : bits);
  }
});

test('numberToFloat16 rounds as onnxruntime does: ties, denormals, overflow', async () => {
  const next = seeded(1);
  const halves = ALL_BITS.filter((bits) => (bits & 0x7c00) !== 0x7c00).map((bits) => bits);
  const between = Array.from(halves, (bits) => (float16ToNumber(bits) + float16ToNumber(bits + 1)) / 2).filter(Number.isFinite);
  const scratch = new DataView(new ArrayBuffer(4));
  const anything = Array.from({ length: 50_000 }, () => {
    scratch.setUint32(0, next() * 2 ** 32);
    return scratch.getFloat32(0);
  }).filter((value) => !Number.isNaN(value));
  const near = between.flatMap((value) => [value * (1 - 2 ** -20), value * (1 + 2 ** -20)]);
  const values = Float32Array.from([...between, ...near, ...anything, 65504, 65519.99, 65520, 65536, -65520, 0, -0, Infinity, -Infinity, 2 ** -25, 2 ** -24]);
  const expected = await cast('float32', 10, values);
  values.forEach((value, i) => assert.equal(numberToFloat16(value), expected[i], String(value)));
});

test('numberToFloat16 rounds a double once', () => {
  // By way of float32 this would round to the tie first, and then down to even.
  assert.equal(numberToFloat16(1 + 2 ** -11 + 2 ** -40), 0x3c01);
  assert.equal(numberToFloat16(1 + 2 ** -11), 0x3c00);
});

test('bfloat16ToNumber: all 65,536 bit patterns are the upper half of a float32', () => {
  const floats = new Float32Array(Uint32Array.from(ALL_BITS, (bits) => bits * 65536).buffer);
  for (const bits of ALL_BITS) assert.ok(Object.is(bfloat16ToNumber(bits), floats[bits]), `0x${bits.toString(16)}`);
});
