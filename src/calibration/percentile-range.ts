import type { Distribution } from './distribution.js';
import { symmetricRange, type Range } from './range.js';

/** Elements whose magnitude lies between `low` and `high`. */
interface MagnitudeBin {
  readonly low: number;
  readonly high: number;
  readonly count: number;
}

/**
 * The range that leaves (100 − p) % of the elements outside: half of them at each end of signed data, all of them at the far
 * end where every element has one sign. With `symmetric`, elements are counted by magnitude. Within a bin they lie evenly.
 */
export function percentileRange(distribution: Distribution, percentile: number, symmetric: boolean): Range {
  const { min, max, total } = distribution;
  const outside = total * (1 - percentile / 100);
  const up = positiveBins(distribution);
  const down = negativeBins(distribution);
  if (symmetric) {
    const bins = [...up, ...down].sort((a, b) => b.high - a.high);
    return symmetricRange({ min: 0, max: exceededBy(outside, bins, Math.max(-min, max)) });
  }
  const share = min < 0 && max > 0 ? outside / 2 : outside;
  return { min: 0 - exceededBy(share, down, Math.max(-min, 0)), max: exceededBy(share, up, Math.max(max, 0)) };
}

/** The magnitude that `share` of the elements exceed, at most `extreme`; bins come by descending magnitude. */
function exceededBy(share: number, bins: readonly MagnitudeBin[], extreme: number): number {
  if (share <= 0) return extreme;
  let beyond = 0;
  for (const { low, high, count } of bins) {
    if (beyond + count >= share) return high - ((high - low) * (share - beyond)) / count;
    beyond += count;
  }
  return 0;
}

function positiveBins({ low, high, count }: Distribution): MagnitudeBin[] {
  const bins = Array.from(count, (n, i) => ({ low: low[i]!, high: high[i]!, count: n }));
  return bins.filter((bin) => bin.low >= 0).reverse();
}

function negativeBins({ low, high, count }: Distribution): MagnitudeBin[] {
  const bins = Array.from(count, (n, i) => ({ low: -high[i]!, high: -low[i]!, count: n }));
  return bins.filter((bin) => bin.low >= 0);
}
