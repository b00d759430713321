import { ExternalStorage } from '../onnx/external-data.js';
import { DeferredStorage } from '../tensor/deferred-storage.js';
import type { DType } from '../tensor/dtype.js';
import { packedByteLength } from '../tensor/dtype.js';
import { elementCount, memoryStorage, type Tensor, type TensorStorage } from '../tensor/tensor.js';
import { matrixShape, visitBlocks, type ChannelMatrix } from './weight-only-blocks.js';
import { blockCount, type BlockFormat } from './weight-only-format.js';
import type { RoundedWeight } from './weight-only-gptq.js';
import { roundChannels, stripeChannels } from './weight-only-fast.js';
import { pooledParts } from './weight-only-pooled.js';
import { isPooled } from './weight-work.js';
import { fitRange, largestInteger, middleInteger, roundBlock, type BlockParameters, type FitBlock } from './weight-only-rounding.js';

/** A weight as integers in blocks. */
export interface PackedWeight {
  readonly integers: Tensor;
  readonly scales: Tensor;
  /** Undefined where they all are the middle. */
  readonly zeroPoints: Tensor | undefined;
}

/** Where integers stand: by output channel, as MatMulNBits has them, or in the [depth, channels] order of MatMul. */
export type BlockOrder = 'by channel' | 'by depth';

type Part = keyof PackedWeight;
type Parts = Readonly<Record<Part, Uint8Array>>;
type Shapes = Readonly<Record<Part, { readonly dtype: DType; readonly dims: readonly number[] }>>;

const PARTS = ['integers', 'scales', 'zeroPoints'] as const;

/**
 * A weight as blocks of integers. By channel: uint8 [channels, blocks, bytes of a block] with the even element of 4 bits in the lower half,
 * scales [channels, blocks], zero points uint8 [channels, bytes]. By depth: integers of their own type [depth, channels], signed where
 * symmetric, scales and zero points [blocks, channels], as a DequantizeLinear takes them. Where the floats are in a side file the integers are
 * computed while they are written, and errors come then: `refuse` makes the one for a block that is not finite. `source` says how blocks are fitted, or
 * holds integers that were found already.
 */
export function packWeight(matrix: ChannelMatrix, format: BlockFormat, order: BlockOrder, refuse: () => Error, source: FitBlock | RoundedWeight = fitRange): PackedWeight {
  const shapes = shapesOf(matrix, format, order);
  const isPlain = source === fitRange && order === 'by channel' && matrix.tensor.dtype === 'float32';
  const compute = () => {
    if (isPlain) return roundedParts(matrix, format, shapes, refuse);
    const sink = order === 'by channel' ? channelSink(matrix, format, shapes) : depthSink(matrix, format, shapes);
    if (typeof source === 'function') fillBlocks(matrix, format, sink, refuse, source);
    else copyBlocks(matrix, format, sink, source);
    return sink.parts;
  };
  const isDeferred = typeof source === 'function' && matrix.tensor.storage instanceof ExternalStorage;
  const deferred = isDeferred ? deferredParts(shapes, compute) : undefined;
  const storages = !deferred ? storedParts(compute()) : isPlain && isPooled(matrix.tensor) ? pooledParts(matrix, format, sizesOf(shapes), refuse, (part, offset, length) => deferred[part].readRange(offset, length)) : deferred;
  const tensor = (part: Part): Tensor => ({ ...shapes[part], storage: storages[part] });
  return { integers: tensor('integers'), scales: tensor('scales'), zeroPoints: format.symmetric ? undefined : tensor('zeroPoints') };
}

function shapesOf(matrix: ChannelMatrix, format: BlockFormat, order: BlockOrder): Shapes {
  const { bits, blockSize, symmetric } = format;
  const { depth, channels } = matrixShape(matrix);
  const blocks = blockCount(depth, format);
  const none = { dtype: 'uint8', dims: [0] } as const;
  if (order === 'by channel') {
    return {
      integers: { dtype: 'uint8', dims: [channels, blocks, (blockSize * bits) / 8] },
      scales: { dtype: 'float32', dims: [channels, blocks] },
      zeroPoints: symmetric ? none : { dtype: 'uint8', dims: [channels, Math.ceil((blocks * bits) / 8)] },
    };
  }
  const dtype = `${symmetric ? '' : 'u'}int${bits}` as const;
  return {
    integers: { dtype, dims: [depth, channels] },
    scales: { dtype: 'float32', dims: [blocks, channels] },
    zeroPoints: symmetric ? none : { dtype, dims: [blocks, channels] },
  };
}

/** By channel, rounded to nearest: what `fillBlocks` gives, many times as fast. */
function roundedParts(matrix: ChannelMatrix, format: BlockFormat, shapes: Shapes, refuse: () => Error): Parts {
  const { channels } = matrixShape(matrix);
  const parts = emptyParts(shapes);
  const height = stripeChannels(matrix, format);
  for (let first = 0; first < channels; first += height) {
    const end = Math.min(channels, first + height);
    const bytes = (part: Part) => parts[part].subarray((parts[part].length / channels) * first, (parts[part].length / channels) * end);
    const scales = bytes('scales');
    const target = { integers: bytes('integers'), scales: new Float32Array(scales.buffer, scales.byteOffset, scales.length / 4), zeroPoints: bytes('zeroPoints') };
    if (!roundChannels(matrix, format, first, end, target)) throw refuse();
  }
  return parts;
}

