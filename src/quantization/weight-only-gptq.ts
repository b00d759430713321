import { numbersOf } from '../tensor/values.js';
import { matrixShape, type ChannelMatrix } from './weight-only-blocks.js';
import { blockCount, type BlockFormat } from './weight-only-format.js';
import { fitHalfQuadratic } from './weight-only-hqq.js';
import { largestInteger, middleInteger, roundBlock, type BlockParameters } from './weight-only-rounding.js';

/** Integers of a whole matrix with the parameters of its blocks. */
export interface RoundedWeight {
  /** [depth, channels] */
  readonly integers: Uint8Array;
  /** [blocks, channels], as are the zero points. */
  readonly scales: Float32Array;
  readonly zeroPoints: Uint8Array;
}

/** Share of the mean diagonal that is added to it: the products of few samples have no inverse otherwise. */
const DAMPING = 0.01;
const MAX_DAMPING = 10;

/**
 * Rounds a weight so that the error of the product is small, not that of the weight: rows are rounded in turn, and what a row got wrong is made up
 * for in those that follow, by the inverse of `products` = Σ x xᵀ over rows of the product's input, [depth, depth]. Parameters of a block
 * are fitted when its first row's turn comes. Throws what `refuse` makes where a weight is not finite.
 * Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers" (2022), section 3.
 */
export function roundWithProducts(matrix: ChannelMatrix, format: BlockFormat, products: Float64Array, refuse: () => Error): RoundedWeight {
  const { depth, channels } = matrixShape(matrix);
  const rows = rowsByDepth(matrix);
  const factor = inverseFactor(products, depth);
  const blocks = blockCount(depth, format);
  const rounded = { integers: new Uint8Array(depth * channels), scales: new Float32Array(blocks * channels), zeroPoints: new Uint8Array(blocks * channels) };
  const error = new Float64Array(channels);
  for (let k = 0; k < depth; k++) {
    if (k % format.blockSize === 0) fitBlocks(rows, k, format, rounded, refuse);
    const row = rows[k]!;
    roundRow(row, k, format, rounded, error);
    const weights = factor[k]!;
    for (let c = 0; c < channels; c++) error[c]! /= weights[k]!;
    for (let j = k + 1; j < depth; j++) {
      const share = weights[j]!;
      if (share === 0) continue;
      const later = rows[j]!;
      for (let c = 0; c < channels; c++) later[c]! -= share * error[c]!;
    }
  }
  return rounded;
}

/** A copy of the matrix: the elements of all channels for each step of depth. */
function rowsByDepth({ tensor, depthAxis }: ChannelMatrix): Float64Array[] {
  const { depth, channels } = matrixShape({ tensor, depthAxis });
  const values = numbersOf(tensor);
  return Array.from({ length: depth }, (_, k) =>
    depthAxis === 0 ? Float64Array.from(values.subarray(k * channels, (k + 1) * channels)) : Float64Array.from({ length: channels }, (_, c) => values[c * depth + k]!),
  );
}

function fitBlocks(rows: readonly Float64Array[], first: number, format: BlockFormat, { scales, zeroPoints }: RoundedWeight, refuse: () => Error): void {
  const count = Math.min(format.blockSize, rows.length - first);
  const values = new Float32Array(count);
  const found: BlockParameters = { scale: 1, zeroPoint: middleInteger(format) };
  const channels = rows[0]!.length;
  const at = (first / format.blockSize) * channels;
  for (let c = 0; c < channels; c++) {
    for (let k = 0; k < count; k++) values[k] = rows[first + k]![c]!;
    fitHalfQuadratic(values, 0, count, format, found);
    if (Number.isNaN(found.scale)) throw refuse();
    scales[at + c] = found.scale;
    zeroPoints[at + c] = found.zeroPoint;
  }
}

/** Rounds one row, and leaves what that takes from each element in `error`. */
function roundRow(row: Float64Array, k: number, format: BlockFormat, { integers, scales, zeroPoints }: RoundedWeight, error: Float64Array): void {
  const channels = row.length;
  const at = Math.floor(k / format.blockSize) * channels;
  const largest = largestInteger(format);
  const one = new Uint8Array(1);
  const parameters: BlockParameters = { scale: 1, zeroPoint: 0 };
  for (let c = 0; c < channels; c++) {
    parameters.scale = scales[at + c]!;
    parameters.zeroPoint = zeroPoints[at + c]!;
    roundBlock(row, c, 1, parameters, largest, one);
    integers[k * channels + c] = one[0]!;
    error[c] = row[c]! - parameters.scale * (one[0]! - parameters.zeroPoint);
  }
}

/**
 * The upper triangle U with Uᵀ U = (products + damping)⁻¹, by rows. Inputs that are always zero in the samples are made up for by none, and their
 * weights are rounded as they are.
 */
function inverseFactor(products: Float64Array, size: number): Float64Array[] {
  const matrix = Array.from({ length: size }, (_, i) => products.slice(i * size, (i + 1) * size));
  const mean = matrix.reduce((sum, row, i) => sum + row[i]!, 0) / size;
  for (let damping = DAMPING; damping <= MAX_DAMPING; damping *= 10) {
    const upper = upperFactor(matrix, damping * mean);
    if (upper) return invertUpper(upper);
  }
  // Products that are not finite, or all zero, say nothing: each row is then rounded for itself.
  return Array.from({ length: size }, (_, i) => new Float64Array(size).fill(1, i, i + 1));
}

/** M, upper triangular, with M Mᵀ = matrix + damping on its diagonal; undefined where there is none. */
function upperFactor(matrix: readonly Float64Array[], damping: number): Float64Array[] | undefined {
  const size = matrix.length;
  const upper = matrix.map(() => new Float64Array(size));
  for (let j = size - 1; j >= 0; j--) {
    const column = upper[j]!;
    for (let i = j; i >= 0; i--) {
      const row = upper[i]!;
      let sum = matrix[i]![j]! + (i === j ? damping : 0);
      for (let k = j + 1; k < size; k++) sum -= row[k]! * column[k]!;
      if (i < j) row[j] = sum / column[j]!;
      else if (!(sum > 0 && Number.isFinite(sum))) return undefined;
      else row[j] = Math.sqrt(sum);
    }
  }
  return upper;
}

function invertUpper(upper: readonly Float64Array[]): Float64Array[] {
  const size = upper.length;
  const inverse = upper.map(() => new Float64Array(size));
  for (let i = size - 1; i >= 0; i--) {
    const target = inverse[i]!;
    const diagonal = upper[i]![i]!;
    for (let k = i + 1; k < size; k++) {
      const factor = upper[i]![k]! / diagonal;
      if (factor === 0) continue;
      const source = inverse[k]!;
      for (let j = k; j < size; j++) target[j]! -= factor * source[j]!;
    }
    target[i] = 1 / diagonal;
  }
  return inverse;
}
