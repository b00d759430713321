import { INTEGER_LIMITS, integerArray, quantizeValue, usableScale, type QuantizedType } from '../tensor/affine.js';
import { elementCount, tensorFromArray, type Tensor, type TensorStorage } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { columnMaxima, MIN_KERNEL_RUN, roundColumns, roundRun, runMaximum } from './weight-loops.js';
import { channelRuns, floatRange, PIECE_ELEMENTS, visitRuns, weightPieces, type WeightPiece } from './weight-pieces.js';

/** Largest magnitude of a quantized weight: ±127 of 8 bits, ±64 where u8 × s8 pairs would saturate. */
export function weightLimit(dtype: QuantizedType, reduceRange: boolean): number {
  const [qmin, qmax] = INTEGER_LIMITS[dtype];
  const limit = Math.floor((qmax - qmin) / 2);
  return reduceRange ? Math.floor((limit + 1) / 2) : limit;
}

/** Zero point of a quantized weight: the middle, so that weights are symmetric. */
export function weightZeroPoint(dtype: QuantizedType): number {
  const [qmin, qmax] = INTEGER_LIMITS[dtype];
  return (qmin + qmax + 1) / 2;
}

/**
 * Scales that bring each channel's largest magnitude to `limit`: max |w| / limit. One a channel along `axis`, or one in all where it
 * is null. A channel of zeros takes the largest scale among the others, which leaves its bias room.
 */
export function weightScales(weight: Tensor, axis: number | null, limit: number): Float64Array {
  return scalesFromMaxima(channelMaxima(weight, axis), limit);
}

/** The same from the largest magnitude of each channel. */
export function scalesFromMaxima(largest: Float64Array, limit: number): Float64Array {
  const overall = largest.reduce((a, b) => Math.max(a, b), 0);
  return largest.map((magnitude) => usableScale((magnitude > 0 ? magnitude : overall) / limit));
}

const knownMaxima = new WeakMap<TensorStorage, Map<string, Float64Array>>();

/**
 * Largest magnitude in each channel; NaN and infinities count as such, so callers can refuse them. Remembered for each weight, because plans
 * of one model are made over and over: not to be written to.
 */
export function channelMaxima(weight: Tensor, axis: number | null): Float64Array {
  return maximaOf(weight).get(maximaKey(weight, axis)) ?? rememberMaxima(weight, axis, maximaInRange(weight, axis, 0, Infinity));
}

/** Whether the maxima of a weight are known, so that `channelMaxima` reads nothing. */
export function hasMaxima(weight: Tensor, axis: number | null): boolean {
  return maximaOf(weight).has(maximaKey(weight, axis));
}

/** Lets `channelMaxima` know what was found elsewhere. Returns it. */
export function rememberMaxima(weight: Tensor, axis: number | null, maxima: Float64Array): Float64Array {
  maximaOf(weight).set(maximaKey(weight, axis), maxima);
  return maxima;
}

function maximaOf({ storage }: Tensor): Map<string, Float64Array> {
  const known = knownMaxima.get(storage) ?? new Map<string, Float64Array>();
  knownMaxima.set(storage, known);
  return known;
}

const maximaKey = ({ dtype, dims }: Tensor, axis: number | null) => `${dtype}[${dims.join()}]@${axis}`;

/** Largest magnitude in each channel among the elements `from` … `to`. */
export function maximaInRange(weight: Tensor, axis: number | null, first: number, end: number): Float64Array {
  const runs = channelRuns(weight, axis);
  const maxima = new Float64Array(runs.channels);
  for (const piece of weightPieces(weight, first, end)) {
    const { start, values } = piece;
    if (runs.inner === 1 && values instanceof Float32Array) columnMaxima(values, start % runs.channels, maxima);
    else visitRuns(piece, runs, (from, to, c) => (maxima[c] = largestOf(values, from, to, maxima[c]!)));
  }
  return maxima;
}

