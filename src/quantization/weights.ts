import { INTEGER_LIMITS, integerArray, quantizeValue, usableScale, type QuantizedType } from '../tensor/affine.js';
import { elementCount, tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { columnMaxima, MIN_KERNEL_RUN, roundColumns, roundRun, runMaximum } from './weight-loops.js';
import { channelRuns, visitRuns, weightPieces, type WeightPiece } from './weight-pieces.js';

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

/** Largest magnitude in each channel; NaN and infinities count as such, so callers can refuse them. */
export function channelMaxima(weight: Tensor, axis: number | null): Float64Array {
  const runs = channelRuns(weight, axis);
  const maxima = new Float64Array(runs.channels);
  for (const piece of weightPieces(weight)) {
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

/** The elements `from` … `to` of a weight as integers. */
export function quantizeElements(weight: Tensor, { axis, scales, dtype, limit }: WeightRounding, from: number, to: number): ReturnType<typeof integerArray> {
  const runs = channelRuns(weight, axis);
  const zeroPoint = weightZeroPoint(dtype);
  const [low, high] = [zeroPoint - limit, zeroPoint + limit];
  const quantized = integerArray(dtype, to - from);
  const bytes = new Uint8Array(quantized.buffer);
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
  return quantized;
}

/** Signal to noise of a weight rounded to integers, in dB: 10 · log10(Σ w² / Σ (w − scale · round(w / scale))²). */
export function quantizationSqnr(weight: Tensor, axis: number | null, scales: ArrayLike<number>, limit: number): number {
  const runs = channelRuns(weight, axis);
  let signal = 0;
  let noise = 0;
  for (const piece of weightPieces(weight)) {
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
