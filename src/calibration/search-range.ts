import type { Range } from './range.js';

/** Candidates for each halving of an end, in the coarse rounds and in the fine one. */
const COARSE = 4;
const FINE = 64;
/** Ends are searched down to this part of the extreme, in halvings. */
const OCTAVES = 10;

const COARSE_FACTORS = Array.from({ length: OCTAVES * COARSE + 1 }, (_, i) => 2 ** (-i / COARSE));
const FINE_FACTORS = Array.from({ length: (2 * FINE) / COARSE + 1 }, (_, i) => 2 ** (1 / COARSE - i / FINE));

/**
 * The range within `full` that costs least, by moving one end at a time over candidates that are evenly spaced in logarithm: coarse
 * rounds, several because the best place of one end depends on the other, then a fine one around what they found. With
 * `symmetric`, `full` must be, and both ends move together. `cost` is told the least so far and need not finish above it.
 * Deterministic; among equals the range tried first stays.
 */
export function searchRange(full: Range, symmetric: boolean, cost: (range: Range, least: number) => number): Range {
  let best = full;
  let least = cost(full, Infinity);
  const consider = (range: Range) => {
    const price = cost(range, least);
    if (price < least) [best, least] = [range, price];
  };
  const both = (from: Range, factors: readonly number[]) => {
    for (const factor of factors) consider({ min: Math.max(from.min * factor, full.min), max: Math.min(from.max * factor, full.max) });
  };
  const upper = (from: number, factors: readonly number[]) => {
    for (const factor of factors) consider({ min: best.min, max: Math.min(from * factor, full.max) });
  };
  const lower = (from: number, factors: readonly number[]) => {
    for (const factor of factors) consider({ min: Math.max(from * factor, full.min), max: best.max });
  };

  if (symmetric || full.min === 0 || full.max === 0) {
    both(full, COARSE_FACTORS);
    both(best, FINE_FACTORS);
    return best;
  }
  upper(full.max, COARSE_FACTORS);
  lower(full.min, COARSE_FACTORS);
  upper(full.max, COARSE_FACTORS);
  lower(best.min, FINE_FACTORS);
  upper(best.max, FINE_FACTORS);
  return best;
}
