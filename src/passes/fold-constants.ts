import { subgraphsOf } from '../graph/attributes.js';
import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Graph, Model, Node } from '../graph/model.js';
import { passResult, type Evaluate, type PassResult } from './pass.js';

/** Folded values larger than this stay nodes: an Expand or ConstantOfShape can be far smaller than what it makes. */
const MAX_GROWTH_BYTES = 1 << 20;

/** Operators whose result is not a function of their inputs alone. */
const NOT_CONSTANT = /^(Random|Multinomial|Bernoulli|Dropout$|QuantizeLinear$|DequantizeLinear$)/;

/** Nodes that depend on constants only. Q/DQ pairs are left out: they say how a weight is to be stored. */
export function constantNodes(graph: Graph): Set<Node> {
  const index = indexOf(graph);
  const constant = new Set<string>();
  const found = new Set<Node>();
  for (const node of graph.nodes) {
    const isConstant =
      !NOT_CONSTANT.test(node.opType) &&
      subgraphsOf(node).length === 0 &&
      node.inputs.every((value) => value === '' || constant.has(value) || index.constant(value) !== undefined);
    if (!isConstant) continue;
    found.add(node);
    node.outputs.forEach((output) => constant.add(output));
  }
  return found;
}

/** Replaces what depends on constants only by its value, computed by the runtime itself. */
export async function foldConstants(model: Model, evaluate: Evaluate): Promise<PassResult> {
  const { graph } = model;
  const index = indexOf(graph);
  const nodes = constantNodes(graph);
  if (nodes.size === 0) return { model, changes: [] };
  const boundary = [...nodes].flatMap((node) =>
    node.outputs.length === 1 ? node.outputs.filter((output) => index.uses(output).some((use) => !nodes.has(use.node)) && !index.isOutput(output)) : [],
  );
  if (boundary.length === 0) return { model, changes: [] };
  const inputBytes = (node: Node) => node.inputs.reduce((sum, value) => sum + (index.constant(value)?.storage.byteLength ?? 0), 0);
  const source = { ...model, graph: { ...graph, nodes: [...nodes], inputs: [] } };
  const values = await evaluate(source, boundary);
  const editor = new GraphEditor(graph);
  const folded: string[] = [];
  for (const [name, tensor] of values) {
    const producer = index.producer(name);
    if (!producer || tensor.storage.byteLength > Math.max(MAX_GROWTH_BYTES, 2 * inputBytes(producer))) continue;
    editor.setInitializer(name, tensor);
    editor.replace(producer);
    folded.push(name);
  }
  if (folded.length === 0) return { model, changes: [] };
  const message = `${folded.length} values that depend on constants only were computed once and stored`;
  return passResult(model, editor.finish(), [{ pass: 'fold-constants', names: folded, message }]);
}
