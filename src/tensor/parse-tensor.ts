import type { DType } from './dtype.js';
import { arrayConstructor, tensorFromArray, typedArrayOf, type Tensor } from './tensor.js';

const INTEGER_BITS: Partial<Record<DType, number>> = { int8: 8, int16: 16, int32: 32, int64: 64, uint8: 8, uint16: 16, uint32: 32, uint64: 64 };

/** Whether values of a type can be written as text: integers, float32, float64 and bool. */
export function hasTextForm(dtype: DType): boolean {
  return dtype in INTEGER_BITS || dtype === 'float32' || dtype === 'float64' || dtype === 'bool';
}

/** A tensor of values in words, one for each element; undefined where one is no value of the type. Bools are true, false, 1 or 0. */
export function parseTensor(dtype: DType, dims: readonly number[], texts: readonly string[]): Tensor | undefined {
  const values = texts.map((text) => parseValue(dtype, text.trim()));
  if (values.some((value) => value === undefined)) return undefined;
  const array = new (arrayConstructor(dtype))(values.length);
  values.forEach((value, i) => (array[i] = value!));
  return tensorFromArray(dtype, dims, array);
}

/** The elements of such a tensor as text, in the notation that `parseTensor` reads. */
export function elementTexts(tensor: Tensor): string[] {
  return Array.from(typedArrayOf(tensor), (value: number | bigint) => (tensor.dtype === 'bool' ? String(value !== 0) : String(value)));
}

function parseValue(dtype: DType, text: string): number | bigint | undefined {
  if (dtype === 'bool') return /^(true|1)$/i.test(text) ? 1 : /^(false|0)$/i.test(text) ? 0 : undefined;
  const bits = INTEGER_BITS[dtype];
  if (bits === undefined) return text !== '' && Number.isFinite(Number(text)) ? Number(text) : undefined;
  if (!/^[+-]?\d{1,20}$/.test(text)) return undefined;
  const value = BigInt(text.replace(/^\+/, ''));
  const fits = (dtype.startsWith('u') ? BigInt.asUintN(bits, value) : BigInt.asIntN(bits, value)) === value;
  return fits ? (bits === 64 ? value : Number(value)) : undefined;
}
