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
export function columnMaxima(values: Float32Array, first: number, maxima: Float32Array | Float64Array): void {
  const kernel = roundingKernel();
  for (const { from, to, column, whole } of columnChunks(values.length, first, maxima.length)) {
    kernel.values.set(values.subarray(from, to));
    kernel.pattern.fill(0, 0, to - from + LANES);
    kernel.maxima(to - from, { from: 0, per: 'each' });
    if (whole) foldColumns(kernel.pattern, to - from, maxima);
    else for (let i = 0; i < to - from; i++) maxima[column + i] = Math.max(maxima[column + i]!, kernel.pattern[i]!);
  }
}

function foldColumns(pattern: Float32Array, count: number, maxima: Float32Array | Float64Array): void {
  for (let i = 0, c = 0; i < count; i++) {
    maxima[c] = Math.max(maxima[c]!, pattern[i]!);
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