interface BlockSink {
  readonly parts: Parts;
  /** `integers` are a whole block, of which the last one of a channel has `count` elements that stand for something. */
  put(channel: number, block: number, integers: Uint8Array, count: number, parameters: BlockParameters): void;
}

function fillBlocks(matrix: ChannelMatrix, format: BlockFormat, sink: BlockSink, refuse: () => Error, fit: FitBlock): void {
  const largest = largestInteger(format);
  const integers = new Uint8Array(format.blockSize);
  const found: BlockParameters = { scale: 1, zeroPoint: middleInteger(format) };
  visitBlocks(matrix, format.blockSize, (channel, block, values, from, count) => {
    fit(values, from, count, format, found);
    if (Number.isNaN(found.scale)) throw refuse();
    roundBlock(values, from, count, found, largest, integers);
    // What a last, shorter block lacks stands for zeros.
    if (count < format.blockSize) integers.fill(found.zeroPoint, count);
    sink.put(channel, block, integers, count, found);
  });
}

function copyBlocks(matrix: ChannelMatrix, format: BlockFormat, sink: BlockSink, { integers, scales, zeroPoints }: RoundedWeight): void {
  const { depth, channels } = matrixShape(matrix);
  const block = new Uint8Array(format.blockSize);
  for (let top = 0, number = 0; top < depth; top += format.blockSize, number++) {
    const count = Math.min(format.blockSize, depth - top);
    for (let channel = 0; channel < channels; channel++) {
      const at = number * channels + channel;
      block.fill(zeroPoints[at]!);
      for (let k = 0; k < count; k++) block[k] = integers[(top + k) * channels + channel]!;
      sink.put(channel, number, block, count, { scale: scales[at]!, zeroPoint: zeroPoints[at]! });
    }
  }
}

function emptyParts(shapes: Shapes): Parts {
  const bytes = (part: Part) => new Uint8Array(byteLength(shapes, part));
  return { integers: bytes('integers'), scales: bytes('scales'), zeroPoints: bytes('zeroPoints') };
}

const sizesOf = (shapes: Shapes) => ({ integers: byteLength(shapes, 'integers'), scales: byteLength(shapes, 'scales'), zeroPoints: byteLength(shapes, 'zeroPoints') });
const byteLength = (shapes: Shapes, part: Part) => packedByteLength(shapes[part].dtype, elementCount(shapes[part].dims));

function channelSink(matrix: ChannelMatrix, format: BlockFormat, shapes: Shapes): BlockSink {
  const { bits, blockSize, symmetric } = format;
  const blocks = blockCount(matrixShape(matrix).depth, format);
  const zeroBytes = Math.ceil((blocks * bits) / 8);
  const parts = emptyParts(shapes);
  const scales = new Float32Array(parts.scales.buffer);
  return {
    parts,
    put(channel, block, integers, _count, { scale, zeroPoint }) {
      const at = channel * blocks + block;
      scales[at] = scale;
      if (bits === 8) parts.integers.set(integers, at * blockSize);
      else for (let i = 0, to = (at * blockSize) / 2; i < blockSize; i += 2) parts.integers[to++] = integers[i]! | (integers[i + 1]! << 4);
      if (symmetric) return;
      if (bits === 8) parts.zeroPoints[at] = zeroPoint;
      else parts.zeroPoints[channel * zeroBytes + (block >> 1)]! |= zeroPoint << (4 * (block & 1));
    },
  };
}

function depthSink(matrix: ChannelMatrix, { bits, blockSize, symmetric }: BlockFormat, shapes: Shapes): BlockSink {
  const { channels } = matrixShape(matrix);
  const parts = emptyParts(shapes);
  const scales = new Float32Array(parts.scales.buffer);
  // Signed integers are the unsigned ones less the middle: in two's complement that turns the highest bit around.
  const flip = symmetric ? 1 << (bits - 1) : 0;
  const put = (part: Uint8Array, at: number, integer: number) => {
    if (bits === 8) part[at] = integer;
    else part[at >> 1]! |= integer << (4 * (at & 1));
  };
  return {
    parts,
    put(channel, block, integers, count, { scale, zeroPoint }) {
      const parameters = block * channels + channel;
      scales[parameters] = scale;
      if (!symmetric) put(parts.zeroPoints, parameters, zeroPoint);
      for (let i = 0, at = block * blockSize * channels + channel; i < count; i++, at += channels) put(parts.integers, at, integers[i]! ^ flip);
    },
  };
}

function storedParts({ integers, scales, zeroPoints }: Parts): Readonly<Record<Part, TensorStorage>> {
  return { integers: memoryStorage(integers), scales: memoryStorage(scales), zeroPoints: memoryStorage(zeroPoints) };
}

/** The parts of one computation, kept from the first byte that is read until each of them has been read to its end. */
function deferredParts(shapes: Shapes, compute: () => Parts): Readonly<Record<Part, TensorStorage>> {
  let kept: Parts | undefined;
  const unread = new Set<Part>();
  const storage = (part: Part) => {
    const size = byteLength(shapes, part);
    return new DeferredStorage(size, (offset, length) => {
      if (!kept) {
        kept = compute();
        for (const name of PARTS) if (kept[name].length > 0) unread.add(name);
      }
      const bytes = kept[part].subarray(offset, offset + length);
      if (offset + length === size) unread.delete(part);
      if (unread.size === 0) kept = undefined;
      return bytes;
    });
  };
  return { integers: storage('integers'), scales: storage('scales'), zeroPoints: storage('zeroPoints') };
}
