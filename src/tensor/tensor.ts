import { dtypeInfo, packedByteLength, type DType } from './dtype.js';

/** Where the bytes of a tensor are: in memory, or in a side file that is read on demand. */
export interface TensorStorage {
  readonly byteLength: number;
  /** All bytes, little-endian and packed as in ONNX's `raw_data`. Not to be written to; may be a view of any alignment. */
  read(): Uint8Array;
  /** `length` bytes from `offset`, for work in chunks. */
  readRange(offset: number, length: number): Uint8Array;
  /** Fills `target` with the bytes from `offset` on; absent where `readRange` copies nothing anyway. */
  readInto?(offset: number, target: Uint8Array): void;
  /** The same for several places at once; present where `readInto` is. */
  readAllInto?(places: readonly BytePlace[]): void;
}

/** Bytes that are wanted, from `offset` on, and where they go. */
export interface BytePlace {
  readonly offset: number;
  readonly target: Uint8Array;
}

/** A constant: element type, shape and bytes. Immutable; shared freely between graphs. */
export interface Tensor {
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly storage: TensorStorage;
  /** Elements of string tensors, which have no byte form. */
  readonly strings?: readonly string[];
  /** The decoded message that the tensor came from; opaque outside the codec (see `Origin` in graph/model.ts). */
  readonly origin?: object;
}

/** Typed arrays that hold tensor elements in JavaScript. */
export type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

/** Element count of a shape; 1 for a scalar. */
export function elementCount(dims: readonly number[]): number {
  return dims.reduce((product, dim) => product * dim, 1);
}

/** Bytes of all of these tensors together. */
export function bytesOf(tensors: Iterable<{ readonly storage: TensorStorage }>): number {
  let sum = 0;
  for (const { storage } of tensors) sum += storage.byteLength;
  return sum;
}

/** Storage over bytes in memory. The bytes are not copied and must not change afterwards. */
export function memoryStorage(bytes: Uint8Array): TensorStorage {
  return {
    byteLength: bytes.byteLength,
    read: () => bytes,
    readRange: (offset, length) => bytes.subarray(offset, offset + length),
  };
}

/** A tensor over a typed array, whose element width must be that of `dtype`. The array is not copied. */
export function tensorFromArray(dtype: DType, dims: readonly number[], array: TypedArray): Tensor {
  const expected = packedByteLength(dtype, elementCount(dims));
  if (array.byteLength !== expected) {
    throw new RangeError(`${dtype}[${dims.join(',')}] takes ${expected} bytes, received ${array.byteLength}`);
  }
  return { dtype, dims, storage: memoryStorage(new Uint8Array(array.buffer, array.byteOffset, array.byteLength)) };
}

/** A float32 tensor of one dimension, or a scalar where a number is given. */
export function float32Tensor(values: number | ArrayLike<number>): Tensor {
  const array = typeof values === 'number' ? Float32Array.of(values) : Float32Array.from(values);
  return tensorFromArray('float32', typeof values === 'number' ? [] : [array.length], array);
}

/** An int64 tensor of one dimension, or a scalar where a number is given. */
export function int64Tensor(values: number | bigint | readonly (number | bigint)[]): Tensor {
  const array = BigInt64Array.from([values].flat(), BigInt);
  return tensorFromArray('int64', typeof values === 'object' ? [array.length] : [], array);
}

/** A copy of `bytes` that starts at an address every typed array accepts, or `bytes` itself where it already does. */
export function alignedBytes(bytes: Uint8Array, bytesPerElement: number): Uint8Array {
  return bytes.byteOffset % bytesPerElement === 0 ? bytes : new Uint8Array(bytes);
}

/**
 * The elements as a typed array of the tensor's own width (float16 and bfloat16 as their bits in a Uint16Array,
 * sub-byte types packed in a Uint8Array). A view where alignment allows, otherwise a copy.
 */
export function typedArrayOf(tensor: Tensor): TypedArray {
  const constructor = arrayConstructor(tensor.dtype);
  const bytes = alignedBytes(tensor.storage.read(), constructor.BYTES_PER_ELEMENT);
  return new constructor(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength / constructor.BYTES_PER_ELEMENT);
}

/** The typed array class for elements of a type. */
export function arrayConstructor(dtype: DType) {
  switch (dtype) {
    case 'float32':
      return Float32Array;
    case 'float64':
      return Float64Array;
    case 'int8':
      return Int8Array;
    case 'int16':
      return Int16Array;
    case 'int32':
      return Int32Array;
    case 'int64':
      return BigInt64Array;
    case 'uint64':
      return BigUint64Array;
    case 'uint32':
      return Uint32Array;
    default:
      return dtypeInfo(dtype).bits === 16 ? Uint16Array : Uint8Array;
  }
}
