import type { Distribution } from './distribution.js';

/** Bins in ascending order, with running sums: entry i is over the bins before bin i. */
export interface Reference {
  readonly low: Float64Array;
  readonly high: Float64Array;
  /** Elements. */
  readonly count: Float64Array;
  /** Elements × ln(elements / width). */
  readonly information: Float64Array;
  readonly width: Float64Array;
}

/** Elements that a bin must hold: with fewer, chance would look like information. */
const ENOUGH = 8;

/**
 * The distribution in bins that are at least `finest` wide and hold enough elements each to tell a density, zeros left out. Joined
 * from the extremes inwards, so that rare elements are joined to each other and not to the many; never across zero.
 */
export function referenceOf(distribution: Distribution, finest: number): Reference {
  const { count: elements } = distribution;
  const ends = joinedEnds(distribution, finest);
  const low = new Float64Array(ends.length);
  const high = new Float64Array(ends.length);
  const count = new Float64Array(ends.length + 1);
  const information = new Float64Array(ends.length + 1);
  const width = new Float64Array(ends.length + 1);
  let from = 0;
  ends.forEach((to, i) => {
    let sum = 0;
    for (let at = from; at < to; at++) sum += elements[at]!;
    low[i] = distribution.low[from]!;
    high[i] = distribution.high[to - 1]!;
    // Not zero where all elements are one value.
    const size = Math.max(high[i] - low[i], Number.MIN_VALUE);
    count[i + 1] = count[i]! + sum;
    information[i + 1] = information[i]! + sum * Math.log(sum / size);
    width[i + 1] = width[i]! + size;
    from = to;
  });
  return { low, high, count, information, width };
}

/** Where each joined bin ends: positions after its last bin. */
function joinedEnds({ low, high, count }: Distribution, finest: number): number[] {
  const firstPositive = low.findIndex((value) => value >= 0);
  const split = firstPositive < 0 ? low.length : firstPositive;
  const ends: number[] = [];
  let start = 0;
  let sum = 0;
  for (let i = 0; i < split; i++) {
    sum += count[i]!;
    if (i + 1 < split && (sum < ENOUGH || high[i]! - low[start]! < finest)) continue;
    ends.push(i + 1);
    [start, sum] = [i + 1, 0];
  }
  const positive: number[] = [];
  let end = low.length;
  sum = 0;
  for (let i = low.length - 1; i >= split; i--) {
    sum += count[i]!;
    if (i > split && (sum < ENOUGH || high[end - 1]! - low[i]! < finest)) continue;
    positive.push(end);
    [end, sum] = [i, 0];
  }
  return [...ends, ...positive.reverse()];
}