function largestOf(values: WeightPiece['values'], from: number, to: number, before: number): number {
  if (values instanceof Float32Array && to - from >= MIN_KERNEL_RUN) return runMaximum(values.subarray(from, to), before);
  let largest = before;
  for (let i = from; i < to; i++) largest = Math.max(largest, Math.abs(values[i]!));
  return largest;
}

/** How a weight is rounded. */
export interface WeightRounding {
  readonly axis: number | null;
  readonly scales: ArrayLike<number>;
  readonly dtype: QuantizedType;
  readonly limit: number;
}

/** Rounds a weight to integers, clamped to ±limit around the zero point. */
export function quantizeWeight(weight: Tensor, axis: number | null, scales: ArrayLike<number>, dtype: QuantizedType, limit: number): Tensor {
  return tensorFromArray(dtype, weight.dims, quantizeElements(weight, { axis, scales, dtype, limit }, 0, elementCount(weight.dims)));
}

/** The elements `from` … `to` of a weight as 8-bit integers, into `target`, which may lie in shared memory. */
export function quantizeBytes(weight: Tensor, rounding: WeightRounding, from: number, to: number, target: Uint8Array): void {
  roundInto(weight, rounding, from, to, rounding.dtype === 'int8' ? new Int8Array(target.buffer, target.byteOffset, target.byteLength) : target);
}

/** The elements `from` … `to` of a weight as integers. */
export function quantizeElements(weight: Tensor, rounding: WeightRounding, from: number, to: number): ReturnType<typeof integerArray> {
  const quantized = integerArray(rounding.dtype, to - from);
  roundInto(weight, rounding, from, to, quantized);
  return quantized;
}

function roundInto(weight: Tensor, { axis, scales, dtype, limit }: WeightRounding, from: number, to: number, quantized: ReturnType<typeof integerArray>): void {
  const runs = channelRuns(weight, axis);
  const zeroPoint = weightZeroPoint(dtype);
  const [low, high] = [zeroPoint - limit, zeroPoint + limit];
  const bytes = new Uint8Array(quantized.buffer, quantized.byteOffset, quantized.byteLength);
  const unsigned = dtype === 'uint8';
  const isByte = unsigned || dtype === 'int8';
  const scales32 = Float32Array.from(scales);
  for (const piece of weightPieces(weight, from, to)) {
    const { start, values } = piece;
    const at = start - from;
    if (runs.inner === 1 && isByte && values instanceof Float32Array) {
      roundColumns(values, start % runs.channels, scales32, bytes.subarray(at), limit, unsigned);
      continue;
    }
    visitRuns(piece, runs, (first, end, c) => {
      if (isByte && values instanceof Float32Array && end - first >= MIN_KERNEL_RUN) {
        roundRun(values.subarray(first, end), scales32[c]!, bytes.subarray(at + first), limit, unsigned);
        return;
      }
      for (let i = first; i < end; i++) quantized[at + i] = quantizeValue(values[i]!, scales[c]!, zeroPoint, low, high);
    });
  }
}

/**
 * The elements `from` … `to` of the transpose of a float32 matrix whose scales are its rows' (axis 0) or one (null), as 8-bit integers, into
 * `target`. Only the columns that they come from are read.
 */
export function transposeBytes(weight: Tensor, { axis, scales, dtype, limit }: WeightRounding, from: number, to: number, target: Uint8Array): void {
  const [rows, columns] = weight.dims as [number, number];
  const [first, last] = [Math.floor(from / rows), Math.ceil(to / rows)];
  const width = last - first;
  const whole = new Uint8Array(width * rows);
  const buffer = new Float32Array(width);
  const tile = new Uint8Array(TILE_ROWS * width);
  const scales32 = Float32Array.from(scales);
  for (let top = 0; top < rows; top += TILE_ROWS) {
    const bottom = Math.min(rows, top + TILE_ROWS);
    for (let row = top; row < bottom; row++) {
      const values = floatRange(weight, row * columns + first, width, buffer);
      roundRun(values, scales32[axis === null ? 0 : row]!, tile.subarray((row - top) * width), limit, dtype === 'uint8');
    }
    // A tile at a time, so that cache lines are not fetched again for each row.
    for (let c = 0; c < width; c++) for (let row = top; row < bottom; row++) whole[c * rows + row] = tile[(row - top) * width + c]!;
  }
  const start = from - first * rows;
  target.set(whole.subarray(start, start + to - from));
}

