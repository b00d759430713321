import { QdqError } from '../errors.js';

/** How the elements of a weight become integers: blocks along the depth of the product, each with a scale of its own. */
export interface BlockFormat {
  readonly bits: 4 | 8;
  /** Elements of one output channel that share a scale: a power of two from 16 to 256. */
  readonly blockSize: number;
  /** Zero points in the middle of the integers, and so not stored; otherwise each block has its own. */
  readonly symmetric: boolean;
}

/** Sizes of blocks that onnxruntime has kernels for. Source: MatMulNBits in docs/ContribOperators.md of onnxruntime. */
export const BLOCK_SIZES = [16, 32, 64, 128, 256] as const;

/** Blocks of 4-bit weights where nothing else is asked for. */
export const DEFAULT_BLOCK_SIZE = 32;

/** Throws a usage error where no kernel takes blocks of this size. */
export function checkBlockSize(blockSize: number): void {
  if ((BLOCK_SIZES as readonly number[]).includes(blockSize)) return;
  throw new QdqError('usage', `blocks of ${blockSize} elements have no kernel`, `Block sizes: ${BLOCK_SIZES.join(', ')}.`);
}

/** Blocks that a channel of `depth` elements takes; the last one may be shorter. */
export function blockCount(depth: number, { blockSize }: BlockFormat): number {
  return Math.ceil(depth / blockSize);
}
