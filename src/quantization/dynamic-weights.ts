import { integerScalar } from '../tensor/affine.js';
import { elementCount, tensorFromArray, typedArrayOf, type Tensor, type TypedArray } from '../tensor/tensor.js';
import { flatChannels } from './dynamic-plan.js';
import type { PlannedConstant } from './plan.js';
import { quantizeWeight } from './weights.js';

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
  const rounded = { ...quantizeWeight(flat.tensor, flat.axis, scales, dtype, planned.limit!), dims: weight.dims };
  const [scaleDims, zeroDims] = parameterDims(opType, weight.dims, planned.axis);
  return {
    integers: transposed ? transposeLast(rounded) : rounded,
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

/** The tensor with its last two axes exchanged; elements of one byte. */
export function transposeLast({ dtype, dims, ...tensor }: Tensor): Tensor {
  const [rows, columns] = dims.slice(-2) as [number, number];
  const source = typedArrayOf({ dtype, dims, ...tensor }) as Uint8Array | Int8Array;
  const target = source.slice();
  for (let start = 0; start < source.length; start += rows * columns) {
    for (let row = 0; row < rows; row++) {
      const from = start + row * columns;
      for (let column = 0; column < columns; column++) target[start + column * rows + row] = source[from + column]!;
    }
  }
  return tensorFromArray(dtype, [...dims.slice(0, -2), columns, rows], target as TypedArray);
}
