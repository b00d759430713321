import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import wabt from 'wabt';
import { CHUNK_LENGTH, KERNEL_BASE64 } from '../../src/quantization/rounding-kernel.js';
import { channelMaxima, quantizeElements, scalesFromMaxima, weightZeroPoint } from '../../src/quantization/weights.js';
import { quantizeValue } from '../../src/tensor/affine.js';
import { elementCount, tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { noise } from '../helpers/graph-builder.js';

const SOURCE = fileURLToPath(new URL('../../../src/quantization/rounding-kernel.wat', import.meta.url));

test('the binary kernel is that of its text', async () => {
  const module = (await wabt()).parseWat('rounding-kernel.wat', await readFile(SOURCE, 'utf8'), { simd: true });
  module.validate();
  const base64 = Buffer.from(module.toBinary({}).buffer).toString('base64');
  assert.equal(KERNEL_BASE64, base64, `rounding-kernel.wat was changed: set KERNEL_BASE64 to\n${base64.replace(/.{140}/g, '$&\n')}`);
});

/** Noise with ties of the scales 1/64, both zeros, and a magnitude that falls from channel to channel. */
function weight(dims: readonly number[]): Tensor {
  const values = noise(elementCount(dims), 1).map((value, i) => (i % 5 === 0 ? (Math.round(value * 64) + 0.5) / 64 : i % 7 === 0 ? -0 : value / (1 + (i % 3))));
  return tensorFromArray('float32', dims, values);
}

/** Channel of each element by the definition. */
function channelOf(dims: readonly number[], axis: number | null, i: number): number {
  if (axis === null) return 0;
  return Math.floor(i / elementCount(dims.slice(axis + 1))) % dims[axis]!;
}

const SHAPES: readonly (readonly [readonly number[], number | null])[] = [
  [[5], null],
  [[3, CHUNK_LENGTH + 5], null],
  [[7, 3], 1],
  [[300, 1000], 1],
  [[3000, 17], 1],
  [[CHUNK_LENGTH + 3, 1], 1],
  [[3, 2 * CHUNK_LENGTH + 9], 1],
  [[4, CHUNK_LENGTH + 9], 0],
  [[33, 70], 0],
  [[33, 9], 0],
  [[8, 4, 3, 3], 0],
  [[2, 6, 100], 1],
];

describe('the loops of the kernel give what the formula gives', () => {
  for (const [dims, axis] of SHAPES) {
    test(`[${dims.join(',')}] along ${axis}`, () => {
      const tensor = weight(dims);
      const values = new Float32Array(tensor.storage.read().buffer);
      const maxima = channelMaxima(tensor, axis);
      const expected = new Float64Array(axis === null ? 1 : dims[axis]!);
      values.forEach((value, i) => (expected[channelOf(dims, axis, i)] = Math.max(expected[channelOf(dims, axis, i)]!, Math.abs(value))));
      assert.deepEqual(maxima, expected);
      for (const [dtype, limit] of [['int8', 127], ['uint8', 127], ['int8', 20], ['int16', 3000]] as const) {
        const scales: Float64Array = limit === 20 ? new Float64Array(maxima.length).fill(1 / 64) : scalesFromMaxima(maxima, limit);
        const zero = weightZeroPoint(dtype);
        const all = quantizeElements(tensor, { axis, scales, dtype, limit }, 0, values.length);
        const wanted = values.map((value, i) => quantizeValue(value, scales[channelOf(dims, axis, i)]!, zero, zero - limit, zero + limit));
        assert.equal(all.findIndex((value, i) => value !== wanted[i]), -1);
        const [from, to] = [Math.floor(values.length / 3), values.length - 1];
        assert.deepEqual(quantizeElements(tensor, { axis, scales, dtype, limit }, from, to), all.slice(from, to));
      }
    });
  }
});

for (const value of [NaN, Infinity, -Infinity]) {
  for (const axis of [null, 0, 1]) {
    test(`a ${value} shows in the maxima along ${axis}, wherever it stands`, () => {
      const dims = [70, 90];
      for (const place of [0, 1, 89, 3000, 6299]) {
        const tensor = weight(dims);
        new Float32Array(tensor.storage.read().buffer)[place] = value;
        const maxima = channelMaxima(tensor, axis);
        const channel = channelOf(dims, axis, place);
        assert.deepEqual(maxima[channel], Math.abs(value));
        assert.ok(maxima.every((maximum, c) => c === channel || Number.isFinite(maximum)));
      }
    });
  }
}
