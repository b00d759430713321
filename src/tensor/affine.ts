import type { DType } from './dtype.js';
import { roundHalfEven } from './round-half-even.js';
import { tensorFromArray, type Tensor, type TypedArray } from './tensor.js';
import { numbersOf } from './values.js';

/** Types that values are quantized to. */
export type QuantizedType = 'uint8' | 'int8' | 'uint16' | 'int16';

/** real = scale · (quantized − zeroPoint), for a whole tensor. */
export interface AffineParameters {
  readonly dtype: QuantizedType;
  /** Positive, exactly a float32. */
  readonly scale: number;
  readonly zeroPoint: number;
}

/** Smallest and largest integer of a quantized type. */
export const INTEGER_LIMITS: Readonly<Record<QuantizedType | 'int32', readonly [number, number]>> = {
  uint8: [0, 255],
  int8: [-128, 127],
  uint16: [0, 65535],
  int16: [-32768, 32767],
  int32: [-2147483648, 2147483647],
};

/** Below this a scale would be a denormal float32, which kernels may flush to zero. */
const SMALLEST_SCALE = 2 ** -126;
const LARGEST_SCALE = (2 - 2 ** -23) * 2 ** 127;

/**
 * Parameters that cover [min, max] together with 0, which always is represented exactly.
 * Asymmetric: scale = (max − min) / (qmax − qmin), zeroPoint = round(qmin − min / scale).
 * Symmetric: scale = max(|min|, |max|) / half the steps, zeroPoint in the middle.
 */
export function affineFromRange(min: number, max: number, dtype: QuantizedType, symmetric: boolean): AffineParameters {
  const [qmin, qmax] = INTEGER_LIMITS[dtype];
  const low = Math.min(min, 0);
  const high = Math.max(max, 0);
  if (symmetric) {
    const zeroPoint = (qmin + qmax + 1) / 2;
    return { dtype, scale: usableScale(Math.max(-low, high) / (qmax - zeroPoint)), zeroPoint };
  }
  const scale = usableScale((high - low) / (qmax - qmin));
  const zeroPoint = Math.min(qmax, Math.max(qmin, Math.round(qmin - low / scale)));
  return { dtype, scale, zeroPoint };
}

/** Real numbers that the smallest and the largest integer stand for. */
export function representableRange({ dtype, scale, zeroPoint }: AffineParameters): readonly [number, number] {
  const [qmin, qmax] = INTEGER_LIMITS[dtype];
  return [(qmin - zeroPoint) * scale, (qmax - zeroPoint) * scale];
}

/** A scale that a float32 holds: 1 where nothing is to be scaled, never a denormal, never infinite. */
export function usableScale(scale: number): number {
  if (!(scale > 0)) return 1;
  return Math.fround(Math.min(LARGEST_SCALE, Math.max(scale, SMALLEST_SCALE)));
}

/** clamp(round(x / scale) + zeroPoint), the division in float32 as the runtime does it. */
export function quantizeValue(x: number, scale: number, zeroPoint: number, qmin: number, qmax: number): number {
  const q = roundHalfEven(Math.fround(x / scale)) + zeroPoint;
  return q < qmin ? qmin : q > qmax ? qmax : q;
}

/** Quantizes a float tensor with one scale. */
export function quantizeTensor(tensor: Tensor, { dtype, scale, zeroPoint }: AffineParameters): Tensor {
  const values = numbersOf(tensor);
  const [qmin, qmax] = INTEGER_LIMITS[dtype];
  const quantized = integerArray(dtype, values.length);
  for (let i = 0; i < values.length; i++) quantized[i] = quantizeValue(values[i]!, scale, zeroPoint, qmin, qmax);
  return tensorFromArray(dtype, tensor.dims, quantized);
}

/** A zeroed array for integers of a type. */
export function integerArray(dtype: QuantizedType, length: number): Int8Array | Uint8Array | Int16Array | Uint16Array {
  switch (dtype) {
    case 'int8':
      return new Int8Array(length);
    case 'uint8':
      return new Uint8Array(length);
    case 'int16':
      return new Int16Array(length);
    case 'uint16':
      return new Uint16Array(length);
  }
}

/** A scalar tensor of an integer type. */
export function integerScalar(dtype: DType, value: number): Tensor {
  const arrays: Partial<Record<DType, TypedArray>> = {
    uint8: Uint8Array.of(value),
    int8: Int8Array.of(value),
    uint16: Uint16Array.of(value),
    int16: Int16Array.of(value),
    int32: Int32Array.of(value),
  };
  const array = arrays[dtype];
  if (!array) throw new TypeError(`no quantized scalar of ${dtype}`);
  return tensorFromArray(dtype, [], array);
}
