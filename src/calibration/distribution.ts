import { binMagnitude, isNegativeBin } from './bins.js';
import type { TensorRecord } from './tensor-record.js';

/**
 * A histogram in ascending order of value: `count[i]` elements between `low[i]` and `high[i]`. Bins do not overlap, may have
 * gaps between them, and lie within the extremes. Elements that are zero or nearly so (below 2^-126) are in `zeros` instead.
 */
export interface Distribution {
  readonly low: Float64Array;
  readonly high: Float64Array;
  readonly count: Float64Array;
  readonly zeros: number;
  /** All elements, zeros included. */
  readonly total: number;
  /** Extremes, which may lie outside the bins where the record was sampled. */
  readonly min: number;
  readonly max: number;
}

const cache = new WeakMap<TensorRecord, Distribution>();

/** The distribution of a record; min and max are 0 where it has no finite element. Computed once for each record. */
export function distributionOf(record: TensorRecord): Distribution {
  let distribution = cache.get(record);
  if (!distribution) cache.set(record, (distribution = build(record)));
  return distribution;
}

function build({ bins, min, max }: TensorRecord): Distribution {
  const { index, count: counts } = bins;
  const low = new Float64Array(index.length);
  const high = new Float64Array(index.length);
  const count = new Float64Array(index.length);
  let length = 0;
  let zeros = 0;
  let total = 0;
  for (const at of ascending(index)) {
    const bin = index[at]!;
    const elements = counts[at]!;
    const near = binMagnitude(bin);
    total += elements;
    if (near < 2 ** -126) {
      zeros += elements;
      continue;
    }
    const far = binMagnitude(bin + 1);
    low[length] = Math.max(isNegativeBin(bin) ? -far : near, min ?? 0);
    high[length] = Math.min(isNegativeBin(bin) ? -near : far, max ?? 0);
    count[length++] = elements;
  }
  return {
    low: low.subarray(0, length),
    high: high.subarray(0, length),
    count: count.subarray(0, length),
    zeros,
    total,
    min: min ?? 0,
    max: max ?? 0,
  };
}

/** Positions in the order of value: bin numbers grow with the magnitude, and the negative ones come second. */
function* ascending(index: Uint32Array): Generator<number> {
  const split = index.findIndex(isNegativeBin);
  const positive = split < 0 ? index.length : split;
  for (let at = index.length - 1; at >= positive; at--) yield at;
  for (let at = 0; at < positive; at++) yield at;
}
