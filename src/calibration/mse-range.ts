import type { Distribution } from './distribution.js';
import { minus, momentsBelow, squaresAround } from './moments.js';
import type { Range } from './range.js';
import { searchRange } from './search-range.js';

/**
 * The range within `full` that makes the expected squared error of quantization least. With step s = (max − min) / (levels − 1), an
 * element x errs by x² where |x| < s/2 (it becomes 0), by s²/12 on average elsewhere in the range, and by its squared distance to
 * the range outside.
 */
export function mseRange(distribution: Distribution, full: Range, levels: number, symmetric: boolean): Range {
  const below = momentsBelow(distribution);
  const all = below(Infinity);
  return searchRange(full, symmetric, ({ min, max }) => {
    const step = (max - min) / (levels - 1);
    const underneath = below(min);
    const inside = minus(below(max), underneath);
    const above = minus(minus(all, underneath), inside);
    const near = minus(below(Math.min(step / 2, max)), below(Math.max(-step / 2, min)));
    return squaresAround(underneath, min) + near.square + ((inside.count - near.count) * step * step) / 12 + squaresAround(above, max);
  });
}
