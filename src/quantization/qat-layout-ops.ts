import { intAttribute, intsAttribute } from '../graph/attributes.js';
import type { GraphIndex } from '../graph/graph-index.js';
import type { Node } from '../graph/model.js';
import { INTEGER_LIMITS, integerArray, type QuantizedType } from '../tensor/affine.js';
import type { DType } from '../tensor/dtype.js';
import { elementCount, tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';

/** Operators that rearrange or clip the elements of their first input, which `layoutOp` reads. */
const LAYOUT_OPS = new Set(['Transpose', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Identity', 'Clip']);

/** What a node does to a constant: it changes the order or the dimensions of elements, or clips them. */
export interface LayoutOp {
  readonly node: Node;
  /** The result for a tensor; undefined where its dimensions do not fit. */
  readonly apply: (tensor: Tensor) => Tensor | undefined;
  /** Where an axis of the tensor is in the result; undefined where it is merged with others or split. */
  readonly axisAfter: (dims: readonly number[], axis: number) => number | undefined;
}

/** Reads a node as such an operator; undefined for other nodes, and where its shape, axes or bounds are computed. */
export function layoutOp(index: GraphIndex, node: Node | undefined): LayoutOp | undefined {
  if (!node || node.domain !== '' || !LAYOUT_OPS.has(node.opType)) return undefined;
  if (node.inputs.slice(1).some((input) => input && index.constant(input) === undefined)) return undefined;
  const parameter = (i: number) => (node.inputs[i] ? Array.from(numbersOf(index.constant(node.inputs[i])!)) : undefined);
  if (node.opType === 'Transpose') return transposeOp(node);
  if (node.opType === 'Clip') {
    const [low, high] = [parameter(1)?.[0] ?? -Infinity, parameter(2)?.[0] ?? Infinity];
    return { node, apply: (tensor) => clipped(tensor, low, high), axisAfter: (_, axis) => axis };
  }
  const dimsAfter = (dims: readonly number[]) => reshapedDims(node, dims, parameter(1));
  return {
    node,
    apply: (tensor) => {
      const dims = dimsAfter(tensor.dims);
      return dims && elementCount(dims) === elementCount(tensor.dims) ? { dtype: tensor.dtype, dims, storage: tensor.storage } : undefined;
    },
    axisAfter: (dims, axis) => axisAfterReshape(dims, dimsAfter(dims) ?? [], axis),
  };
}

function transposeOp(node: Node): LayoutOp {
  const permutation = (dims: readonly number[]) => intsAttribute(node, 'perm') ?? dims.map((_, i) => dims.length - 1 - i);
  return {
    node,
    apply: (tensor) => (permutation(tensor.dims).length === tensor.dims.length ? transposed(tensor, permutation(tensor.dims)) : undefined),
    axisAfter: (dims, axis) => {
      const at = permutation(dims).indexOf(axis);
      return at < 0 ? undefined : at;
    },
  };
}

/** The axis with the same channels and as many elements before it; among several such axes of size 1 the first. */
function axisAfterReshape(before: readonly number[], after: readonly number[], axis: number): number | undefined {
  const outer = elementCount(before.slice(0, axis));
  const at = after.findIndex((dim, i) => dim === before[axis] && elementCount(after.slice(0, i)) === outer);
  return at < 0 ? undefined : at;
}

function reshapedDims(node: Node, dims: readonly number[], parameter: readonly number[] | undefined): number[] | undefined {
  const rank = dims.length;
  const axes = (intsAttribute(node, 'axes') ?? parameter)?.map((axis) => axis);
  switch (node.opType) {
    case 'Identity':
      return [...dims];
    case 'Flatten': {
      const axis = intAttribute(node, 'axis', 1);
      const at = axis < 0 ? axis + rank : axis;
      return [elementCount(dims.slice(0, at)), elementCount(dims.slice(at))];
    }
    case 'Squeeze': {
      const removed = new Set(axes?.map((axis) => (axis < 0 ? axis + rank : axis)));
      return dims.filter((dim, i) => (axes ? !removed.has(i) : dim !== 1));
    }
    case 'Unsqueeze': {
      if (!axes) return undefined;
      const added = new Set(axes.map((axis) => (axis < 0 ? axis + rank + axes.length : axis)));
      const rest = [...dims];
      return Array.from({ length: rank + axes.length }, (_, i) => (added.has(i) ? 1 : rest.shift()!));
    }
    case 'Reshape': {
      if (!parameter) return undefined;
      const keepsZero = intAttribute(node, 'allowzero', 0) !== 0;
      const target = parameter.map((dim, i) => (dim === 0 && !keepsZero ? (dims[i] ?? 0) : dim));
      const known = elementCount(target.filter((dim) => dim !== -1));
      return target.map((dim) => (dim === -1 ? elementCount(dims) / known : dim));
    }
    default:
      return undefined;
  }
}

function transposed(tensor: Tensor, permutation: readonly number[]): Tensor {
  const values = numbersOf(tensor);
  const { dims } = tensor;
  const strides = dims.map((_, i) => elementCount(dims.slice(i + 1)));
  const order = permutation.map((axis) => strides[axis]!);
  const shape = permutation.map((axis) => dims[axis]!);
  const result = new Float64Array(values.length);
  const position = shape.map(() => 0);
  for (let i = 0, from = 0; i < result.length; i++) {
    result[i] = values[from]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += order[axis]!;
      if (++position[axis]! < shape[axis]!) break;
      from -= order[axis]! * shape[axis]!;
      position[axis] = 0;
    }
  }
  return integerTensor(tensor.dtype, shape, result)!;
}

function clipped(tensor: Tensor, low: number, high: number): Tensor | undefined {
  return integerTensor(tensor.dtype, tensor.dims, Float64Array.from(numbersOf(tensor), (value) => Math.min(high, Math.max(low, value))));
}

/** A tensor of integers of 4, 8, 16 or 32 bits; undefined for other types. */
export function integerTensor(dtype: DType, dims: readonly number[], values: ArrayLike<number>): Tensor | undefined {
  if (dtype === 'int4' || dtype === 'uint4') {
    const packed = new Uint8Array(Math.ceil(values.length / 2));
    for (let i = 0; i < values.length; i++) packed[i >> 1]! |= (values[i]! & 15) << (4 * (i & 1));
    return tensorFromArray(dtype, dims, packed);
  }
  if (dtype === 'int32') return tensorFromArray(dtype, dims, Int32Array.from(values));
  if (!(dtype in INTEGER_LIMITS)) return undefined;
  const array = integerArray(dtype as QuantizedType, values.length);
  array.set(values);
  return tensorFromArray(dtype, dims, array);
}
