import type { Tensor } from '../tensor/tensor.js';
import { blockStripe, KERNEL_CHANNELS, type Stripe } from './block-kernel.js';
import { matrixShape, type ChannelMatrix } from './weight-only-blocks.js';
import { blockCount, type BlockFormat } from './weight-only-format.js';
import { fillFloats, type FloatRange } from './weight-pieces.js';

/** Where rounded channels go: arrays that have a place for each channel of the stripe, none before them and none behind. */
export interface BlockTarget {
  /** [channels, blocks, bytes of a block]; the even element of 4 bits in the lower half. */
  readonly integers: Uint8Array;
  /** [channels, blocks] */
  readonly scales: Float32Array;
  /** [channels, bytes of a channel's zero points]; empty where they all are the middle. */
  readonly zeroPoints: Uint8Array;
}

/** Bytes of integers that one stripe comes to at most, and of floats that are read for it at once. */
const STRIPE_BYTES = 8 << 20;
const READ_BYTES = 1 << 20;

/** Channels that are rounded in one go: as many as the memory of a thread shall hold. */
export function stripeChannels(matrix: ChannelMatrix, format: BlockFormat): number {
  const { depth, channels } = matrixShape(matrix);
  const most = Math.floor((STRIPE_BYTES * 8) / (blockCount(depth, format) * format.blockSize * format.bits));
  return Math.min(channels, Math.max(KERNEL_CHANNELS, Math.floor(most / KERNEL_CHANNELS) * KERNEL_CHANNELS));
}

/**
 * Rounds the channels `first` … `end` of a float32 matrix to nearest, as `fitRange` and `roundBlock` do, many times as fast. False where a weight is not
 * finite.
 */
export function roundChannels(matrix: ChannelMatrix, format: BlockFormat, first: number, end: number, target: BlockTarget): boolean {
  const { depth } = matrixShape(matrix);
  const blocks = blockCount(depth, format);
  const stripe = matrix.depthAxis === 0 ? roundColumns(matrix.tensor, format, first, end) : roundRows(matrix.tensor, format, first, end);
  target.integers.set(stripe.integers.subarray(0, target.integers.length));
  const scales = stripe.scales.subarray(0, target.scales.length);
  target.scales.set(scales);
  if (!format.symmetric) putZeroPoints(stripe.zeroPoints.subarray(0, scales.length), blocks, format, target.zeroPoints);
  return scales.every(Number.isFinite);
}

function roundColumns(tensor: Tensor, format: BlockFormat, first: number, end: number): Stripe {
  const { depth, channels } = matrixShape({ tensor, depthAxis: 0 });
  const { blockSize } = format;
  const width = end - first;
  const stripe = blockStripe({ values: blockSize * width, channels: width, blocks: blockCount(depth, format) }, format);
  for (let top = 0, block = 0; top < depth; top += blockSize, block++) {
    const count = Math.min(blockSize, depth - top);
    fillFloats(tensor, adjacentRows(top, count, channels, first, width), stripe.values);
    // What a last, shorter block lacks stands for zeros.
    stripe.values.fill(0, count * width);
    stripe.round({ from: 0, stride: width, adjacent: 'channels', channel: 0, channels: width }, block);
  }
  return stripe;
}

/** The elements of rows from a column on, one row after the other; whole rows are one range. */
function adjacentRows(top: number, count: number, columns: number, first: number, width: number): FloatRange[] {
  if (width === columns) return [{ from: top * columns, to: 0, count: count * columns }];
  return Array.from({ length: count }, (_, k) => ({ from: (top + k) * columns + first, to: k * width, count: width }));
}

function roundRows(tensor: Tensor, format: BlockFormat, first: number, end: number): Stripe {
  const { depth } = matrixShape({ tensor, depthAxis: 1 });
  const { blockSize } = format;
  const blocks = blockCount(depth, format);
  const stride = blocks * blockSize;
  const rows = Math.max(1, Math.floor(READ_BYTES / (4 * stride * KERNEL_CHANNELS))) * KERNEL_CHANNELS;
  const stripe = blockStripe({ values: rows * stride, channels: end - first, blocks }, format);
  // What the last block of a row lacks stands for zeros.
  stripe.values.fill(0);
  for (let top = first; top < end; top += rows) {
    const height = Math.min(rows, end - top);
    const whole = [{ from: top * depth, to: 0, count: height * depth }];
    fillFloats(tensor, stride === depth ? whole : Array.from({ length: height }, (_, r) => ({ from: (top + r) * depth, to: r * stride, count: depth })), stripe.values);
    for (let row = 0; row < height; row += KERNEL_CHANNELS) {
      for (let block = 0; block < blocks; block++) {
        stripe.round({ from: row * stride + block * blockSize, stride, adjacent: 'elements', channel: top - first + row, channels: KERNEL_CHANNELS }, block);
      }
    }
  }
  return stripe;
}

function putZeroPoints(found: Uint8Array, blocks: number, { bits }: BlockFormat, target: Uint8Array): void {
  if (bits === 8) {
    target.set(found);
    return;
  }
  for (let at = 0, to = 0; at < found.length; at += blocks) {
    for (let block = 0; block < blocks; block += 2) target[to++] = found[at + block]! | (block + 1 < blocks ? found[at + block + 1]! << 4 : 0);
  }
}
