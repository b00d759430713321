import { numbersOf } from '../tensor/values.js';
import { PANEL, PRODUCT_ROWS, productMemory32 } from './product-kernel.js';
import { errorShares } from './products-factor.js';
import { matrixShape, type ChannelMatrix } from './weight-only-blocks.js';
import { blockCount, type BlockFormat } from './weight-only-format.js';
import { fitColumns } from './weight-only-hqq.js';
import { largestInteger, roundBlock, type BlockParameters } from './weight-only-rounding.js';
import { defineWork } from './work.js';
import { sharedPool } from './work-pool.js';

/** Integers of a whole matrix with the parameters of its blocks. */
export interface RoundedWeight {
  /** [depth, channels] */
  readonly integers: Uint8Array;
  /** [blocks, channels], as are the zero points. */
  readonly scales: Float32Array;
  readonly zeroPoints: Uint8Array;
}

/** Rows whose errors are made up for together in what follows. */
const ROWS = 32;
/** Channels that are rounded in one go, each for itself. */
const STRIPE = 256;
/** Less than this, products of depth, depth and channels, is done before threads have started. */
const MIN_POOL_PRODUCTS = 2 ** 28;

/**
 * Rounds a weight so that the error of the product is small, not that of the weight: rows are rounded in turn, and what rows before got wrong is made up for in each,
 * by the shares that follow from `products` = Σ x xᵀ over rows of the product's input, [depth, depth]. Parameters of a block are fitted
 * when its first row's turn comes. Throws what `refuse` makes where a weight is not finite. `onChannels` hears how many channels are done.
 * Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers" (2022), section 3.
 */
export async function roundWithProducts(matrix: ChannelMatrix, format: BlockFormat, products: Float64Array, refuse: () => Error, onChannels?: (done: number) => void): Promise<RoundedWeight> {
  const { depth, channels } = matrixShape(matrix);
  const isPooled = depth * depth * channels >= MIN_POOL_PRODUCTS;
  const values = shared(Float32Array, depth * channels);
  copyByDepth(matrix, values);
  const shares = shared(Float32Array, depth * depth);
  const factor = { products: isPooled ? shared(Float64Array, products.length) : products, size: depth, shares };
  if (isPooled) factor.products.set(products);
  await (isPooled ? sharedPool().run(factorWork, factor) : factorWork.run(factor));
  const blocks = blockCount(depth, format);
  const rounded = { integers: shared(Uint8Array, depth * channels), scales: shared(Float32Array, blocks * channels), zeroPoints: shared(Uint8Array, blocks * channels) };
  let done = 0;
  const stripe = async (first: number) => {
    const end = Math.min(channels, first + STRIPE);
    const work = { values, depth, channels, first, end, format, shares, rounded };
    if (!(await (isPooled ? sharedPool().run(gptqStripeWork, work) : gptqStripeWork.run(work)))) throw refuse();
    onChannels?.((done += end - first));
  };
  await Promise.all(Array.from({ length: Math.ceil(channels / STRIPE) }, (_, i) => stripe(i * STRIPE)));
  return rounded;
}

/** An array of zeros that threads share. */
function shared<T>(kind: new (buffer: ArrayBuffer) => T, length: number): T {
  const { BYTES_PER_ELEMENT } = kind as unknown as { readonly BYTES_PER_ELEMENT: number };
  return new kind(new SharedArrayBuffer(length * BYTES_PER_ELEMENT) as unknown as ArrayBuffer);
}

/** The matrix as [depth, channels]. */
function copyByDepth({ tensor, depthAxis }: ChannelMatrix, target: Float32Array): void {
  const { depth, channels } = matrixShape({ tensor, depthAxis });
  const values = numbersOf(tensor);
  if (depthAxis === 0) target.set(values);
  else for (let k = 0; k < depth; k++) for (let c = 0; c < channels; c++) target[k * channels + c] = values[c * depth + k]!;
}

interface FactorArguments {
  readonly products: Float64Array;
  readonly size: number;
  readonly shares: Float32Array;
}

/** Finds the shares of errors in a thread. */
export const factorWork = defineWork(import.meta.url, 'factorWork', ({ products, size, shares }: FactorArguments) => errorShares(products, size, shares));

interface StripeArguments {
  /** The weight, [depth, channels]. */
  readonly values: Float32Array;
  readonly depth: number;
  readonly channels: number;
  readonly first: number;
  readonly end: number;
  readonly format: BlockFormat;
  readonly shares: Float32Array;
  /** Where the result goes. */
  readonly rounded: RoundedWeight;
}

/** Rounds the channels `first` … `end` in a thread; says whether all of them are finite. */
export const gptqStripeWork = defineWork(import.meta.url, 'gptqStripeWork', (stripe: StripeArguments) => roundStripe(stripe));

