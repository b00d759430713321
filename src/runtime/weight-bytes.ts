import { subgraphsOf } from '../graph/attributes.js';
import { indexOf, type GraphIndex } from '../graph/graph-index.js';
import type { Graph } from '../graph/model.js';
import { isFloat, isQuantizedType } from '../tensor/dtype.js';
import { bytesOf, type Tensor } from '../tensor/tensor.js';
import type { IntegerReport } from './integer-report.js';
import { isDequantize } from './kernels.js';

/** Bytes of the weights of a graph, and of those among them that are integers; constants in bodies count too. */
export function weightBytes(graph: Graph): Pick<IntegerReport['weightBytes'], 'total' | 'integer'> {
  const stored = [...weightsOf(graph)];
  return { total: bytesOf(stored), integer: bytesOf(stored.filter(isInteger)) };
}

const isInteger = ({ dtype }: Tensor) => dtype === 'int32' || isQuantizedType(dtype);

/** Constants that stand for real numbers: floats, their quantized forms with scales and zero points, and biases of 32 bits; no shapes, indexes or text. */
function* weightsOf(graph: Graph): Generator<Tensor> {
  const index = indexOf(graph);
  const isWeight = (name: string, { dtype }: Tensor) => isFloat(dtype) || isQuantizedType(dtype) || (dtype === 'int32' && isBias(index, name));
  for (const [name, tensor] of graph.initializers) if (isWeight(name, tensor)) yield tensor;
  for (const node of graph.nodes) {
    for (const attribute of node.attributes.values()) {
      if (attribute.kind === 'tensor' && isWeight(node.outputs[0] ?? '', attribute.value)) yield attribute.value;
    }
    for (const body of subgraphsOf(node)) yield* weightsOf(body);
  }
}

/** Whether a convolution or product on integers adds these 32-bit integers, or a DequantizeLinear makes them floats. */
function isBias(index: GraphIndex, name: string): boolean {
  return index.uses(name).some(({ node, input }) => (isDequantize(node) && input === 0) || (ADDS_BIAS.has(node.opType) && input > 0));
}

/** Integer kernels that take a bias of 32 bits. */
const ADDS_BIAS: ReadonlySet<string> = new Set(['QLinearConv', 'NhwcQLinearConv', 'QGemm']);
