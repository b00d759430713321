import { CHUNK_LENGTH, LANES, roundingKernel } from './rounding-kernel.js';

/** Runs shorter than this are quicker in JavaScript than handed to the kernel one by one. */
export const MIN_KERNEL_RUN = 64;

/** The largest magnitude among values and `before`; NaN where one is NaN. */
export function runMaximum(values: Float32Array, before: number): number {
  const kernel = roundingKernel();
  kernel.pattern.fill(before, 0, LANES);
  for (let from = 0; from < values.length; from += CHUNK_LENGTH) {
    const part = values.subarray(from, from + CHUNK_LENGTH);
    kernel.values.set(part);
    kernel.maxima(part.length, { from: 0, per: 'one' });
  }
  return kernel.pattern.subarray(0, LANES).reduce((a, b) => Math.max(a, b));
}

/** Raises the maxima of columns to the magnitudes of values, of which the first one is in column `first`. */
export function columnMaxima(values: Float32Array, first: number, maxima: Float64Array): void {
  const kernel = roundingKernel();
  // Whole rows all go through one pattern, whose first elements every chunk raises; parts of a row only come before them.
  let patternLength = 0;
  for (const { from, to, column, whole } of columnChunks(values.length, first, maxima.length)) {
    const count = to - from;
    kernel.values.set(values.subarray(from, to));
    if (!whole || patternLength === 0) kernel.pattern.fill(0);
    kernel.maxima(count, { from: 0, per: 'each' });
    if (whole) patternLength = Math.max(patternLength, count);
    else for (let i = 0; i < count; i++) maxima[column + i] = Math.max(maxima[column + i]!, kernel.pattern[i]!);
  }
  for (let i = 0, c = 0; i < patternLength; i++) {
    maxima[c] = Math.max(maxima[c]!, kernel.pattern[i]!);
    if (++c === maxima.length) c = 0;
  }
}

/** Rounds values of one channel. */
export function roundRun(values: Float32Array, scale: number, target: Uint8Array, limit: number, unsigned: boolean): void {
  const kernel = roundingKernel();
  kernel.pattern.fill(scale, 0, LANES);
  for (let from = 0; from < values.length; from += CHUNK_LENGTH) {
    const part = values.subarray(from, from + CHUNK_LENGTH);
    kernel.values.set(part);
    kernel.round(part.length, { from: 0, per: 'one' }, limit, unsigned);
    target.set(kernel.integers.subarray(0, part.length), from);
  }
}

/** Rounds values whose channels are columns; the first value is in column `first`. */
export function roundColumns(values: Float32Array, first: number, scales: Float32Array, target: Uint8Array, limit: number, unsigned: boolean): void {
  const kernel = roundingKernel();
  let written = false;
  for (const { from, to, column, whole } of columnChunks(values.length, first, scales.length)) {
    kernel.values.set(values.subarray(from, to));
    if (!whole) kernel.pattern.set(scales.subarray(column, column + to - from));
    else if (!written) for (let at = 0; at + scales.length <= CHUNK_LENGTH; at += scales.length) kernel.pattern.set(scales, at);
    written = whole;
    kernel.round(to - from, { from: 0, per: 'each' }, limit, unsigned);
    target.set(kernel.integers.subarray(0, to - from), from);
  }
}

interface ColumnChunk {
  readonly from: number;
  readonly to: number;
  /** Column of the first value. */
  readonly column: number;
  /** Whether it begins with a row and may hold several; otherwise it is a part of one row. */
  readonly whole: boolean;
}

function* columnChunks(count: number, first: number, columns: number): Generator<ColumnChunk> {
  const rows = Math.floor(CHUNK_LENGTH / columns);
  for (let from = 0, column = first; from < count; ) {
    const whole = column === 0 && rows > 0;
    const to = Math.min(count, from + (whole ? rows * columns : Math.min(CHUNK_LENGTH, columns - column)));
    yield { from, to, column, whole };
    column = (column + to - from) % columns;
    from = to;
  }
}
