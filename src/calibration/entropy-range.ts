import type { Distribution } from './distribution.js';
import type { Range } from './range.js';
import { referenceOf, type Reference } from './reference.js';
import { searchRange } from './search-range.js';
import { firstNotBelow } from './sorted-search.js';

/** Narrowest range that is tried, as part of the full one, as 128 of 2,048 bins are in the method's source. */
const NARROWEST = 1 / 16;
/**
 * Width of the finest bins of the reference, as part of the range: the narrowest range still has one for each of 256 levels. Finer ones
 * would see the single values of a picture's pixels, between which there is nothing, and take a range that tells a few of them exactly.
 */
const FINEST = NARROWEST / 256;
/** More levels than this lose next to nothing: the full range is best. */
const MANY_LEVELS = 4_096;

/**
 * The range within `full` for which the quantized elements tell most of the original ones: the least Kullback–Leibler divergence
 * Σ p·ln(p/q) of the reference p from the quantized q (S. Migacz, 8-bit inference with TensorRT, GTC 2017), here with densities, as
 * bins differ in width. In q, what a level takes in lies evenly over the parts of it that hold anything. In p, elements outside the
 * range belong to the outermost levels, which q does not know of. Exact zeros are left out, as every range keeps them.
 */
export function entropyRange(distribution: Distribution, full: Range, levels: number, symmetric: boolean): Range {
  if (levels > MANY_LEVELS) return full;
  const reference = referenceOf(distribution, (full.max - full.min) * FINEST);
  const divergence = divergenceFrom(reference, distribution.zeros, levels);
  const narrowest = (full.max - full.min) * NARROWEST;
  return searchRange(full, symmetric, (range, enough) => (range.max - range.min < narrowest ? Infinity : divergence(range, enough)));
}

/**
 * Gives the divergence of a range, times the number of elements; Infinity where it surely is above `enough`. Plain
 * numbers in the loop: objects make it several times slower.
 */
function divergenceFrom({ low, high, count, information, width }: Reference, zeros: number, levels: number) {
  const bins = low.length;
  const total = count[bins]! + zeros;
  const countBelow = (value: number): number => {
    const bin = firstNotBelow(high, value);
    const part = bin < bins && value > low[bin]! ? (value - low[bin]!) / (high[bin]! - low[bin]!) : 0;
    return count[bin]! + (part > 0 ? part * (count[bin + 1]! - count[bin]!) : 0);
  };
  return ({ min, max }: Range, enough: number): number => {
    const below = countBelow(min);
    const above = count[bins]! - countBelow(max);
    const clipped = total * Math.log((total - below - above) / total);
    // Clipping alone, with everything else told exactly: most ranges are too narrow and need no closer look.
    const size = (max - min) / levels;
    const lowest = withOutside(0, countBelow(min + size) - below, below);
    const highest = withOutside(0, count[bins]! - above - countBelow(max - size), above);
    if (lowest + highest + clipped - bins / 2 > enough) return Infinity;

    let sum = 0;
    // The last level so far that holds anything, and what it adds to the sum.
    let held = 0;
    let added = 0;
    let [bin, binsBefore, countBefore, informationBefore, widthBefore] = [0, 0, 0, 0, 0];
    for (let edge = 0; edge <= levels; edge++) {
      const value = edge === levels ? max : min + ((max - min) * edge) / levels;
      while (bin < bins && high[bin]! <= value) bin++;
      let [binsUpTo, countUpTo, informationUpTo, widthUpTo] = [bin, count[bin]!, information[bin]!, width[bin]!];
      if (bin < bins && value > low[bin]!) {
        const part = (value - low[bin]!) / (high[bin]! - low[bin]!);
        binsUpTo += part;
        countUpTo += part * (count[bin + 1]! - countUpTo);
        informationUpTo += part * (information[bin + 1]! - informationUpTo);
        widthUpTo += part * (width[bin + 1]! - widthUpTo);
      }
      const elements = countUpTo - countBefore;
      if (edge > 0 && elements > 0) {
        sum += added;
        // Counts of few elements scatter, which on average adds a half for each bin (G. Miller, 1955).
        const chance = Math.max(0, binsUpTo - binsBefore - 1) / 2;
        added = informationUpTo - informationBefore - elements * Math.log(elements / (widthUpTo - widthBefore)) - chance;
        if (held === 0) added = withOutside(added, elements, below);
        held = elements;
      }
      [binsBefore, countBefore, informationBefore, widthBefore] = [binsUpTo, countUpTo, informationUpTo, widthUpTo];
    }
    return held === 0 ? Infinity : sum + withOutside(added, held, above) + clipped;
  };
}

/** A level's part of the divergence when elements from outside the range are counted to it, spread as its own are. */
function withOutside(divergence: number, elements: number, outside: number): number {
  if (outside <= 0 || elements <= 0) return divergence;
  const ratio = (elements + outside) / elements;
  return ratio * divergence + (elements + outside) * Math.log(ratio);
}
