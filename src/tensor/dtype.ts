/**
 * The element types of ONNX: names, `TensorProto.DataType` codes and widths.
 * Source: onnx/onnx.proto3, enum TensorProto.DataType (ONNX 1.20, IR version 13).
 */
const ROWS = [
  ['float32', 1, 32, 'f32'],
  ['uint8', 2, 8, 'u8'],
  ['int8', 3, 8, 's8'],
  ['uint16', 4, 16, 'u16'],
  ['int16', 5, 16, 's16'],
  ['int32', 6, 32, 's32'],
  ['int64', 7, 64, 's64'],
  ['string', 8, 0, 'string'],
  ['bool', 9, 8, 'bool'],
  ['float16', 10, 16, 'f16'],
  ['float64', 11, 64, 'f64'],
  ['uint32', 12, 32, 'u32'],
  ['uint64', 13, 64, 'u64'],
  ['complex64', 14, 64, 'c64'],
  ['complex128', 15, 128, 'c128'],
  ['bfloat16', 16, 16, 'bf16'],
  ['float8e4m3fn', 17, 8, 'f8e4m3fn'],
  ['float8e4m3fnuz', 18, 8, 'f8e4m3fnuz'],
  ['float8e5m2', 19, 8, 'f8e5m2'],
  ['float8e5m2fnuz', 20, 8, 'f8e5m2fnuz'],
  ['uint4', 21, 4, 'u4'],
  ['int4', 22, 4, 's4'],
  ['float4e2m1', 23, 4, 'f4e2m1'],
  ['float8e8m0', 24, 8, 'f8e8m0'],
  ['uint2', 25, 2, 'u2'],
  ['int2', 26, 2, 's2'],
] as const;

/** Name of an element type; `undefined` types and types newer than the table are `unknown`. */
export type DType = (typeof ROWS)[number][0] | 'unknown';

/** One row of the table. */
export interface DTypeInfo {
  readonly name: DType;
  /** `TensorProto.DataType` */
  readonly code: number;
  /** Bits of one element; 0 where elements have no fixed width. */
  readonly bits: number;
  /** Short form used in reports, such as `u8`. */
  readonly short: string;
}

const TABLE: readonly DTypeInfo[] = ROWS.map(([name, code, bits, short]) => ({ name, code, bits, short }));
const BY_NAME = new Map(TABLE.map((row) => [row.name, row]));
const BY_CODE = new Map(TABLE.map((row) => [row.code, row]));
const UNKNOWN: DTypeInfo = { name: 'unknown', code: 0, bits: 0, short: '?' };

/** The table row of a type. */
export function dtypeInfo(name: DType): DTypeInfo {
  return BY_NAME.get(name) ?? UNKNOWN;
}

/** The type with this `TensorProto.DataType` code; `unknown` for codes outside the table. */
export function dtypeFromCode(code: number): DType {
  return BY_CODE.get(code)?.name ?? 'unknown';
}

/** Bytes that `count` elements take when packed as ONNX's `raw_data` does (sub-byte types share bytes). */
export function packedByteLength(dtype: DType, count: number): number {
  return Math.ceil((count * dtypeInfo(dtype).bits) / 8);
}

/** Whether the type is one of the float types that quantization starts from. */
export function isFloat(dtype: DType): boolean {
  return dtype === 'float32' || dtype === 'float16' || dtype === 'float64' || dtype === 'bfloat16';
}

/** Whether the type holds quantized weights or activations (integers of 16 bits or fewer). */
export function isQuantizedType(dtype: DType): boolean {
  const { bits } = dtypeInfo(dtype);
  return bits > 0 && bits <= 16 && /^u?int/.test(dtype);
}
