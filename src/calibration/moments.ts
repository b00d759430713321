import type { Distribution } from './distribution.js';
import { firstNotBelow } from './sorted-search.js';

/** Moments of some elements: how many, their sum, the sum of their squares. */
export interface Moments {
  readonly count: number;
  readonly sum: number;
  readonly square: number;
}

/** Gives, for any value, the moments of the elements below it, zeros left out; elements lie evenly within a bin. */
export function momentsBelow({ low, high, count }: Distribution): (value: number) => Moments {
  const length = count.length;
  const counts = new Float64Array(length + 1);
  const sums = new Float64Array(length + 1);
  const squares = new Float64Array(length + 1);
  for (let i = 0; i < length; i++) {
    const [l, h, n] = [low[i]!, high[i]!, count[i]!];
    counts[i + 1] = counts[i]! + n;
    sums[i + 1] = sums[i]! + (n * (l + h)) / 2;
    squares[i + 1] = squares[i]! + (n * (l * l + l * h + h * h)) / 3;
  }
  return (value) => {
    const i = firstNotBelow(high, value);
    const [l, h] = [low[i] ?? Infinity, high[i] ?? Infinity];
    if (value <= l) return { count: counts[i]!, sum: sums[i]!, square: squares[i]! };
    const part = ((value - l) / (h - l)) * count[i]!;
    return {
      count: counts[i]! + part,
      sum: sums[i]! + (part * (l + value)) / 2,
      square: squares[i]! + (part * (l * l + l * value + value * value)) / 3,
    };
  };
}

/** The moments of those of `a` that are not among those of `b`. */
export function minus(a: Moments, b: Moments): Moments {
  return { count: a.count - b.count, sum: a.sum - b.sum, square: a.square - b.square };
}

/** The sum of the squared distances to a value; not negative. */
export function squaresAround({ count, sum, square }: Moments, value: number): number {
  return Math.max(0, square - 2 * value * sum + value * value * count);
}