function roundStripe({ values, depth, channels, first, end, format, shares, rounded }: StripeArguments): boolean {
  const width = end - first;
  const stride = Math.ceil(width / PANEL.float32) * PANEL.float32;
  const rows = Math.max(ROWS, format.blockSize);
  // The shares of the rows at hand, errors of all rows before them in panels, the rows themselves, and what a block is fitted to.
  const [factors, errors, current] = [0, rows * depth, rows * depth + depth * stride];
  const expected = current + rows * stride;
  const memory = productMemory32(expected + format.blockSize * stride);
  const { values: numbers } = memory;
  numbers.fill(0);
  const error = new Float32Array(width);
  for (let top = 0; top < depth; top += rows) {
    const count = Math.min(rows, depth - top);
    for (let r = 0; r < count; r++) {
      numbers.set(values.subarray((top + r) * channels + first, (top + r) * channels + end), current + r * stride);
      numbers.set(shares.subarray((top + r) * depth, (top + r) * depth + top), factors + r * depth);
    }
    const product = { a: { at: factors, stride: depth }, b: { at: errors, stride: PANEL.float32 * depth }, c: { at: current, stride }, m: Math.ceil(count / PRODUCT_ROWS) * PRODUCT_ROWS, n: stride };
    if (top > 0) memory.subtract({ ...product, k: top });
    for (let r = 0; r < count; r++) {
      const k = top + r;
      const row = numbers.subarray(current + r * stride, current + r * stride + width);
      if (k % format.blockSize === 0) {
        const height = Math.min(format.blockSize, depth - k);
        numbers.copyWithin(expected, current + r * stride, current + (r + height) * stride);
        for (let b = 0; b < height; b++) {
          // As if no row of the block got anything wrong any more.
          for (let c = 0; c < width; c++) error[c] = numbers[expected + b * stride + c]! - values[(k + b) * channels + first + c]!;
          makeUp(numbers, expected, stride, b, height, error, (later) => shares[(k + later) * depth + k + b]!);
        }
        if (!fitBlocks(numbers, expected, stride, k, { depth, channels, first, end, format, rounded })) return false;
      }
      roundRow(row, k, { channels, first, end, format, rounded });
      errorOf(values, k, { channels, first, end, format, rounded }, error);
      for (let c = 0; c < width; c++) numbers[errors + ((c >> 3) * depth + k) * PANEL.float32 + (c & 7)] = error[c]!;
      makeUp(numbers, current, stride, r, count, error, (later) => shares[(top + later) * depth + k]!);
    }
  }
  return true;
}

/** Takes the error of row `row` off the rows that follow it, up to row `end`, each by its share. */
function makeUp(numbers: Float32Array, from: number, stride: number, row: number, end: number, error: Float32Array, shareOf: (later: number) => number): void {
  for (let later = row + 1; later < end; later++) {
    const share = shareOf(later);
    if (share === 0) continue;
    const at = from + later * stride;
    for (let c = 0; c < error.length; c++) numbers[at + c]! -= share * error[c]!;
  }
}

type Place = Pick<StripeArguments, 'channels' | 'first' | 'end' | 'format' | 'rounded'>;

function fitBlocks(numbers: Float32Array, from: number, stride: number, k: number, { depth, channels, first, end, format, rounded: { scales, zeroPoints } }: Place & { readonly depth: number }): boolean {
  const count = Math.min(format.blockSize, depth - k);
  const at = (k / format.blockSize) * channels + first;
  let isFinite = true;
  fitColumns(numbers, from, stride, count, end - first, format, (column, { scale, zeroPoint }) => {
    isFinite &&= !Number.isNaN(scale);
    scales[at + column] = scale;
    zeroPoints[at + column] = zeroPoint;
  });
  return isFinite;
}

function roundRow(row: Float32Array, k: number, { channels, first, format, rounded: { integers, scales, zeroPoints } }: Place): void {
  const at = Math.floor(k / format.blockSize) * channels + first;
  const largest = largestInteger(format);
  const one = new Uint8Array(1);
  const parameters: BlockParameters = { scale: 1, zeroPoint: 0 };
  for (let c = 0; c < row.length; c++) {
    parameters.scale = scales[at + c]!;
    parameters.zeroPoint = zeroPoints[at + c]!;
    roundBlock(row, c, 1, parameters, largest, one);
    integers[k * channels + first + c] = one[0]!;
  }
}

/** What the rounded row has too much, against the weight as it was. */
function errorOf(values: Float32Array, k: number, { channels, first, format, rounded: { integers, scales, zeroPoints } }: Place, error: Float32Array): void {
  const at = Math.floor(k / format.blockSize) * channels + first;
  const from = k * channels + first;
  for (let c = 0; c < error.length; c++) error[c] = scales[at + c]! * (integers[from + c]! - zeroPoints[at + c]!) - values[from + c]!;
}
