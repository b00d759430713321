import type { Tensor } from '../tensor/tensor.js';
import { weightPieces } from './weight-pieces.js';

/** A constant matrix seen as the output channels of a product. */
export interface ChannelMatrix {
  readonly tensor: Tensor;
  /** The axis that the product sums over: 0 in [depth, channels], 1 in [channels, depth]. */
  readonly depthAxis: 0 | 1;
}

/** `count` consecutive elements of a channel, at `from` in `values`; they are valid during the call only. */
export type VisitBlock = (channel: number, block: number, values: Float32Array | Float64Array, from: number, count: number) => void;

/** Elements of all channels together, and of one. */
export function matrixShape({ tensor, depthAxis }: ChannelMatrix): { readonly depth: number; readonly channels: number } {
  return { depth: tensor.dims[depthAxis]!, channels: tensor.dims[1 - depthAxis]! };
}

/** Channels that are brought from rows into columns at once: a cache line of floats. */
const TILE = 16;
/** Elements of rows that are read at once. */
const ROW_ELEMENTS = 1 << 20;

/** Calls `visit` for each block of each channel, reading the matrix once from start to end. */
export function visitBlocks(matrix: ChannelMatrix, blockSize: number, visit: VisitBlock): void {
  if (matrix.depthAxis === 1) visitRows(matrix, blockSize, visit);
  else visitColumns(matrix, blockSize, visit);
}

function visitRows(matrix: ChannelMatrix, blockSize: number, visit: VisitBlock): void {
  const { depth, channels } = matrixShape(matrix);
  const rows = Math.max(1, Math.floor(ROW_ELEMENTS / depth));
  for (let first = 0; first < channels; first += rows) {
    const last = Math.min(channels, first + rows);
    const values = matrixElements(matrix.tensor, first * depth, last * depth);
    for (let channel = first; channel < last; channel++) {
      const start = (channel - first) * depth;
      for (let at = 0, block = 0; at < depth; at += blockSize, block++) visit(channel, block, values, start + at, Math.min(blockSize, depth - at));
    }
  }
}

function visitColumns(matrix: ChannelMatrix, blockSize: number, visit: VisitBlock): void {
  const { depth, channels } = matrixShape(matrix);
  const tile = new Float64Array(TILE * blockSize);
  for (let top = 0, block = 0; top < depth; top += blockSize, block++) {
    const count = Math.min(blockSize, depth - top);
    const rows = matrixElements(matrix.tensor, top * channels, (top + count) * channels);
    for (let first = 0; first < channels; first += TILE) {
      const width = Math.min(TILE, channels - first);
      for (let k = 0; k < count; k++) {
        const row = k * channels + first;
        for (let c = 0; c < width; c++) tile[c * blockSize + k] = rows[row + c]!;
      }
      for (let c = 0; c < width; c++) visit(first + c, block, tile, c * blockSize, count);
    }
  }
}

/** The elements `from` … `to` of a matrix in one array. */
function matrixElements(tensor: Tensor, from: number, to: number): Float32Array | Float64Array {
  const pieces = [...weightPieces(tensor, from, to)];
  if (pieces.length === 1) return pieces[0]!.values;
  const all = new Float32Array(to - from);
  for (const { start, values } of pieces) all.set(values, start - from);
  return all;
}
