import { integerScalar } from '../tensor/affine.js';
import { elementCount, memoryStorage, tensorFromArray, type Tensor, type TensorStorage } from '../tensor/tensor.js';
import { flatChannels } from './dynamic-plan.js';
import { integerStorage } from './integer-storage.js';
import type { PlannedConstant } from './plan.js';
import { quantizeElements, type WeightRounding } from './weights.js';

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
  const dims = transposed ? exchangeLast(weight.dims) : weight.dims;
  const [scaleDims, zeroDims] = parameterDims(opType, weight.dims, planned.axis);
  return {
    integers: { dtype, dims, storage: storageOf(weight, flat.tensor, rounding, transposed) },
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

/** The integers. Those of an LSTM, whose matrices lie beside each other, are small enough to be turned in memory. */
function storageOf(weight: Tensor, flat: Tensor, rounding: WeightRounding, transposed: boolean): TensorStorage {
  const isMatrix = weight.dims.length === 2 && weight.dtype === 'float32' && rounding.axis !== 1;
  if (!transposed || isMatrix) return integerStorage(transposed ? weight : flat, rounding, transposed);
  const integers = quantizeElements(flat, rounding, 0, elementCount(flat.dims)) as Int8Array | Uint8Array;
  const turned = transposeLast(integers, weight.dims);
  return memoryStorage(new Uint8Array(turned.buffer, turned.byteOffset, turned.byteLength));
}

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
