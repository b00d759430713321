import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { axisLayout } from '../../src/tensor/slices.js';
import {
  alignedBytes,
  elementCount,
  float32Tensor,
  int64Tensor,
  memoryStorage,
  tensorFromArray,
  typedArrayOf,
  type TypedArray,
} from '../../src/tensor/tensor.js';
import type { DType } from '../../src/tensor/dtype.js';
import { numbersOf } from '../../src/tensor/values.js';

/** A typed array of each type that has one, with values at its limits. */
const ARRAYS: readonly (readonly [DType, TypedArray])[] = [
  ['float32', Float32Array.of(-1.5, 0, Infinity, 1e-40)],
  ['float64', Float64Array.of(-1.5, 1e300, NaN)],
  ['int8', Int8Array.of(-128, 0, 127)],
  ['uint8', Uint8Array.of(0, 255)],
  ['int16', Int16Array.of(-32768, 32767)],
  ['uint16', Uint16Array.of(0, 65535)],
  ['int32', Int32Array.of(-2147483648, 2147483647)],
  ['uint32', Uint32Array.of(0, 4294967295)],
  ['int64', BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n)],
  ['uint64', BigUint64Array.of(0n, 2n ** 64n - 1n)],
  ['bool', Uint8Array.of(0, 1)],
  ['float16', Uint16Array.of(0x3c00, 0xc000, 0x7c00)],
  ['bfloat16', Uint16Array.of(0x3f80, 0xc000, 0x0001)],
];

describe('typedArrayOf', () => {
  for (const [dtype, array] of ARRAYS) {
    test(`${dtype}: a view where aligned, a copy with equal elements where not`, () => {
      const tensor = tensorFromArray(dtype, [array.length], array);
      const view = typedArrayOf(tensor);
      assert.deepEqual(view, array);
      assert.equal(view.buffer, array.buffer);
      for (let offset = 1; offset < 8; offset++) {
        const shifted = new Uint8Array(array.byteLength + 16).subarray(offset, offset + array.byteLength);
        shifted.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
        const read = typedArrayOf({ dtype, dims: [array.length], storage: memoryStorage(shifted) });
        assert.deepEqual(read, array);
        assert.equal(read.buffer === shifted.buffer, offset % array.BYTES_PER_ELEMENT === 0);
      }
    });
  }

  test('a Buffer from the pool becomes an aligned copy, not a view of the pool', () => {
    const buffer = Buffer.from(new Uint8Array(Float32Array.of(1, 2).buffer));
    const odd = Buffer.concat([Buffer.of(0), buffer]).subarray(1);
    assert.deepEqual(typedArrayOf({ dtype: 'float32', dims: [2], storage: memoryStorage(odd) }), Float32Array.of(1, 2));
  });
});

test('alignedBytes gives the same bytes back where they are aligned', () => {
  const bytes = new Uint8Array(new ArrayBuffer(16), 8, 8);
  assert.equal(alignedBytes(bytes, 8), bytes);
  const odd = bytes.subarray(1);
  assert.notEqual(alignedBytes(odd, 2), odd);
  assert.equal(alignedBytes(odd, 1), odd);
});

test('memoryStorage: ranges are views', () => {
  const bytes = Uint8Array.of(1, 2, 3, 4);
  const storage = memoryStorage(bytes);
  assert.equal(storage.byteLength, 4);
  assert.equal(storage.read(), bytes);
  assert.deepEqual(storage.readRange(1, 2), Uint8Array.of(2, 3));
  assert.equal(storage.readRange(1, 2).buffer, bytes.buffer);
});

test('tensorFromArray: the byte count must fit type and shape', () => {
  assert.throws(() => tensorFromArray('float32', [3], Float32Array.of(1, 2)), /float32\[3\] takes 12 bytes, received 8/);
  assert.throws(() => tensorFromArray('int8', [4], Float32Array.of(1, 2)), RangeError);
  assert.equal(tensorFromArray('int4', [3], Uint8Array.of(0x21, 0x03)).storage.byteLength, 2);
  assert.equal(tensorFromArray('float32', [0, 5], new Float32Array()).storage.byteLength, 0);
});

test('elementCount', () => {
  assert.deepEqual([[], [3], [2, 3, 4], [2, 0, 4]].map(elementCount), [1, 3, 24, 0]);
});

test('float32Tensor and int64Tensor: a number makes a scalar, a list one dimension', () => {
  assert.deepEqual([float32Tensor(2).dims, float32Tensor([2]).dims, float32Tensor([]).dims], [[], [1], [0]]);
  assert.deepEqual([int64Tensor(2).dims, int64Tensor(2n).dims, int64Tensor([1, 2n]).dims, int64Tensor([]).dims], [[], [], [2], [0]]);
  assert.deepEqual(typedArrayOf(int64Tensor([-1, 2n ** 63n - 1n])), BigInt64Array.of(-1n, 2n ** 63n - 1n));
});

describe('numbersOf', () => {
  const wide: Partial<Record<DType, readonly number[]>> = { int64: [-(2 ** 63), 2 ** 63], uint64: [0, 2 ** 64], float16: [1, -2, Infinity], bfloat16: [1, -2, 2 ** -133] };
  for (const [dtype, array] of ARRAYS) {
    test(dtype, () => {
      const numbers = numbersOf(tensorFromArray(dtype, [array.length], array));
      assert.deepEqual(Array.from(numbers), wide[dtype] ?? Array.from(array as Float64Array));
      assert.equal(numbers instanceof Float32Array, /^b?float(16|32)$/.test(dtype));
    });
  }

  test('4-bit types are unpacked, low bits first', () => {
    const bytes = Uint8Array.of(0x80, 0x7f, 0x0a);
    assert.deepEqual(Array.from(numbersOf(tensorFromArray('uint4', [5], bytes))), [0, 8, 15, 7, 10]);
    assert.deepEqual(Array.from(numbersOf(tensorFromArray('int4', [5], bytes))), [0, -8, -1, 7, -6]);
  });

  test('types without numbers throw TypeError', () => {
    for (const dtype of ['string', 'complex64', 'float8e4m3fn', 'unknown'] as const) {
      assert.throws(() => numbersOf({ dtype, dims: [0], storage: memoryStorage(new Uint8Array()) }), new TypeError(`elements of ${dtype} have no number form`));
    }
  });
});

test('axisLayout: element (o, c, i) is at (o · channels + c) · inner + i', () => {
  const dims = [2, 3, 4];
  const flat = (o: number, c: number, i: number, axis: number) => {
    const { channels, inner } = axisLayout(dims, axis);
    return (o * channels + c) * inner + i;
  };
  for (let a = 0; a < 2; a++) {
    for (let b = 0; b < 3; b++) {
      for (let c = 0; c < 4; c++) {
        const at = (a * 3 + b) * 4 + c;
        assert.deepEqual([flat(0, a, b * 4 + c, 0), flat(a, b, c, 1), flat(a * 3 + b, c, 0, 2)], [at, at, at]);
      }
    }
  }
  assert.deepEqual(axisLayout(dims, -1), axisLayout(dims, 2));
  assert.deepEqual(axisLayout(dims, -3), axisLayout(dims, 0));
  assert.deepEqual(axisLayout([], 0), { outer: 1, channels: 1, inner: 1 });
});
