import { indexOf } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';
import type { Tensor } from '../tensor/tensor.js';
import { isDequantize, isQuantize } from './kernels.js';

/** Operators that only rearrange a weight on its way to the node that multiplies by it. */
const REARRANGES = new Set(['Identity', 'Transpose', 'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten']);

/** A constant and what it passes through before it is read. */
export interface ConstantBehind {
  readonly name: string;
  readonly tensor: Tensor;
  /** The last DequantizeLinear on the way. */
  readonly dequantize: Node | undefined;
  /** The QuantizeLinear on the way, where the constant is float and quantized when the model is loaded. */
  readonly quantize: Node | undefined;
}

/**
 * The constant that a value comes from, seen through Q, DQ and what rearranges it; undefined where the value is computed from inputs.
 * Initializers that callers may override count too.
 */
export function constantBehind(graph: Graph, value: string): ConstantBehind | undefined {
  const index = indexOf(graph);
  let dequantize: Node | undefined;
  let quantize: Node | undefined;
  for (let name = value; name; ) {
    const tensor = index.constant(name) ?? graph.initializers.get(name);
    if (tensor) return { name, tensor, dequantize, quantize };
    const producer = index.producer(name);
    if (!producer) return undefined;
    if (isDequantize(producer)) dequantize ??= producer;
    else if (isQuantize(producer)) quantize = producer;
    else if (!REARRANGES.has(producer.opType)) return undefined;
    name = producer.inputs[0] ?? '';
  }
  return undefined;
}
