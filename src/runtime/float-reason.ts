import { indexOf, type GraphIndex } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';
import { isBlockProduct, isDequantize, isQuantize } from './kernels.js';

/** Operators that have no integer kernel in any arrangement. */
const NEVER_INTEGER = new Set(['ConvTranspose', 'GRU', 'RNN']);

/** In words, why a compute node runs in float, from the graph around it. */
export function floatReason(node: Node, graph: Graph): string {
  const index = indexOf(graph);
  if (NEVER_INTEGER.has(node.opType)) return `${node.opType} has no integer kernel in onnxruntime`;
  if (node.opType === 'LSTM') return 'LSTM runs on integers only as DynamicQuantizeLSTM';
  if (isBlockProduct(node)) return 'its weights are integers that are dequantized for each product: only accuracy level 4 multiplies integers';
  const products = node.inputs.slice(0, 2).filter(Boolean);
  const unquantized = products.filter((value) => !isDequantized(index, value));
  if (unquantized.length === products.length) return 'neither its input nor its weight is quantized';
  if (unquantized.length > 0) {
    const [value] = unquantized;
    return index.constant(value!) ? `its weight "${value}" is float32` : `its input "${value}" is not quantized`;
  }
  const floatReaders = node.outputs.flatMap((output) => index.uses(output)).filter((use) => !isQuantize(use.node));
  const isOutput = node.outputs.some((output) => index.isOutput(output));
  if (isOutput) return 'its output is a graph output and does not pass through QuantizeLinear';
  if (floatReaders.length > 0) return `its output is read by ${floatReaders[0]!.node.opType} without QuantizeLinear in between`;
  return 'onnxruntime did not fuse its QuantizeLinear and DequantizeLinear nodes: their types, scales or axes do not fit an integer kernel';
}

/** Whether a DequantizeLinear makes a value. */
export function isDequantized(index: GraphIndex, value: string): boolean {
  const producer = index.producer(value);
  return producer !== undefined && isDequantize(producer);
}
