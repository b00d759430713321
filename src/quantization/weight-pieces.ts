import { axisLayout } from '../tensor/slices.js';
import { alignedBytes, type Tensor, type TensorStorage } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';

/** Elements of a weight from index `start` on, in memory order. */
export interface WeightPiece {
  readonly start: number;
  readonly values: Float32Array | Float64Array;
}

/** Elements that are read at once: enough to be quick, few enough that the next step finds them in a core's cache. */
export const PIECE_ELEMENTS = 1 << 20;
const FLOAT_BYTES = 4;

/**
 * The elements `from` … `to` of a weight, piece by piece; float32 weights are read no further than asked. A piece is valid until the next one
 * is asked for: all are read into the same memory.
 */
export function* weightPieces(weight: Tensor, from = 0, to = Infinity): Generator<WeightPiece> {
  if (weight.dtype !== 'float32') {
    yield { start: from, values: numbersOf(weight).subarray(from, to) };
    return;
  }
  const end = Math.min(to, weight.storage.byteLength / FLOAT_BYTES);
  const { storage } = weight;
  const buffer = storage.readInto && new Float32Array(Math.max(0, Math.min(PIECE_ELEMENTS, end - from)));
  for (let start = from; start < end; start += PIECE_ELEMENTS) {
    const count = Math.min(PIECE_ELEMENTS, end - start);
    yield { start, values: buffer ? readFloats(storage, start, buffer.subarray(0, count)) : floatsIn(storage, start, count) };
  }
}

/** Fills `target` with the float32 elements from `start` on. */
function readFloats(storage: TensorStorage, start: number, target: Float32Array): Float32Array {
  storage.readInto!(start * FLOAT_BYTES, new Uint8Array(target.buffer, target.byteOffset, target.byteLength));
  return target;
}

function floatsIn(storage: TensorStorage, start: number, count: number): Float32Array {
  const bytes = alignedBytes(storage.readRange(start * FLOAT_BYTES, count * FLOAT_BYTES), FLOAT_BYTES);
  return new Float32Array(bytes.buffer, bytes.byteOffset, count);
}

/** `count` elements from element `from` on, which go to the place `to`. */
export interface FloatRange {
  readonly from: number;
  readonly to: number;
  readonly count: number;
}

/** Copies ranges of a float32 weight into `target`, without another copy on the way where its bytes are in a side file. */
export function fillFloats({ storage }: Tensor, ranges: readonly FloatRange[], target: Float32Array): void {
  const bytesAt = (to: number, count: number) => new Uint8Array(target.buffer, target.byteOffset + to * FLOAT_BYTES, count * FLOAT_BYTES);
  if (storage.readAllInto) storage.readAllInto(ranges.map(({ from, to, count }) => ({ offset: from * FLOAT_BYTES, target: bytesAt(to, count) })));
  else for (const { from, to, count } of ranges) bytesAt(to, count).set(storage.readRange(from * FLOAT_BYTES, count * FLOAT_BYTES));
}

/** `count` elements of a float32 weight from element `start` on; valid until `buffer`, which must hold as many, is used again. */
export function floatRange({ storage }: Tensor, start: number, count: number, buffer: Float32Array): Float32Array {
  return storage.readInto ? readFloats(storage, start, buffer.subarray(0, count)) : floatsIn(storage, start, count);
}

/** How the channels of a weight follow each other: `inner` elements of one channel, then the next of `channels`, over and over. */
export interface ChannelRuns {
  readonly channels: number;
  readonly inner: number;
}

/** The runs along an axis; a single one where it is null. */
export function channelRuns({ dims }: Tensor, axis: number | null): ChannelRuns {
  return axis === null ? { channels: 1, inner: Infinity } : axisLayout(dims, axis);
}

/** Calls `visit` for each run of elements of one channel in a piece: indexes within the piece, and the channel. */
export function visitRuns({ start, values }: WeightPiece, { channels, inner }: ChannelRuns, visit: (from: number, to: number, channel: number) => void): void {
  if (inner === Infinity) return visit(0, values.length, 0);
  for (let at = 0; at < values.length; ) {
    const position = start + at;
    const to = Math.min(values.length, at + inner - (position % inner));
    visit(at, to, Math.floor(position / inner) % channels);
    at = to;
  }
}
