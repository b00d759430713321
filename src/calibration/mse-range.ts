import type { Distribution } from './distribution.js';
import { minus, momentsBelow, squaresAround } from './moments.js';
import type { Range } from './range.js';
import { searchRange } from './search-range.js';

/** Levels on each side of zero whose errors are added up one by one: there the density may change within a step. */
const NEAR = 4;

/**
 * The range within `full` that makes the expected squared error of quantization least. With step s = (max − min) / (levels − 1) and
 * the ends moved so that 0 is a level, an element errs by its distance to the nearest multiple of s; beyond `NEAR` steps from zero
 * that is s²/12 on average. Outside the range it errs by its distance to the range.
 */
export function mseRange(distribution: Distribution, full: Range, levels: number, symmetric: boolean): Range {
  const below = momentsBelow(distribution);
  const all = below(Infinity);
  return searchRange(full, symmetric, (range) => {
    const step = (range.max - range.min) / (levels - 1);
    const min = symmetric ? range.min : Math.round(range.min / step) * step;
    const max = min + (levels - 1) * step;
    const underneath = below(min);
    const upTo = below(max);
    let error = squaresAround(underneath, min) + squaresAround(minus(all, upTo), max);
    let rounded = upTo.count - underneath.count;
    let before = below(Math.max(min, -(NEAR + 0.5) * step));
    for (let level = -NEAR; level <= NEAR; level++) {
      const next = below(Math.min(Math.max(min, (level + 0.5) * step), max));
      const near = minus(next, before);
      error += squaresAround(near, level * step);
      rounded -= near.count;
      before = next;
    }
    return error + (rounded * step * step) / 12;
  });
}
