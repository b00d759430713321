import type { DType } from '../tensor/dtype.js';
import { mergeObserved, type Observed } from './observers.js';

/** The bins of a bit histogram that hold anything, by ascending bin number: see bins.ts. */
export interface Bins {
  readonly index: Uint32Array;
  /** Elements in each bin, exact to 2^53. */
  readonly count: Float64Array;
}

/**
 * What calibration saw of one value of the graph, over all samples; the observers' figures among it (see observers.ts). Plain data.
 * Values that are not float have types and counts only.
 */
export interface TensorRecord extends Observed {
  readonly dtype: DType;
  /** Dimensions; null for one that varies between samples, and for all of them where the rank varies. */
  readonly dims: readonly (number | null)[] | null;
  /** Samples in which the value was seen. */
  readonly samples: number;
  /** Elements that those samples had in all, those that are not finite or that sampling left out included. */
  readonly count: number;
  /**
   * Whether `bins` holds a spatial grid of the elements instead of all, or some elements of some rounds of a loop. Extremes are exact all the same (the least element of a value
   * that cannot be negative is that of the grid); NaN that spread to no element of a grid are missed.
   */
  readonly sampled: boolean;
  /** Finite elements by their leading bits. */
  readonly bins: Bins;
}

/** Bins of nothing. */
export const NO_BINS: Bins = { index: new Uint32Array(0), count: new Float64Array(0) };

/**
 * The record of two disjoint sets of samples from the records of each: `merge(a, b)` equals `merge(b, a)`, and any grouping of
 * several merges gives the same.
 */
export function mergeRecords(a: TensorRecord, b: TensorRecord): TensorRecord {
  return {
    ...mergeObserved(a, b),
    dtype: a.dtype,
    dims: mergeDims(a.dims, b.dims),
    samples: a.samples + b.samples,
    count: a.count + b.count,
    sampled: a.sampled || b.sampled,
    bins: mergeBins(a.bins, b.bins),
  };
}

/** The dimensions that two sets of samples share. */
export function mergeDims(a: TensorRecord['dims'], b: TensorRecord['dims']): TensorRecord['dims'] {
  if (!a || !b || a.length !== b.length) return null;
  return a.every((dim, axis) => dim === b[axis]) ? a : a.map((dim, axis) => (dim === b[axis] ? dim : null));
}

function mergeBins(a: Bins, b: Bins): Bins {
  const index = new Uint32Array(a.index.length + b.index.length);
  const count = new Float64Array(index.length);
  let length = 0;
  for (let i = 0, j = 0; i < a.index.length || j < b.index.length; length++) {
    const left = a.index[i] ?? Infinity;
    const right = b.index[j] ?? Infinity;
    index[length] = Math.min(left, right);
    count[length] = (left <= right ? a.count[i++]! : 0) + (right <= left ? b.count[j++]! : 0);
  }
  return { index: index.slice(0, length), count: count.slice(0, length) };
}
