/** A summary of repeated measurements, in the unit of the samples. */
export interface Stats {
  /** How many samples the summary stands on. */
  readonly n: number;
  readonly median: number;
  readonly mean: number;
  /** Sample standard deviation (divided by n − 1); null for a single sample, which has no spread. */
  readonly stddev: number | null;
  readonly min: number;
  readonly max: number;
  /** 95th percentile. */
  readonly p95: number;
}

/** A median with the ends of its 95 % confidence interval. */
export interface MedianInterval {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

declare const sorted: unique symbol;

/** Finite numbers, at least one, in ascending order. Only `sortSamples` makes them. */
export type SortedSamples = readonly [number, ...number[]] & { readonly [sorted]: true };

/** An ascending copy of `values`; null where there are none. Throws RangeError for NaN and infinities. */
export function sortSamples(values: readonly number[]): SortedSamples | null {
  const bad = values.find((value) => !Number.isFinite(value));
  if (bad !== undefined) throw new RangeError(`expected finite samples, received ${bad}`);
  // The brand exists for the compiler alone: there is nothing to build.
  return values.length > 0 ? (values.toSorted((a, b) => a - b) as unknown as SortedSamples) : null;
}

/**
 * The value below which the share `p` (0 … 1) of the samples lies, interpolated linearly between the two nearest:
 * x₍ₕ₎ with h = (n − 1)·p counted from 0. Source: Hyndman and Fan, "Sample Quantiles in Statistical Packages",
 * The American Statistician 50 (1996), definition 7, which is also NumPy's default.
 */
export function percentile(samples: SortedSamples, p: number): number {
  if (!(p >= 0 && p <= 1)) throw new RangeError(`expected a share between 0 and 1, received ${p}`);
  const position = (samples.length - 1) * p;
  const below = samples[Math.floor(position)] as number;
  const above = samples[Math.ceil(position)] as number;
  return below + (above - below) * (position - Math.floor(position));
}

/** The summary of `values`; null where there are none. Throws RangeError for NaN and infinities. */
export function statsOf(values: readonly number[]): Stats | null {
  const samples = sortSamples(values);
  if (!samples) return null;
  const n = samples.length;
  const mean = samples.reduce((sum, value) => sum + value, 0) / n;
  const squares = samples.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return {
    n,
    median: percentile(samples, 0.5),
    mean,
    stddev: n > 1 ? Math.sqrt(squares / (n - 1)) : null,
    min: samples[0],
    max: samples[n - 1] as number,
    p95: percentile(samples, 0.95),
  };
}

/**
 * How many times faster the candidate is: the median of the paired ratios baseline[i] / candidate[i] of times, with a 95 %
 * confidence interval. Runs are interleaved, so that a pair met the same state of the machine and its ratio is free of drift.
 *
 * The interval is [x₍ₖ₎, x₍ₙ₊₁₋ₖ₎] of the sorted ratios, with the largest k for which P(B < k) ≤ 2.5 %, B ~ Binomial(n, ½):
 * it assumes nothing about the distribution. Source: Conover, Practical Nonparametric Statistics, 3rd edition, section 3.2.
 * Below 6 pairs no such k exists, and the interval is the whole range, which covers the median with less than 95 %.
 *
 * Pairs with a time that is not positive (below the clock's resolution) have no ratio and are left out; null where no pair is
 * left. Throws RangeError where the lists differ in length.
 */
export function medianRatioInterval(baseline: readonly number[], candidate: readonly number[]): MedianInterval | null {
  if (baseline.length !== candidate.length) {
    throw new RangeError(`expected paired times, received ${baseline.length} of the baseline, ${candidate.length} of the candidate`);
  }
  const ratios = baseline
    .map((time, i) => ({ time, other: candidate[i] as number }))
    .filter(({ time, other }) => time > 0 && other > 0)
    .map(({ time, other }) => time / other);
  const samples = sortSamples(ratios);
  if (!samples) return null;
  const rank = Math.max(1, lowRank(samples.length));
  return {
    median: percentile(samples, 0.5),
    low: samples[rank - 1] as number,
    high: samples[samples.length - rank] as number,
  };
}

/** The largest k with P(Binomial(n, ½) < k) ≤ 2.5 %; 0 where there is none. */
function lowRank(n: number): number {
  // In logarithms, because 2⁻ⁿ underflows beyond n = 1074.
  let logProbability = -n * Math.LN2;
  let cumulative = Math.exp(logProbability);
  let rank = 0;
  while (cumulative <= 0.025) {
    logProbability += Math.log((n - rank) / (rank + 1));
    rank++;
    cumulative += Math.exp(logProbability);
  }
  return rank;
}
