import { usableScale } from '../tensor/affine.js';
import type { BlockFormat } from './weight-only-format.js';

/** real = scale · (integer − zeroPoint), for one block; integers are unsigned. */
export interface BlockParameters {
  /** Exactly a float32; negative where the element of largest magnitude is positive and takes the integer 0. */
  scale: number;
  zeroPoint: number;
}

/** The smallest float32 that is not denormal. */
const SMALLEST_SCALE = 2 ** -126;

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
 * the integer −8, which has no counterpart, so that all 16 integers are used; in 8 bits ±127 are enough.
 */
export const fitRange: FitBlock = (values, from, count, format, found) => {
  let low = 0;
  let high = 0;
  let sum = 0;
  for (let i = from; i < from + count; i++) {
    const value = values[i]!;
    if (value < low) low = value;
    if (value > high) high = value;
    sum += value * 0;
  }
  const steps = largestInteger(format);
  if (sum !== 0) found.scale = NaN;
  else if (low === high) {
    // Kernels take the zero point's share off at the end: the smaller the scale, the less of rounding is left of it.
    found.scale = SMALLEST_SCALE;
    found.zeroPoint = middleInteger(format);
  } else if (format.symmetric) {
    found.zeroPoint = middleInteger(format);
    if (format.bits === 8) found.scale = usableScale(Math.max(high, -low) / 127);
    else found.scale = high > -low ? -usableScale(high / 8) : usableScale(-low / 8);
  } else {
    found.scale = usableScale((high - low) / steps);
    found.zeroPoint = Math.min(steps, Math.max(0, Math.round(-low / found.scale)));
  }
};

/** Rounds a block to integers at the beginning of `target`. */
export function roundBlock(values: ArrayLike<number>, from: number, count: number, { scale, zeroPoint }: BlockParameters, largest: number, target: Uint8Array): void {
  const inverse = 1 / scale;
  for (let i = 0; i < count; i++) {
    const integer = Math.round(values[from + i]! * inverse) + zeroPoint;
    target[i] = integer < 0 ? 0 : integer > largest ? largest : integer;
  }
}
