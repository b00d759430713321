import { ExternalStorage } from '../onnx/external-data.js';
import { integerScalar } from '../tensor/affine.js';
import { DeferredStorage } from '../tensor/deferred-storage.js';
import { elementCount, memoryStorage, tensorFromArray, type Tensor, type TensorStorage } from '../tensor/tensor.js';
import { flatChannels } from './dynamic-plan.js';
import type { PlannedConstant } from './plan.js';
import { quantizeElements } from './weights.js';

/** A weight as integers with its parameters, in the shapes that an operator takes. */
export interface DynamicWeight {
  readonly integers: Tensor;
  readonly scale: Tensor;
  readonly zeroPoint: Tensor;
}

/**
 * Rounds a weight and gives scale and zero point the shapes that go with the float operator `opType`. `transposed` exchanges the last two
 * axes of the integers: MatMulInteger has no transB, DynamicQuantizeLSTM takes [directions, inputs, gates].
 */
export function storeDynamicWeight(weight: Tensor, planned: PlannedConstant, scales: readonly number[], opType: string, transposed: boolean): DynamicWeight {
  const { dtype, zeroPoint } = planned;
  if (dtype === 'int32') throw new TypeError('a weight is not stored as int32');
  const flat = flatChannels(weight, planned.axis);
  const rounding = { axis: flat.axis, scales, dtype, limit: planned.limit! };
  const round = (from: number, to: number) => quantizeElements(flat.tensor, rounding, from, to) as Int8Array | Uint8Array;
  const dims = transposed ? exchangeLast(weight.dims) : weight.dims;
  const [scaleDims, zeroDims] = parameterDims(opType, weight.dims, planned.axis);
  return {
    integers: { dtype, dims, storage: storageOf(weight, transposed, round) },
    scale: tensorFromArray('float32', scaleDims, Float32Array.from(scales)),
    zeroPoint: filled(integerScalar(dtype, zeroPoint), zeroDims),
  };
}

/**
 * Shapes of scale and zero point. An LSTM's must be alike, because the kernel steps through both by the count of scales; a
 * DequantizeLinear's too. Source: contrib_ops/cpu/quantization/dynamic_quantize_lstm.cc of onnxruntime.
 */
function parameterDims(opType: string, dims: readonly number[], axis: number | null): readonly [readonly number[], readonly number[]] {
  if (opType === 'LSTM') {
    const both = axis === 1 ? [dims[0]!, dims[1]!] : [dims[0]!];
    return [both, both];
  }
  if (axis === null) return [[], []];
  if (opType === 'Gather') return [[dims[axis]!], [dims[axis]!]];
  if (opType === 'Conv') return [[dims[0]!, ...dims.slice(2).map(() => 1)], []];
  return [[dims[axis]!], []];
}

function filled(scalar: Tensor, dims: readonly number[]): Tensor {
  if (dims.length === 0) return scalar;
  const { dtype } = scalar;
  const array = new Uint8Array(elementCount(dims)).fill(scalar.storage.read()[0]!);
  return tensorFromArray(dtype, dims, array);
}

type Round = (from: number, to: number) => Int8Array | Uint8Array;

/** The integers: in memory where the floats are, otherwise computed from the side file each time they are read. */
function storageOf(weight: Tensor, transposed: boolean, round: Round): TensorStorage {
  const count = elementCount(weight.dims);
  const whole = () => (transposed ? transposeLast(round(0, count), weight.dims) : round(0, count));
  if (!(weight.storage instanceof ExternalStorage)) return memoryStorage(asBytes(whole()));
  if (!transposed) return new DeferredStorage(count, (offset, length) => asBytes(round(offset, offset + length)));
  // Every piece of a transposed weight takes all of it, so it is kept from the first piece to the last.
  let kept: Uint8Array | undefined;
  return new DeferredStorage(count, (offset, length) => {
    const bytes = (kept ??= asBytes(whole()));
    if (offset + length === count) kept = undefined;
    return bytes.subarray(offset, offset + length);
  });
}

const asBytes = (array: Int8Array | Uint8Array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

const exchangeLast = (dims: readonly number[]) => [...dims.slice(0, -2), dims.at(-1)!, dims.at(-2)!];

/** Cache lines that a tile of a transposition touches at once, so that they are not read again for each row. */
const TILE = 64;

/** The elements with their last two axes exchanged. */
function transposeLast(source: Int8Array | Uint8Array, dims: readonly number[]): Int8Array | Uint8Array {
  const [rows, columns] = dims.slice(-2) as [number, number];
  const target = source.slice();
  for (let start = 0; start < source.length; start += rows * columns) {
    for (let top = 0; top < rows; top += TILE) {
      const bottom = Math.min(rows, top + TILE);
      for (let column = 0; column < columns; column++) {
        const to = start + column * rows;
        for (let row = top; row < bottom; row++) target[to + row] = source[start + row * columns + column]!;
      }
    }
  }
  return target;
}
