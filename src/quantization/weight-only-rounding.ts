import { roundHalfEven } from '../tensor/round-half-even.js';
import type { BlockFormat } from './weight-only-format.js';

/** real = scale · (integer − zeroPoint), for one block; integers are unsigned. */
export interface BlockParameters {
  /** Exactly a float32; negative where the element of largest magnitude is positive and takes the integer 0. */
  scale: number;
  zeroPoint: number;
}

/** The smallest float32 that is not denormal. */
export const SMALLEST_SCALE = 2 ** -126;

/** Finds the parameters of `count` values from `from` on and leaves them in `found`. NaN and infinite values give a scale that is NaN. */
export type FitBlock = (values: ArrayLike<number>, from: number, count: number, format: BlockFormat, found: BlockParameters) => void;

/** Largest integer of a number of bits. */
export function largestInteger({ bits }: BlockFormat): number {
  return bits === 4 ? 15 : 255;
}

/** The zero point of symmetric blocks, which MatMulNBits takes where none is given. */
export function middleInteger({ bits }: BlockFormat): number {
  return bits === 4 ? 8 : 128;
}

/**
 * Round to nearest. Asymmetric: scale = (max − min) / steps with 0 in the range. Symmetric in 4 bits: the element of largest magnitude takes
 * the integer −8, which has no counterpart, so that all 16 integers are used; in 8 bits ±127 are enough. All in float32, as the kernel does it.
 * A block of zeros gets the smallest scale: kernels take the zero point's share off at the end, and less of rounding is left of it.
 */
export const fitRange: FitBlock = (values, from, count, format, found) => {
  let low = 0;
  let high = 0;
  for (let i = from; i < from + count; i++) {
    low = Math.min(low, values[i]!);
    high = Math.max(high, values[i]!);
  }
  const { bits, symmetric } = format;
  const scaled = (range: number, steps: number) => Math.max(SMALLEST_SCALE, Math.fround(Math.fround(range) / steps));
  if (symmetric) {
    const scale = scaled(Math.max(high, -low), bits === 4 ? 8 : 127);
    found.scale = bits === 4 && high > -low ? -scale : scale;
    found.zeroPoint = middleInteger(format);
  } else {
    found.scale = scaled(high - low, largestInteger(format));
    found.zeroPoint = Math.min(largestInteger(format), roundHalfEven(Math.fround(-low / found.scale)));
  }
  if (!Number.isFinite(found.scale)) found.scale = NaN;
};

/** Rounds a block to integers at the beginning of `target`, ties to even, the division in float32. */
export function roundBlock(values: ArrayLike<number>, from: number, count: number, { scale, zeroPoint }: BlockParameters, largest: number, target: Uint8Array): void {
  for (let i = 0; i < count; i++) {
    const integer = roundHalfEven(Math.fround(values[from + i]! / scale)) + zeroPoint;
    target[i] = integer < 0 ? 0 : integer > largest ? largest : integer;
  }
}
