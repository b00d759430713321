import type { Tensor } from '../tensor/tensor.js';
import { blockKernel, KERNEL_CHANNELS, type BlockKernel } from './block-kernel.js';
import { matrixShape, matrixElements, ROW_ELEMENTS, type ChannelMatrix } from './weight-only-blocks.js';
import type { BlockFormat } from './weight-only-format.js';

/** Takes the blocks `block` of `channels` channels from `channel` on out of the kernel. */
export type TakeBlocks = (channel: number, channels: number, block: number, kernel: BlockKernel) => void;

/** Channels that are rounded together where the elements of each are adjacent, and elements of one that are looked at in one go. */
const ROWS = 16;
const ROW_PART = 4096;

/** Rounds a float32 matrix to nearest with the kernel, reading it once from start to end. */
export function roundMatrix(matrix: ChannelMatrix, format: BlockFormat, take: TakeBlocks): void {
  if (matrix.depthAxis === 0) roundColumns(matrix.tensor, format, take);
  else roundRows(matrix, format, take);
}

function roundColumns(tensor: Tensor, format: BlockFormat, take: TakeBlocks): void {
  const { depth, channels } = matrixShape({ tensor, depthAxis: 0 });
  const { blockSize } = format;
  const kernel = blockKernel();
  for (let top = 0, block = 0; top < depth; top += blockSize, block++) {
    const count = Math.min(blockSize, depth - top);
    const rows = matrixElements(tensor, top * channels, (top + count) * channels);
    for (let first = 0; first < channels; first += KERNEL_CHANNELS) {
      const width = Math.min(KERNEL_CHANNELS, channels - first);
      for (let k = 0; k < count; k++) kernel.values.set(rows.subarray(k * channels + first, k * channels + first + width), k * KERNEL_CHANNELS);
      // What a last, shorter block lacks stands for zeros.
      kernel.values.fill(0, count * KERNEL_CHANNELS, blockSize * KERNEL_CHANNELS);
      kernel.round({ from: 0, channelStride: 1, depthStride: KERNEL_CHANNELS, channels: width }, format);
      take(first, width, block, kernel);
    }
  }
}

function roundRows(matrix: ChannelMatrix, format: BlockFormat, take: TakeBlocks): void {
  const { depth, channels } = matrixShape(matrix);
  const { blockSize } = format;
  const kernel = blockKernel();
  const rows = Math.max(ROWS, Math.floor(ROW_ELEMENTS / depth / ROWS) * ROWS);
  for (let first = 0; first < channels; first += rows) {
    const last = Math.min(channels, first + rows);
    const values = matrixElements(matrix.tensor, first * depth, last * depth);
    for (let channel = first; channel < last; channel += ROWS) {
      const height = Math.min(ROWS, last - channel);
      for (let left = 0; left < depth; left += ROW_PART) {
        const width = Math.min(ROW_PART, depth - left);
        for (let r = 0; r < height; r++) {
          const start = (channel - first + r) * depth + left;
          kernel.values.set(values.subarray(start, start + width), r * ROW_PART);
          kernel.values.fill(0, r * ROW_PART + width, r * ROW_PART + Math.ceil(width / blockSize) * blockSize);
        }
        for (let at = 0; at < width; at += blockSize) {
          kernel.round({ from: at, channelStride: ROW_PART, depthStride: 1, channels: height }, format);
          take(channel, height, (left + at) / blockSize, kernel);
        }
      }
    }
  }
}
