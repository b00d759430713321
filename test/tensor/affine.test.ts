import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createNode } from '../../src/graph/graph-editor.js';
import type { Model } from '../../src/graph/model.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { Session } from '../../src/runtime/session.js';
import {
  affineFromRange,
  INTEGER_LIMITS,
  integerArray,
  integerScalar,
  quantizeTensor,
  quantizeValue,
  representableRange,
  usableScale,
  type AffineParameters,
  type QuantizedType,
} from '../../src/tensor/affine.js';
import { roundHalfEven } from '../../src/tensor/round-half-even.js';
import { float32Tensor, tensorFromArray, typedArrayOf } from '../../src/tensor/tensor.js';
import { seeded } from '../metrics/seeded.js';

const TYPES = ['uint8', 'int8', 'uint16', 'int16'] as const;

/** Ranges that models show and that numbers allow. */
const RANGES: readonly (readonly [number, number])[] = [
  [-1, 1],
  [0, 6],
  [-6, 0],
  [-0.1, 5.3],
  [2, 3],
  [-3, -2],
  [0, 0],
  [-1e30, 1e30],
  [0, 1e30],
  [-1e-30, 1e-30],
  [-1e-44, 1e-44],
  [0, 1.4e-45],
  [-1e-30, 1e30],
  [-3.3e38, 3.3e38],
  [-127.5, 127.5],
  [-0.5, 254.5],
];

const dequantize = (q: number, { scale, zeroPoint }: AffineParameters) => Math.fround(scale * (q - zeroPoint));
const quantize = (x: number, { dtype, scale, zeroPoint }: AffineParameters) => quantizeValue(x, scale, zeroPoint, ...INTEGER_LIMITS[dtype]);

describe('affineFromRange', () => {
  for (const dtype of TYPES) {
    for (const symmetric of [false, true]) {
      test(`${dtype}, ${symmetric ? 'symmetric' : 'asymmetric'}: a usable scale, an exact zero, errors of half a step`, () => {
        const next = seeded(3);
        const [qmin, qmax] = INTEGER_LIMITS[dtype];
        for (const [min, max] of RANGES) {
          const parameters = affineFromRange(min, max, dtype, symmetric);
          const where = `[${min}, ${max}]`;
          assert.ok(parameters.scale >= 2 ** -126 && parameters.scale <= 3.4028234663852886e38, where);
          assert.equal(parameters.scale, Math.fround(parameters.scale), where);
          assert.ok(Number.isInteger(parameters.zeroPoint) && parameters.zeroPoint >= qmin && parameters.zeroPoint <= qmax, where);
          assert.equal(dequantize(quantize(0, parameters), parameters), 0, where);
          if (symmetric) assert.equal(parameters.zeroPoint, { uint8: 128, int8: 0, uint16: 32768, int16: 0 }[dtype]);
          for (let i = 0; i <= 200; i++) {
            const x = Math.fround(i === 0 ? min : i === 1 ? max : min + (max - min) * next());
            const error = Math.abs(x - dequantize(quantize(x, parameters), parameters));
            // Float32 rounds the scale, the quotient and the product: one unit of the number's own precision each.
            const limit = parameters.scale / 2 + 3 * 2 ** -24 * Math.abs(x);
            assert.ok(error <= limit, `${where}: ${x} is off by ${error}, scale ${parameters.scale}`);
          }
        }
      });
    }
  }

  test('ranges without zero are widened to it', () => {
    assert.deepEqual(affineFromRange(2, 3, 'uint8', false), affineFromRange(0, 3, 'uint8', false));
    assert.deepEqual(affineFromRange(-3, -2, 'int8', false), affineFromRange(-3, 0, 'int8', false));
    assert.equal(affineFromRange(0, 3, 'int8', false).zeroPoint, -128);
    assert.equal(affineFromRange(-3, 0, 'int8', false).zeroPoint, 127);
  });

  test('a range of nothing has scale 1', () => {
    assert.deepEqual(affineFromRange(0, 0, 'uint8', false), { dtype: 'uint8', scale: 1, zeroPoint: 0 });
    assert.deepEqual(affineFromRange(0, -0, 'int8', true), { dtype: 'int8', scale: 1, zeroPoint: 0 });
  });

  test('symmetric int8 leaves −128 unused', () => {
    const parameters = affineFromRange(-5, 3, 'int8', true);
    assert.equal(quantize(-5, parameters), -127);
    assert.equal(parameters.scale, Math.fround(5 / 127));
  });

  test('a range that is not finite gets finite parameters', () => {
    const parameters = affineFromRange(-Infinity, 1, 'uint8', false);
    assert.ok(Number.isFinite(parameters.scale) && Number.isInteger(parameters.zeroPoint));
  });
});

test('representableRange covers the range it was made from', () => {
  for (const dtype of TYPES) {
    for (const [min, max] of RANGES) {
      const parameters = affineFromRange(min, max, dtype, false);
      const [low, high] = representableRange(parameters);
      assert.ok(low <= min + 0.51 * parameters.scale && high >= max - 0.51 * parameters.scale, `${dtype} [${min}, ${max}]`);
    }
  }
  assert.deepEqual(representableRange({ dtype: 'int8', scale: 0.5, zeroPoint: 0 }), [-64, 63.5]);
});

