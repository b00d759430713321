import { roundHalfEven } from './round-half-even.js';

const scratch = new DataView(new ArrayBuffer(8));

/** The float32 value of IEEE 754 binary16 bits. */
export function float16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

/** The float32 value of bfloat16 bits. */
export function bfloat16ToNumber(bits: number): number {
  scratch.setUint32(0, bits << 16);
  return scratch.getFloat32(0);
}

/** The IEEE 754 binary16 bits of a number, rounded to nearest even. */
export function numberToFloat16(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  scratch.setFloat64(0, value);
  const sign = (scratch.getUint8(0) & 0x80) << 8;
  const size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  const exponent = Math.max(-14, ((scratch.getUint16(0) >>> 4) & 0x7ff) - 1023);
  const steps = roundHalfEven(size * 2 ** (10 - exponent));
  // Added, not joined, so that a mantissa that rounds up carries into the exponent.
  return sign | (steps + (exponent + 14) * 1024);
}
