/** Elements of an output, as `numbersOf` returns them. */
export type Numbers = Float32Array | Float64Array;

/** An output seen as rows of class scores. */
export interface ClassRows {
  readonly rows: number;
  /** Scores in a row, at least 2. */
  readonly width: number;
}

/**
 * The rows of scores along the last axis; trailing axes of length 1 are passed over, so that the `[1, 1000, 1, 1]` of an
 * unsqueezed classifier reads as one row of 1,000. Null for ranks below 2, for rows of a single score (nothing to choose
 * between) and for empty shapes.
 */
export function classRows(dims: readonly number[]): ClassRows | null {
  const axis = dims.findLastIndex((dim) => dim !== 1);
  const width = dims[axis] ?? 0;
  const rows = dims.slice(0, Math.max(axis, 0)).reduce((product, dim) => product * dim, 1);
  return axis >= 1 && width > 1 && rows > 0 ? { rows, width } : null;
}

/**
 * Position within the row, of `width` scores from `start`, of the greatest; the first of equals. NaN is never the greatest;
 * −1 where every score is NaN.
 */
export function argmax(scores: Numbers, start: number, width: number): number {
  const end = start + width;
  let index = start;
  while (index < end && Number.isNaN(scores[index])) index++;
  if (index === end) return -1;
  let best = scores[index] as number;
  for (let i = index + 1; i < end; i++) {
    const score = scores[i] as number;
    if (score > best) {
      best = score;
      index = i;
    }
  }
  return index - start;
}

/** How many rows have the same argmax in both. */
export function agreeingRows(a: Numbers, b: Numbers, { rows, width }: ClassRows): number {
  let agreeing = 0;
  for (let start = 0; start < rows * width; start += width) {
    if (argmax(a, start, width) === argmax(b, start, width)) agreeing++;
  }
  return agreeing;
}

/**
 * Whether position `label` of the row is among its `k` greatest scores; of equals the first goes before, so that `k` = 1 means
 * argmax = label. Never for a NaN score.
 */
export function isInTop(scores: Numbers, start: number, width: number, label: number, k: number): boolean {
  const own = scores[start + label] as number;
  if (Number.isNaN(own)) return false;
  let ahead = 0;
  for (let i = 0; i < width && ahead < k; i++) {
    const score = scores[start + i] as number;
    if (score > own || (score === own && i < label)) ahead++;
  }
  return ahead < k;
}
