import type { Range } from './range.js';

/** Candidates for each halving of an end, in the coarse rounds and in the fine one. */
const COARSE = 4;
const FINE = 64;
/** Ends are searched down to this part of the extreme, in halvings. */
const OCTAVES = 10;

const COARSE_FACTORS = Array.from({ length: OCTAVES * COARSE + 1 }, (_, i) => 2 ** (-i / COARSE));
const FINE_FACTORS = Array.from({ length: (2 * FINE) / COARSE + 1 }, (_, i) => 2 ** (1 / COARSE - i / FINE));

/**
 * The range within `full` that costs least. Both ends are first moved in together, which finds the size, then one at a time, over
 * candidates that are evenly spaced in logarithm, coarsely and then finely around what was found. With `symmetric`, `full` must
 * be, and the ends stay together. `cost` is told the least so far and need not finish above it. Deterministic; among equals the
 * range tried first stays.
 */
export function searchRange(full: Range, symmetric: boolean, cost: (range: Range, least: number) => number): Range {
  let best = full;
  let least = cost(full, Infinity);
  const consider = (min: number, max: number) => {
    const range = { min: Math.max(min, full.min), max: Math.min(max, full.max) };
    const price = cost(range, least);
    if (price < least) [best, least] = [range, price];
  };
  const together = (limit: number, factors: readonly number[]) => factors.forEach((factor) => consider(-limit * factor, limit * factor));
  const upper = (max: number, factors: readonly number[]) => factors.forEach((factor) => consider(best.min, max * factor));
  const lower = (min: number, factors: readonly number[]) => factors.forEach((factor) => consider(min * factor, best.max));

  together(Math.max(-full.min, full.max), COARSE_FACTORS);
  if (symmetric || full.min === 0 || full.max === 0) {
    together(Math.max(-best.min, best.max), FINE_FACTORS);
    return best;
  }
  upper(full.max, COARSE_FACTORS);
  lower(full.min, COARSE_FACTORS);
  upper(best.max, FINE_FACTORS);
  lower(best.min, FINE_FACTORS);
  return best;
}