test('usableScale: float32, positive, not denormal, finite', () => {
  assert.deepEqual([0, -1, NaN].map(usableScale), [1, 1, 1]);
  assert.equal(usableScale(1e-45), 2 ** -126);
  assert.equal(usableScale(0.1), Math.fround(0.1));
  assert.equal(usableScale(1e300), 3.4028234663852886e38);
  assert.equal(usableScale(Infinity), 3.4028234663852886e38);
});

test('roundHalfEven', () => {
  const cases: [number, number][] = [[0.5, 0], [1.5, 2], [2.5, 2], [-0.5, 0], [-1.5, -2], [-2.5, -2], [0.49999999999999994, 0], [1e9 + 0.5, 1e9], [-7.6, -8], [2 ** 50 + 0.5, 2 ** 50], [254.5, 254], [255.5, 256]];
  for (const [x, expected] of cases) assert.equal(roundHalfEven(x) + 0, expected, String(x));
  assert.equal(roundHalfEven(Infinity), Infinity);
});

test('integerArray and integerScalar', () => {
  for (const dtype of TYPES) {
    const [qmin, qmax] = INTEGER_LIMITS[dtype];
    const array = integerArray(dtype, 2);
    array.set([qmin, qmax]);
    assert.deepEqual([...array], [qmin, qmax], 'the type holds its limits');
    assert.deepEqual(typedArrayOf(integerScalar(dtype, qmin))[0], qmin);
    assert.deepEqual(integerScalar(dtype, 0).dims, []);
  }
  assert.equal(typedArrayOf(integerScalar('int32', -5))[0], -5);
  assert.throws(() => integerScalar('float32', 1), new TypeError('no quantized scalar of float32'));
});

describe('quantizeTensor against QuantizeLinear of onnxruntime', () => {
  // 16-bit types came into the ONNX domain with operator set 21.
  const oneNode = ({ dtype, scale, zeroPoint }: AffineParameters): Model => ({
    irVersion: 10,
    opsets: new Map([['', 21]]),
    producer: 'test',
    metadata: new Map(),
    functions: [],
    graph: {
      name: 'one',
      nodes: [createNode({ name: 'q', opType: 'QuantizeLinear', inputs: ['x', 'scale', 'zero'], outputs: ['y'] })],
      initializers: new Map([
        ['scale', float32Tensor(scale)],
        ['zero', integerScalar(dtype, zeroPoint)],
      ]),
      sparseInitializers: [],
      inputs: [{ name: 'x', type: { kind: 'tensor', dtype: 'float32', shape: ['N'] } }],
      outputs: [{ name: 'y', type: { kind: 'tensor', dtype } }],
      valueInfo: [],
    },
  });

  const parametersOf = (dtype: QuantizedType): AffineParameters[] => {
    const [qmin, qmax] = INTEGER_LIMITS[dtype];
    const middle = Math.ceil((qmin + qmax) / 2);
    const scales = [1, 0.5, Math.fround(0.1), Math.fround(1 / 3), Math.fround(0.0235), 2 ** -126, Math.fround(1e-30), Math.fround(1e30)];
    return scales.flatMap((scale) => [qmin, middle, qmax, middle + 3].map((zeroPoint) => ({ dtype, scale, zeroPoint })));
  };

  for (const dtype of TYPES) {
    test(dtype, async () => {
      const next = seeded(5);
      const [qmin, qmax] = INTEGER_LIMITS[dtype];
      for (const parameters of parametersOf(dtype)) {
        const { scale, zeroPoint } = parameters;
        const steps = Array.from({ length: 601 }, (_, i) => i / 2 - 150);
        const ends = [qmin, qmax].flatMap((q) => [-1, -0.5, 0, 0.5, 1, 1.5].map((d) => q - zeroPoint + d));
        const random = Array.from({ length: 1000 }, () => (next() - 0.5) * 2.2 * (qmax - qmin));
        const values = [...steps, ...ends, ...random].map((step) => step * scale);
        const x = tensorFromArray('float32', [values.length + 7], Float32Array.from([...values, 0, -0, 3e38, -3e38, 1e-45, Infinity, -Infinity]));
        const session = await Session.open(encodeModel(oneNode(parameters)), { threads: 1, optimization: 'disabled' });
        const expected = (await session.run(new Map([['x', x]]))).get('y')!;
        await session.release();
        const received = quantizeTensor(x, parameters);
        assert.equal(received.dtype, expected.dtype);
        assert.deepEqual(received.dims, expected.dims);
        const [ours, theirs] = [typedArrayOf(received), typedArrayOf(expected)];
        const off = ours.findIndex((value, i) => value !== theirs[i]);
        assert.ok(off < 0, `scale ${scale}, zero point ${zeroPoint}: ${numberAt(x, off)} becomes ${ours[off]}, in onnxruntime ${theirs[off]}`);
      }
    });
  }

  test('NaN becomes 0, an integer in any case', () => {
    assert.deepEqual(typedArrayOf(quantizeTensor(float32Tensor([NaN]), { dtype: 'int8', scale: 1, zeroPoint: 3 })), Int8Array.of(0));
  });
});

function numberAt(tensor: ReturnType<typeof float32Tensor>, at: number): number {
  return Number(typedArrayOf(tensor)[at]);
}
