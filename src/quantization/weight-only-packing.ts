import { ExternalStorage } from '../onnx/external-data.js';
import { DeferredStorage } from '../tensor/deferred-storage.js';
import { memoryStorage, type Tensor, type TensorStorage } from '../tensor/tensor.js';
import { matrixShape, visitBlocks, type ChannelMatrix } from './weight-only-blocks.js';
import { blockCount, type BlockFormat } from './weight-only-format.js';
import { fitRange, largestInteger, middleInteger, roundBlock, type BlockParameters, type FitBlock } from './weight-only-rounding.js';

/** A weight in the layout of MatMulNBits. */
export interface PackedWeight {
  /** uint8 [channels, blocks, bytes of a block], in 4 bits the even element in the lower half of a byte. */
  readonly integers: Tensor;
  /** float32 [channels, blocks]. */
  readonly scales: Tensor;
  /** uint8 [channels, bytes of a channel's zero points]; undefined where they all are the middle. */
  readonly zeroPoints: Tensor | undefined;
}

type Part = 'integers' | 'scales' | 'zeroPoints';
type Parts = Readonly<Record<Part, Uint8Array>>;

/**
 * A weight as blocks of integers. Where its floats are in a side file the integers are computed while they are written, and their errors
 * come then: `refuse` makes the error for a block that is not finite.
 */
export function packWeight(matrix: ChannelMatrix, format: BlockFormat, refuse: () => Error, fit: FitBlock = fitRange): PackedWeight {
  const { depth, channels } = matrixShape(matrix);
  const blocks = blockCount(depth, format);
  const blockBytes = (format.blockSize * format.bits) / 8;
  const zeroBytes = Math.ceil((blocks * format.bits) / 8);
  const sizes: Readonly<Record<Part, number>> = { integers: channels * blocks * blockBytes, scales: channels * blocks * 4, zeroPoints: format.symmetric ? 0 : channels * zeroBytes };
  const compute = () => packBlocks(matrix, format, sizes, refuse, fit);
  const storages = matrix.tensor.storage instanceof ExternalStorage ? deferredParts(sizes, compute) : storedParts(compute());
  return {
    integers: { dtype: 'uint8', dims: [channels, blocks, blockBytes], storage: storages.integers },
    scales: { dtype: 'float32', dims: [channels, blocks], storage: storages.scales },
    zeroPoints: format.symmetric ? undefined : { dtype: 'uint8', dims: [channels, zeroBytes], storage: storages.zeroPoints },
  };
}

function packBlocks(matrix: ChannelMatrix, format: BlockFormat, sizes: Readonly<Record<Part, number>>, refuse: () => Error, fit: FitBlock): Parts {
  const { blockSize, bits } = format;
  const blocks = blockCount(matrixShape(matrix).depth, format);
  const largest = largestInteger(format);
  const integers = new Uint8Array(sizes.integers);
  const scales = new Float32Array(sizes.scales / 4);
  const zeroPoints = new Uint8Array(sizes.zeroPoints);
  const zeroBytes = Math.ceil((blocks * bits) / 8);
  const block = new Uint8Array(blockSize);
  const found: BlockParameters = { scale: 1, zeroPoint: middleInteger(format) };
  visitBlocks(matrix, blockSize, (channel, number, values, from, count) => {
    fit(values, from, count, format, found);
    if (Number.isNaN(found.scale)) throw refuse();
    roundBlock(values, from, count, found, largest, block);
    // What a last, shorter block lacks stands for zeros.
    if (count < blockSize) block.fill(found.zeroPoint, count);
    const at = channel * blocks + number;
    scales[at] = found.scale;
    if (bits === 8) integers.set(block, at * blockSize);
    else for (let i = 0, to = (at * blockSize) / 2; i < blockSize; i += 2) integers[to++] = block[i]! | (block[i + 1]! << 4);
    if (format.symmetric) return;
    const zero = channel * zeroBytes + (bits === 8 ? number : number >> 1);
    zeroPoints[zero] = bits === 8 || number % 2 === 0 ? found.zeroPoint : zeroPoints[zero]! | (found.zeroPoint << 4);
  });
  return { integers, scales: new Uint8Array(scales.buffer), zeroPoints };
}

function storedParts({ integers, scales, zeroPoints }: Parts): Readonly<Record<Part, TensorStorage>> {
  return { integers: memoryStorage(integers), scales: memoryStorage(scales), zeroPoints: memoryStorage(zeroPoints) };
}

/** The parts of one computation, kept from the first byte that is read until each of them has been read to its end. */
function deferredParts(sizes: Readonly<Record<Part, number>>, compute: () => Parts): Readonly<Record<Part, TensorStorage>> {
  let kept: Parts | undefined;
  const unread = new Set<Part>();
  const storage = (part: Part) =>
    new DeferredStorage(sizes[part], (offset, length) => {
      if (!kept) {
        kept = compute();
        for (const name of ['integers', 'scales', 'zeroPoints'] as const) if (sizes[name] > 0) unread.add(name);
      }
      const bytes = kept[part].subarray(offset, offset + length);
      if (offset + length === sizes[part]) unread.delete(part);
      if (unread.size === 0) kept = undefined;
      return bytes;
    });
  return { integers: storage('integers'), scales: storage('scales'), zeroPoints: storage('zeroPoints') };
}
