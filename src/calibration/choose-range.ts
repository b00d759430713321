import { distributionOf } from './distribution.js';
import { entropyRange } from './entropy-range.js';
import { mseRange } from './mse-range.js';
import { percentileRange } from './percentile-range.js';
import { symmetricRange, type Range } from './range.js';
import type { TensorRecord } from './tensor-record.js';

/** Ways to choose the range of a tensor; all of them work from the same record. */
export const RANGE_METHODS = ['minmax', 'percentile', 'entropy', 'mse'] as const;
export type RangeMethod = (typeof RANGE_METHODS)[number];

/** What the range is chosen for. */
export interface RangeOptions {
  /** Percent of the elements inside the range, for the method `percentile`. */
  readonly percentile: number;
  /** Quantization levels: 256 for eight bits, 255 for −127…127. */
  readonly levels: number;
  /** Whether the range must be equal on both sides of zero. */
  readonly symmetric: boolean;
}

/** The options that are used where nobody chose any. */
export const RANGE_DEFAULTS: RangeOptions = { percentile: 99.999, levels: 256, symmetric: false };

/**
 * The range to quantize a tensor with. Deterministic; always holds 0, as the zero point must be a level, and is 0…0 for a tensor
 * without finite elements or of zeros only.
 */
export function chooseRange(record: TensorRecord, method: RangeMethod, options: RangeOptions = RANGE_DEFAULTS): Range {
  const { levels, symmetric, percentile } = options;
  const extremes: Range = { min: Math.min(record.min ?? 0, 0), max: Math.max(record.max ?? 0, 0) };
  const full = symmetric ? symmetricRange(extremes) : extremes;
  if (full.min === full.max) return full;
  if (method === 'minmax') return full;
  const distribution = distributionOf(record);
  switch (method) {
    case 'percentile':
      return percentileRange(distribution, percentile, symmetric);
    case 'entropy':
      return entropyRange(distribution, full, levels, symmetric);
    case 'mse':
      return mseRange(distribution, full, levels, symmetric);
  }
}

/** Whether a method's choice is far off when the record's bins are a sample of the elements (measured: bench/calibration). */
export function needsEveryElement(method: RangeMethod): boolean {
  return method === 'entropy';
}
