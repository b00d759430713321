import { mapSubgraphs } from '../graph/attributes.js';
import type { Graph, Node } from '../graph/model.js';
import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import { float32Tensor, int64Tensor, type Tensor } from '../tensor/tensor.js';
import { passResult, type Pass } from './pass.js';

/** Turns Constant nodes into initializers, in bodies too, so that weights are found where other tools hide them. */
export const liftConstants: Pass = (model) => {
  const lifted: string[] = [];
  const graph = lift(model.graph, lifted);
  if (lifted.length === 0) return { model, changes: [] };
  const message = `${lifted.length} Constant nodes became initializers`;
  return passResult(model, graph, [{ pass: 'lift-constants', names: lifted, message }]);
};

function lift(graph: Graph, lifted: string[]): Graph {
  const index = indexOf(graph);
  const editor = new GraphEditor(graph);
  let edited = false;
  for (const original of graph.nodes) {
    const [output] = original.outputs;
    const tensor = constantValue(original);
    if (tensor && output && !index.isOutput(output)) {
      editor.replace(original);
      editor.setInitializer(output, tensor);
      lifted.push(output);
      edited = true;
      continue;
    }
    const node = mapSubgraphs(original, (body) => lift(body, lifted));
    if (node === original) continue;
    editor.replace(original, node);
    edited = true;
  }
  return edited ? editor.finish() : graph;
}

/** The tensor of a Constant node; undefined for other nodes and for sparse or string constants. */
export function constantValue(node: Node): Tensor | undefined {
  if (node.opType !== 'Constant' || node.domain !== '') return undefined;
  const [attribute] = node.attributes.values();
  switch (attribute?.kind) {
    case 'tensor':
      return attribute.value.dtype === 'string' ? undefined : attribute.value;
    case 'float':
    case 'floats':
      return float32Tensor(attribute.value);
    case 'int':
      return int64Tensor(attribute.value);
    case 'ints':
      return int64Tensor(attribute.value);
    default:
      return undefined;
  }
}