/** Rows that are transposed at a time: the bytes of a cache line. */
const TILE_ROWS = 64;

/** Pieces that an estimate of a weight's error takes, evenly over the weight. */
const ESTIMATE_PIECES = 16;

/**
 * Signal to noise of a weight rounded to integers, in dB: 10 · log10(Σ w² / Σ (w − scale · round(w / scale))²). Of very large weights, parts are
 * looked at that are always the same ones.
 */
export function quantizationSqnr(weight: Tensor, axis: number | null, scales: ArrayLike<number>, limit: number): number {
  const runs = channelRuns(weight, axis);
  let signal = 0;
  let noise = 0;
  for (const piece of evenPieces(weight)) {
    visitRuns(piece, runs, (from, to, c) => {
      const scale = scales[c]!;
      for (let i = from; i < to; i++) {
        const value = piece.values[i]!;
        signal += value ** 2;
        noise += (value - scale * quantizeValue(value, scale, 0, -limit, limit)) ** 2;
      }
    });
  }
  return noise === 0 ? Infinity : 10 * Math.log10(signal / noise);
}

function* evenPieces(weight: Tensor): Generator<WeightPiece> {
  const step = PIECE_ELEMENTS * Math.ceil(elementCount(weight.dims) / (PIECE_ELEMENTS * ESTIMATE_PIECES));
  for (let from = 0; from < elementCount(weight.dims); from += step) yield* weightPieces(weight, from, from + PIECE_ELEMENTS);
}

/** Largest int32 that a bias may come to, with room for the sum it is added to. */
const MAX_BIAS = 2 ** 30;

/** The smallest scale at which a weight channel's bias still fits int32: |bias| / (input scale · 2^30). */
export function scaleForBias(bias: number, inputScale: number): number {
  return Math.abs(bias) / (inputScale * MAX_BIAS);
}

/** Largest magnitude of the bias of each channel; channels are the bias's last axis, along which a single value stands for all. */
export function biasMaxima(bias: Tensor, channels: number): Float64Array {
  const maxima = channelMaxima(bias, channels === 1 || bias.dims.length === 0 ? null : bias.dims.length - 1);
  return maxima.length === channels ? maxima : new Float64Array(channels).fill(maxima[0]!);
}

/**
 * round(bias / (input scale · weight scale)) in int32. With an axis there is one scale for each channel of the last axis, and a bias with a
 * single value there is repeated for all channels, because DequantizeLinear does not broadcast.
 */
export function quantizeBias(bias: Tensor, axis: number | null, scales: ArrayLike<number>): Tensor {
  const values = numbersOf(bias);
  const [qmin, qmax] = INTEGER_LIMITS.int32;
  const round = (value: number, scale: number) => Math.max(qmin, Math.min(qmax, Math.round(value / scale)));
  if (axis === null) return tensorFromArray('int32', bias.dims, Int32Array.from(values, (value) => round(value, scales[0]!)));
  const channels = scales.length;
  const width = bias.dims.at(-1) ?? 1;
  const rows = values.length / width;
  const quantized = Int32Array.from({ length: rows * channels }, (_, i) => {
    const c = i % channels;
    return round(values[Math.floor(i / channels) * width + (width === 1 ? 0 : c)]!, scales[c]!);
  });
  return tensorFromArray('int32', [...bias.dims.slice(0, -1), channels], quantized);
}
