/** What one pass over the elements of one tensor in one sample finds. */
export interface Scan {
  /** Least finite element, never -0; Infinity where there is none. */
  readonly min: number;
  /** Greatest finite element, never -0; -Infinity where there is none. */
  readonly max: number;
  /** Elements that are NaN. */
  readonly nan: number;
  /** Elements that are infinite. */
  readonly inf: number;
}

/** The scan of no elements. */
export const EMPTY_SCAN: Scan = { min: Infinity, max: -Infinity, nan: 0, inf: 0 };

/** The scan of the elements of both. */
export function combineScans(a: Scan, b: Scan): Scan {
  return { min: Math.min(a.min, b.min), max: Math.max(a.max, b.max), nan: a.nan + b.nan, inf: a.inf + b.inf };
}

/** Scans elements one by one. */
export function scanNumbers(values: Float32Array): Scan {
  let min = Infinity;
  let max = -Infinity;
  let nan = 0;
  let inf = 0;
  for (const value of values) {
    if (value - value !== 0) {
      if (value !== value) nan++;
      else inf++;
      continue;
    }
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return { min: min + 0, max: max + 0, nan, inf };
}
