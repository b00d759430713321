import { roundHalfEven } from './round-half-even.js';

/** Largest finite float16, and the smallest one above zero. */
export const LARGEST_FLOAT16 = 65504;
export const SMALLEST_FLOAT16 = 2 ** -24;

/** From here on a float32 rounds to infinity in float16. */
const OVERFLOW = 65520;

/** How many values of a float32 array have no float16 near them: finite ones that would become infinite, others that would become zero. */
export function countOutsideFloat16(values: Float32Array): { readonly large: number; readonly small: number } {
  let [large, small] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    const size = Math.abs(values[i]!);
    if (size >= OVERFLOW && size < Infinity) large++;
    else if (size <= SMALLEST_FLOAT16 / 2 && size > 0) small++;
  }
  return { large, small };
}

/** The bits of float32 values as float16, rounded to nearest even. Finite values stay finite and values other than zero stay so: both are clamped. */
export function toFloat16(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const size = words[i]! & 0x7fffffff;
    halves[i] = ((words[i]! >>> 16) & 0x8000) | (size >= 0x38800000 ? normal(size) : subnormal(Math.abs(values[i]!)));
  }
  return halves;
}

/** From 2^-14 on: the exponent counts from 15 instead of 127, and 13 bits of the mantissa are rounded off. */
function normal(size: number): number {
  if (size > 0x7f800000) return 0x7e00;
  if (size === 0x7f800000) return 0x7c00;
  const rounded = (size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13;
  return Math.min(rounded, 0x7bff);
}

function subnormal(size: number): number {
  return size === 0 ? 0 : Math.max(1, roundHalfEven(size / SMALLEST_FLOAT16));
}
