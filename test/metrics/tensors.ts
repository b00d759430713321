import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';

/** A float32 tensor. */
export function floats(dims: readonly number[], values: readonly number[]): Tensor {
  return tensorFromArray('float32', dims, Float32Array.from(values));
}

/** An int64 tensor. */
export function longs(dims: readonly number[], values: readonly number[]): Tensor {
  return tensorFromArray('int64', dims, BigInt64Array.from(values, BigInt));
}

/** A string tensor. */
export function strings(values: readonly string[]): Tensor {
  const none = new Uint8Array(0);
  return {
    dtype: 'string',
    dims: [values.length],
    storage: { byteLength: 0, read: () => none, readRange: () => none },
    strings: values,
  };
}
