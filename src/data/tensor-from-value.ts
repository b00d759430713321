import { isAnyArrayBuffer } from 'node:util/types';
import { QdqError } from '../errors.js';
import { dtypeInfo, type DType } from '../tensor/dtype.js';
import { arrayConstructor, elementCount, memoryStorage, type Tensor, type TypedArray } from '../tensor/tensor.js';
import { describeInput, type ModelInput } from './model-inputs.js';

/** A tensor as user code gives it: the form of onnxruntime's `Tensor`, or a bare typed array. */
export type TensorValue =
  | TypedArray
  | { readonly dims: readonly number[]; readonly data: TypedArray | readonly string[]; readonly type?: string };

const ARRAY_TYPES: Readonly<Record<string, DType>> = {
  Float16Array: 'float16',
  Float32Array: 'float32',
  Float64Array: 'float64',
  Int8Array: 'int8',
  Uint8Array: 'uint8',
  Uint8ClampedArray: 'uint8',
  Buffer: 'uint8',
  Int16Array: 'int16',
  Uint16Array: 'uint16',
  Int32Array: 'int32',
  Uint32Array: 'uint32',
  BigInt64Array: 'int64',
  BigUint64Array: 'uint64',
};

/**
 * The tensor in a value that user code gave for an input. A bare typed array takes the input's shape, in which open
 * dimensions are found from its length: all but the first of them are 1. Without `type`, bits of float16, bfloat16 and bool
 * count as such where the input asks for them. Throws QdqError `data-invalid`, naming `where`.
 */
export function tensorFromValue(value: unknown, input: ModelInput, where: string): Tensor {
  const { dims, data, type } = isTypedArray(value) ? { dims: undefined, data: value, type: undefined } : readFields(value, input, where);
  const shape = dims ?? inferDims(data.length, input, where);
  if (elementCount(shape) !== data.length) {
    const expected = `dims [${shape.join(',')}] take ${elementCount(shape)} elements`;
    throw invalid(where, `${expected} for ${describeInput(input)}, received ${data.length}`);
  }
  if (!isTypedArray(data)) return { dtype: 'string', dims: shape, storage: memoryStorage(new Uint8Array()), strings: data };
  const dtype = type ?? typeOfArray(data, input.dtype);
  if (arrayConstructor(dtype).BYTES_PER_ELEMENT !== data.BYTES_PER_ELEMENT || dtypeInfo(dtype).bits < 8) {
    throw invalid(where, `data of type ${dtype} cannot be in a ${data.constructor.name} for ${describeInput(input)}`);
  }
  // Copied, since user code may write the next sample into the same array.
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  return { dtype, dims: shape, storage: memoryStorage(bytes) };
}

interface Fields {
  readonly dims: readonly number[] | undefined;
  readonly data: TypedArray | readonly string[];
  readonly type: DType | undefined;
}

function readFields(value: unknown, input: ModelInput, where: string): Fields {
  const { dims, data, type } = (value ?? {}) as Partial<Record<keyof Fields, unknown>>;
  const isText = Array.isArray(data) && data.every((item) => typeof item === 'string');
  const isShape = Array.isArray(dims) && dims.every((dim) => Number.isSafeInteger(dim) && dim >= 0);
  if (!isShape || (!isText && !isTypedArray(data))) {
    throw invalid(where, `expected a typed array or { dims, data, type } for ${describeInput(input)}, received ${describeValue(value)}`);
  }
  const dtype = type as DType | undefined;
  if (dtype !== undefined && (typeof dtype !== 'string' || dtypeInfo(dtype).name === 'unknown')) {
    throw invalid(where, `type ${JSON.stringify(type)} for ${describeInput(input)} is not an element type`);
  }
  return { dims, data, type: dtype };
}

function inferDims(length: number, input: ModelInput, where: string): number[] {
  const { shape } = input;
  if (!shape) throw invalid(where, `${describeInput(input)} needs { dims, data }, received a bare typed array`);
  const known = elementCount(shape.filter((dim) => typeof dim === 'number'));
  const open = shape.findIndex((dim) => typeof dim !== 'number');
  const rest = known ? length / known : 0;
  if (!Number.isInteger(rest) || (open < 0 && rest !== 1)) {
    throw invalid(where, `${describeInput(input)} cannot be filled from ${length} elements`);
  }
  return shape.map((dim, axis) => (typeof dim === 'number' ? dim : axis === open ? rest : 1));
}

function typeOfArray(array: TypedArray, wanted: DType): DType {
  const dtype = ARRAY_TYPES[array.constructor.name] ?? 'unknown';
  const bits = dtype === 'uint16' && (wanted === 'float16' || wanted === 'bfloat16');
  return bits || (dtype === 'uint8' && wanted === 'bool') ? wanted : dtype;
}

function isTypedArray(value: unknown): value is TypedArray {
  return ArrayBuffer.isView(value) && isAnyArrayBuffer(value.buffer) && value.constructor.name in ARRAY_TYPES;
}

/** What kind of value user code gave, in words. */
export function describeValue(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (ArrayBuffer.isView(value)) return `a ${value.constructor.name}`;
  if (typeof value !== 'object') return `a value of type ${typeof value}`;
  return Array.isArray(value) ? 'a plain array' : `an object with ${Object.keys(value).slice(0, 5).join(', ') || 'no fields'}`;
}

function invalid(where: string, what: string): QdqError {
  return new QdqError('data-invalid', `${where}: ${what}`);
}
