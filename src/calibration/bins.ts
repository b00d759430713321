/**
 * The bin of a float32 is its top 16 bits: sign, 8 of exponent, 7 leading of mantissa. So a bin is at most 2^-7 of its values
 * wide, and the same for every tensor, run and machine.
 */
export const BIN_SHIFT = 16;
/** Bins of all float32 values; those of negative sign are the second half. */
export const BIN_COUNT = 2 ** (32 - BIN_SHIFT);
/** First bin of infinity and NaN, of positive sign. */
const NON_FINITE = 0xff << (23 - BIN_SHIFT);

const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);

/** The bin of a number, rounded to float32. */
export function binOf(value: number): number {
  float[0] = value;
  return bits[0]! >>> BIN_SHIFT;
}

/** Whether a bin holds numbers, and not infinities or NaN. */
export function isFiniteBin(bin: number): boolean {
  return bin % (BIN_COUNT / 2) < NON_FINITE;
}

/** Whether a bin holds values with the sign bit set. */
export function isNegativeBin(bin: number): boolean {
  return bin >= BIN_COUNT / 2;
}

/** Least magnitude in a finite bin; that of the next bin is where it ends. */
export function binMagnitude(bin: number): number {
  const magnitude = bin % (BIN_COUNT / 2);
  if (magnitude >= NON_FINITE) return 2 ** 128;
  bits[0] = magnitude << BIN_SHIFT;
  return float[0]!;
}
