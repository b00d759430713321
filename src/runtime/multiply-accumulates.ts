import { intsAttribute } from '../graph/attributes.js';
import type { Graph, Node } from '../graph/model.js';
import type { Tensor } from '../tensor/tensor.js';
import { elementCount } from '../tensor/tensor.js';
import { constantBehind } from './constant-behind.js';
import type { ProfiledNode } from './profile.js';

/**
 * Multiply–accumulates of one run of a compute node, from the shapes that its kernel saw:
 * convolution N · spatial · |weight|, product outputs · K, recurrent T · B · (|W| + |R|), attention (|Q| + |Y|) · keys and what projects its input.
 * Null for operators without a formula here.
 */
export function multiplyAccumulates(node: Node, graph: Graph, kernel: ProfiledNode): number | null {
  const output = kernel.outputs[0]?.dims;
  const input = kernel.inputs[0]?.dims;
  if (!output || !input) return null;
  if (/Conv/.test(node.opType)) {
    const weight = weightOf(node, graph)?.dims ?? computedWeight(kernel);
    if (!weight) return null;
    const transposed = /Transpose/.test(node.opType);
    const positions = transposed ? positionsOf(input, weight[0]!) : positionsOf(output, weight[0]!);
    return positions * elementCount(weight);
  }
  if (/MatMul|Gemm/.test(node.opType)) return elementCount(output) * productDepth(input, output);
  if (/LSTM|GRU|RNN/.test(node.opType)) {
    const [sequence = 1, batch = 1] = input;
    const weights = [1, 2].map((i) => graph.initializers.get(node.inputs[i]!)?.dims ?? kernel.inputs[i]?.dims);
    return weights.every((dims) => dims !== undefined) ? sequence * batch * weights.reduce((sum, dims) => sum + elementCount(dims), 0) : null;
  }
  if (/^(Q|MultiHead)?Attention$/.test(node.opType)) return attentionProducts(node, graph, kernel, input, output);
  return null;
}

/**
 * Products of one attention node: queries by keys, and what comes of it by values. `Attention` of com.microsoft and QAttention project their input
 * first, by one weight for queries, keys and values.
 */
function attentionProducts(node: Node, graph: Graph, kernel: ProfiledNode, input: readonly number[], output: readonly number[]): number | null {
  // With past keys the second output holds all of them, in the last axis but one.
  const present = kernel.outputs[1]?.dims.at(-2);
  if (node.domain !== '' && node.opType !== 'MultiHeadAttention') {
    const weight = constantBehind(graph, node.inputs[1] ?? '')?.tensor.dims ?? kernel.inputs[1]?.dims;
    const [batch, length] = input;
    if (weight?.length !== 2 || batch === undefined || length === undefined) return null;
    const queries = intsAttribute(node, 'qkv_hidden_sizes')?.[0] ?? weight[1]! / 3;
    return batch * length * (elementCount(weight) + (present ?? length) * (queries + output.at(-1)!));
  }
  // Packed: queries, keys and values in one.
  if (input.length === 5) return ((present ?? input[1]!) * 2 * elementCount(input)) / 3;
  const key = kernel.inputs[1]?.dims;
  const keys = present ?? key?.[key.length === 4 ? 2 : 1];
  return keys === undefined ? null : keys * (elementCount(input) + elementCount(output));
}

/** K of a product of [M, K], or of [K, M] that the kernel turns around, that gives [M, N]; vectors have their length. */
function productDepth(input: readonly number[], output: readonly number[]): number {
  const [rows, columns] = input.slice(-2);
  if (rows === undefined || columns === undefined || output.length < input.length) return input.at(-1) ?? 1;
  const outputRows = output.at(-2)!;
  return outputRows === 0 ? 0 : (rows * columns) / outputRows;
}

/** Batch times spatial positions, whether channels come second, last, or second and padded to the kernel's block. */
function positionsOf(dims: readonly number[], channels: number): number {
  const axis = dims[1] !== channels && dims.at(-1) === channels ? dims.length - 1 : 1;
  return elementCount(dims.filter((_, i) => i !== axis));
}

/** The weight of a convolution: its largest constant, seen through what it passes on its way. */
function weightOf(node: Node, graph: Graph): Tensor | undefined {
  const constants = node.inputs.flatMap((input) => constantBehind(graph, input)?.tensor ?? []);
  return constants.filter((tensor) => tensor.dims.length > 2).sort((a, b) => b.storage.byteLength - a.storage.byteLength)[0];
}

/** Shape of a weight that is computed, as the kernel received it. */
function computedWeight({ opType, inputs }: ProfiledNode): readonly number[] | undefined {
  return inputs[opType.includes('QLinear') ? 3 : 1]?.dims;
}
