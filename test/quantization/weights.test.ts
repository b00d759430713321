import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { biasMaxima, channelMaxima, quantizeBias, quantizeElements, quantizeWeight, scaleForBias, weightLimit, weightScales, weightZeroPoint } from '../../src/quantization/weights.js';
import type { QuantizedType } from '../../src/tensor/affine.js';
import { elementCount, tensorFromArray, typedArrayOf, type Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { GraphBuilder, noiseTensor } from '../helpers/graph-builder.js';
import { runModel } from '../helpers/run-model.js';

const floats = (dims: readonly number[], values: readonly number[]) => tensorFromArray('float32', dims, Float32Array.from(values));

/** Index of an element's channel, counted the slow way. */
function channelOf(index: number, dims: readonly number[], axis: number): number {
  const inner = elementCount(dims.slice(axis + 1));
  return Math.floor(index / inner) % dims[axis]!;
}

const SHAPES: readonly { readonly dims: readonly number[]; readonly axis: number | null }[] = [
  { dims: [5], axis: null },
  { dims: [5], axis: 0 },
  { dims: [6, 7], axis: 0 },
  { dims: [6, 7], axis: 1 },
  { dims: [4, 3, 3, 3], axis: 0 },
  { dims: [4, 3, 5], axis: 1 },
  { dims: [4, 3, 5], axis: null },
  { dims: [1, 1], axis: 1 },
];

describe('weightLimit and weightZeroPoint', () => {
  const rows: readonly [QuantizedType, boolean, number, number][] = [
    ['int8', false, 127, 0],
    ['int8', true, 64, 0],
    ['uint8', false, 127, 128],
    ['uint8', true, 64, 128],
    ['int16', false, 32767, 0],
    ['uint16', false, 32767, 32768],
  ];
  for (const [dtype, reduceRange, limit, zeroPoint] of rows) {
    test(`${dtype}${reduceRange ? ' in reduced range' : ''}`, () => {
      assert.equal(weightLimit(dtype, reduceRange), limit);
      assert.equal(weightZeroPoint(dtype), zeroPoint);
    });
  }

  test('a pair of u8 × s8 products in reduced range fits signed 16 bits', () => assert.ok(2 * 255 * weightLimit('int8', true) <= 32767));
});

describe('channelMaxima', () => {
  for (const { dims, axis } of SHAPES) {
    test(`[${dims.join(',')}] along ${axis}`, () => {
      const weight = noiseTensor(dims, 3);
      const expected = new Float64Array(axis === null ? 1 : dims[axis]!);
      numbersOf(weight).forEach((value: number, i: number) => {
        const c = axis === null ? 0 : channelOf(i, dims, axis);
        expected[c] = Math.max(expected[c]!, Math.abs(value));
      });
      assert.deepEqual(channelMaxima(weight, axis), expected);
    });
  }

  for (const [name, value] of [['NaN', NaN], ['infinity', Infinity], ['minus infinity', -Infinity]] as const) {
    for (const at of [0, 2, 5]) {
      test(`${name} at ${at} is not lost`, () => {
        const values = [1, -2, 3, -4, 5, -6];
        values[at] = value;
        for (const [dims, axis] of [[[6], null], [[3, 2], 0], [[3, 2], 1]] as const) {
          const maxima = channelMaxima(floats(dims, values), axis);
          assert.equal(maxima.filter((largest) => !Number.isFinite(largest)).length, 1, `[${dims.join()}] along ${axis}`);
        }
      });
    }
  }
});

describe('weightScales', () => {
  test('bring the largest magnitude of each channel to the limit', () => {
    const scales = weightScales(floats([2, 3], [1, -2, 0.5, 0.25, 0.125, -0.0625]), 0, 127);
    assert.deepEqual([...scales], [Math.fround(2 / 127), Math.fround(0.25 / 127)]);
  });

  test('a channel of zeros takes the largest scale of the others', () => {
    assert.deepEqual([...weightScales(floats([3, 2], [1, 2, 0, 0, 0.5, 0.5]), 0, 100)], [Math.fround(0.02), Math.fround(0.02), Math.fround(0.005)]);
  });

  test('a weight of zeros has scales of 1', () => assert.deepEqual([...weightScales(floats([2, 2], [0, 0, 0, 0]), 0, 127)], [1, 1]));

  test('stay normal float32 where weights are denormal', () => {
    const [scale] = weightScales(floats([1, 2], [1e-42, -1e-42]), 0, 127);
    assert.ok(scale! >= 2 ** -126);
  });
});

describe('quantizeWeight', () => {
  for (const dtype of ['int8', 'uint8', 'int16', 'uint16'] as const) {
    for (const { dims, axis } of SHAPES) {
      test(`${dtype} [${dims.join(',')}] along ${axis} is off by half a scale at most`, () => {
        const weight = noiseTensor(dims, 11, 3);
        const limit = weightLimit(dtype, false);
        const scales = weightScales(weight, axis, limit);
        const quantized = numbersOf(quantizeWeight(weight, axis, scales, dtype, limit));
        numbersOf(weight).forEach((value: number, i: number) => {
          const scale = scales[axis === null ? 0 : channelOf(i, dims, axis)]!;
          const integer = quantized[i]! - weightZeroPoint(dtype);
          assert.ok(Math.abs(integer) <= limit);
          // The quotient is rounded to float32 before it is rounded to an integer, which moves ties.
          assert.ok(Math.abs(value - scale * integer) <= scale * (0.5 + limit * 2 ** -23), `element ${i}`);
        });
      });
    }
  }

  test('any part equals that part of the whole', () => {
    for (const { dims, axis } of SHAPES) {
      const weight = noiseTensor(dims, 5);
      const scales = weightScales(weight, axis, 127);
      const whole = typedArrayOf(quantizeWeight(weight, axis, scales, 'int8', 127)) as Int8Array;
      for (let from = 0; from <= whole.length; from += 3) {
        for (let to = from; to <= whole.length; to += 5) {
          assert.deepEqual(quantizeElements(weight, { axis, scales, dtype: 'int8', limit: 127 }, from, to), whole.slice(from, to), `[${dims.join()}] along ${axis}, ${from} to ${to}`);
        }
      }
    }
  });

  test('weights of more than four million elements, channel by channel', () => {
    const dims = [3, 1_500_001] as const;
    const weight = noiseTensor(dims, 8);
    for (const axis of [0, 1]) {
      const maxima = channelMaxima(weight, axis);
      const scales = weightScales(weight, axis, 127);
      const quantized = typedArrayOf(quantizeWeight(weight, axis, scales, 'int8', 127)) as Int8Array;
      assert.equal(maxima.length, dims[axis]);
      const values = numbersOf(weight);
      for (let i = 0; i < values.length; i += 9973) {
        const c = channelOf(i, dims, axis);
        assert.ok(Math.abs(values[i]!) <= maxima[c]!);
        assert.ok(Math.abs(values[i]! - scales[c]! * quantized[i]!) <= scales[c]! * 0.501, `element ${i} along ${axis}`);
      }
    }
  });

  for (const { dims, axis } of SHAPES.filter(({ axis }) => axis !== null)) {
    test(`onnxruntime reads [${dims.join(',')}] along ${axis} back as scale · (q − zero point)`, async () => {
      const weight = noiseTensor(dims, 21, 2);
      const scales = weightScales(weight, axis, 127);
      const quantized = quantizeWeight(weight, axis, scales, 'uint8', 127);
      const g = new GraphBuilder(13);
      const zeros = tensorFromArray('uint8', [scales.length], new Uint8Array(scales.length).fill(128));
      g.output(g.op('w', 'DequantizeLinear', [g.constant('q', quantized), g.floats('s', [...scales]), g.constant('z', zeros)], { attributes: { axis: axis! } }));
      const dequantized = (await runModel(encodeModel(g.model()), new Map())).get('w')!;
      const integers = numbersOf(quantized);
      dequantized.forEach((value, i) => assert.equal(value, Math.fround((integers[i]! - 128) * scales[channelOf(i, dims, axis!)]!)));
    });
  }
});

describe('quantizeBias', () => {
  test('rounds to the scale of the products, one for each channel', () => {
    assert.deepEqual([...numbersOf(quantizeBias(floats([3], [1, -1, 0.26]), 0, [0.5, 0.25, 0.1]))], [2, -4, 3]);
  });

  test('one scale for all', () => {
    const bias = quantizeBias(floats([2, 2], [1, 2, 3, 4]), null, [0.5]);
    assert.deepEqual([bias.dims, [...numbersOf(bias)]], [[2, 2], [2, 4, 6, 8]]);
  });

  const spread: readonly [string, Tensor, readonly number[], readonly number[]][] = [
    ['a scalar', floats([], [1]), [2], [2, 4]],
    ['one number', floats([1], [1]), [2], [2, 4]],
    ['a column', floats([2, 1], [1, 2]), [2, 2], [2, 4, 4, 8]],
    ['a matrix', floats([2, 2], [1, 2, 3, 4]), [2, 2], [2, 8, 6, 16]],
    ['a row', floats([1, 2], [1, 2]), [1, 2], [2, 8]],
  ];
  for (const [name, bias, dims, expected] of spread) {
    test(`${name} is stored for each channel`, () => {
      const quantized = quantizeBias(bias, Math.max(0, bias.dims.length - 1), [0.5, 0.25]);
      assert.deepEqual([quantized.dims, [...numbersOf(quantized)]], [dims, expected]);
    });
  }

  test('what would overflow is clamped', () => {
    assert.deepEqual([...numbersOf(quantizeBias(floats([2], [1e30, -1e30]), 0, [1e-10, 1e-10]))], [2147483647, -2147483648]);
  });

  test('the scale that the guard asks for leaves 31 bits for the products', () => {
    for (const [bias, inputScale] of [[1e6, 1e-6], [-3, 0.02], [1e-20, 1e-30]] as const) {
      const [quantized] = numbersOf(quantizeBias(floats([1], [bias]), 0, [scaleForBias(bias, inputScale) * inputScale]));
      assert.ok(Math.abs(Math.abs(quantized!) - 2 ** 30) <= 64, String(quantized));
    }
  });
});

describe('biasMaxima', () => {
  const bias = floats([2, 2], [1, -2, -3, 1]);
  test('for each column', () => assert.deepEqual([...biasMaxima(bias, 2)], [3, 2]));
  test('for one channel in all', () => assert.deepEqual([...biasMaxima(bias, 1)], [3]));
  test('a single value stands for all channels', () => {
    assert.deepEqual([...biasMaxima(floats([], [-4]), 3)], [4, 4, 4]);
    assert.deepEqual([...biasMaxima(floats([2, 1], [1, -4]), 3)], [4, 4, 4]);
  });
});
