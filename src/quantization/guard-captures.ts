import { mapSubgraphs, subgraphsOf } from '../graph/attributes.js';
import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf, type GraphIndex } from '../graph/graph-index.js';
import type { Graph, Model, Node } from '../graph/model.js';
import { Names } from '../graph/names.js';
import { isDequantizeLinear } from './qat-quantizer.js';

/** What onnxruntime moves DequantizeLinear through. Source: core/optimizer/qdq_transformer/qdq_propagation.cc of onnxruntime 1.30. */
const MOVES_DEQUANTIZE: ReadonlySet<string> = new Set(['MaxPool', 'Reshape', 'Transpose', 'Squeeze', 'Unsqueeze', 'Slice']);

/**
 * Puts a pair of Q and DQ behind nodes that only move what a DequantizeLinear gives and that bodies capture. onnxruntime would put one there itself,
 * takes the capture for an input of the node with the body, and ends the process. The pair rounds to what the values are already.
 */
export function guardCaptures(model: Model): Model {
  if (!hasBodies(model.graph)) return model;
  const names = new Names(model.graph);
  const guard = (graph: Graph): Graph => (hasBodies(graph) ? guardGraph({ ...graph, nodes: graph.nodes.map((node) => mapSubgraphs(node, guard)) }, names) : graph);
  return { ...model, graph: guard(model.graph) };
}

const hasBodies = ({ nodes }: Graph) => nodes.some((node) => subgraphsOf(node).length > 0);

function guardGraph(graph: Graph, names: Names): Graph {
  const index = indexOf(graph);
  const editor = new GraphEditor(graph, names);
  let isGuarded = false;
  for (const node of graph.nodes) {
    const [value] = node.outputs;
    const dequantize = value !== undefined && index.uses(value).some(({ input }) => input < 0) ? movedDequantize(index, node) : undefined;
    if (!value || !dequantize) continue;
    const [moved, quantized] = [names.unique(`${value}_moved`), names.unique(`${value}_q`)];
    const { domain, inputs: [, ...parameters] } = dequantize;
    const half = (opType: string, input: string, output: string) => createNode({ name: names.unique(`${value}_${opType}`), opType, domain, inputs: [input, ...parameters], outputs: [output] });
    editor.replace(node, { ...node, outputs: [moved, ...node.outputs.slice(1)] }, half('QuantizeLinear', moved, quantized), half('DequantizeLinear', quantized, value));
    isGuarded = true;
  }
  return isGuarded ? editor.finish() : graph;
}

/** The DequantizeLinear, of one scale, whose result a node only moves; undefined where there is none. */
function movedDequantize(index: GraphIndex, node: Node): Node | undefined {
  let before: Node | undefined = node;
  while (before && MOVES_DEQUANTIZE.has(before.opType) && before.domain === '') before = index.producer(before.inputs[0] ?? '');
  return before && before !== node && isDequantizeLinear(before) && before.attributes.size === 0 && index.constant(before.inputs[1] ?? '')?.dims.length !== 1 ? before : undefined;
}
