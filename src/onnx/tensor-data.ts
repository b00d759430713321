import { dtypeInfo, packedByteLength, type DType } from '../tensor/dtype.js';
import { memoryStorage, type TensorStorage, type TypedArray } from '../tensor/tensor.js';
import { int64ToNumber, toBigInt } from './int64.js';
import { hasField, type Message } from './messages.js';

type TensorMessage = Message<'TensorProto'>;

/** The fields of TensorProto that hold elements or say where they are. */
export const DATA_FIELDS = [
  'raw_data',
  'float_data',
  'int32_data',
  'string_data',
  'int64_data',
  'double_data',
  'uint64_data',
  'external_data',
  'data_location',
  'segment',
] as const;

/** A patch that takes the elements out of a message. */
export const CLEARED_DATA: Partial<TensorMessage> = Object.fromEntries(DATA_FIELDS.map((field) => [field, undefined]));

/** `TensorProto.DataLocation.EXTERNAL` */
export const EXTERNAL = 1;

/** Whether the elements are in `raw_data` or a side file, so that the bytes do not depend on the element type. */
export function isRaw(message: TensorMessage): boolean {
  return message.data_location === EXTERNAL || (hasField(message, 'raw_data') && (message.raw_data?.length ?? 0) > 0);
}

/**
 * The bytes of a tensor that is stored in the model itself. `raw_data` is used as it is, without a copy; the typed lists are
 * packed when they are first read.
 */
export function storageInMessage(message: TensorMessage, dtype: DType): TensorStorage {
  if (isRaw(message)) return memoryStorage(plain(message.raw_data!));
  const { length, width, pack } = typedList(message, dtype);
  const byteLength = length * width;
  let bytes: Uint8Array | undefined;
  const read = () => (bytes ??= bytesOf(pack()));
  return { byteLength, read, readRange: (offset, count) => read().subarray(offset, offset + count) };
}

/**
 * The list field that holds a type's elements, its length, and the bytes that each entry becomes. Sub-byte types have one byte of
 * elements in each entry. Source: the comments at float_data, int32_data, … in onnx.proto.
 */
function typedList(message: TensorMessage, dtype: DType): { length: number; width: number; pack(): TypedArray } {
  const floats = message.float_data ?? [];
  const doubles = message.double_data ?? [];
  const int32s = message.int32_data ?? [];
  const int64s = message.int64_data ?? [];
  const uint64s = message.uint64_data ?? [];
  switch (dtype) {
    case 'float32':
    case 'complex64':
      return { length: floats.length, width: 4, pack: () => Float32Array.from(floats) };
    case 'float64':
    case 'complex128':
      return { length: doubles.length, width: 8, pack: () => Float64Array.from(doubles) };
    case 'int64':
      return { length: int64s.length, width: 8, pack: () => BigInt64Array.from(int64s, toBigInt) };
    case 'uint64':
      return { length: uint64s.length, width: 8, pack: () => BigUint64Array.from(uint64s, toBigInt) };
    case 'uint32':
      return { length: uint64s.length, width: 4, pack: () => Uint32Array.from(uint64s, int64ToNumber) };
    case 'string':
    case 'unknown':
      return { length: 0, width: 1, pack: () => new Uint8Array() };
    case 'int32':
      return { length: int32s.length, width: 4, pack: () => Int32Array.from(int32s) };
    default:
      return dtypeInfo(dtype).bits === 16
        ? { length: int32s.length, width: 2, pack: () => Uint16Array.from(int32s) }
        : { length: int32s.length, width: 1, pack: () => Uint8Array.from(int32s) };
  }
}

/** Bytes that the elements of a shape take; undefined for strings and unknown types. */
export function expectedByteLength(dtype: DType, count: number): number | undefined {
  return dtypeInfo(dtype).bits > 0 ? packedByteLength(dtype, count) : undefined;
}

/** A Buffer's bytes as a plain Uint8Array, whose `slice` copies as callers expect. */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function bytesOf(array: TypedArray): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
