import { messageOf, QdqError } from '../errors.js';
import { mapSubgraphs, subgraphsOf } from '../graph/attributes.js';
import { capturedValues } from '../graph/graph-index.js';
import type { Graph } from '../graph/model.js';
import { topologicalOrder } from '../graph/topology.js';
import { passResult, type Pass } from './pass.js';

/**
 * Puts the nodes of a graph and its bodies in an order in which each value is made before it is read, as ONNX wants it and as all other passes
 * take it to be; some exporters write them in another. Throws QdqError('model-invalid') for values that depend on each other in a circle, that
 * are made twice, or that nothing makes.
 */
export const orderNodes: Pass = (model) => {
  const moved: string[] = [];
  const graph = ordered(model.graph, new Set(), moved);
  if (moved.length === 0) return { model, changes: [] };
  return passResult(model, graph, [{ pass: 'order-nodes', names: moved, message: `the nodes of ${moved.length} graphs were put in the order in which they run` }]);
};

function ordered(graph: Graph, outer: ReadonlySet<string>, moved: string[]): Graph {
  const known = new Set([...outer, ...ownValues(graph)]);
  for (const node of graph.nodes) {
    for (const value of node.inputs) if (value && !known.has(value)) throw invalid(`${node.opType} "${node.name || node.outputs[0]}" reads "${value}", which nothing makes`);
  }
  for (const { name } of graph.outputs) if (!known.has(name)) throw invalid(`nothing makes the output "${name}"`);
  let nodes = graph.nodes.map((node) => mapSubgraphs(node, (body) => ordered(body, known, moved)));
  let changed = nodes.some((node, i) => node !== graph.nodes[i]);
  if (!isOrdered(graph)) {
    try {
      nodes = topologicalOrder(nodes);
    } catch (error) {
      throw invalid(messageOf(error));
    }
    moved.push(graph.name);
    changed = true;
  }
  return changed ? { ...graph, nodes } : graph;
}

/** Names of the values that a graph itself defines; throws where two things make one. */
function ownValues(graph: Graph): Set<string> {
  const inputs = new Set<string>();
  for (const { name } of graph.inputs) {
    if (inputs.has(name)) throw invalid(`the input "${name}" is listed twice`);
    inputs.add(name);
  }
  const own = new Set([...inputs, ...graph.initializers.keys(), ...graph.sparseInitializers]);
  for (const node of graph.nodes) {
    for (const output of node.outputs) {
      if (!output) continue;
      if (own.has(output)) throw invalid(`"${output}" is made by ${node.opType} "${node.name || output}" and by something else`);
      own.add(output);
    }
  }
  return own;
}

function isOrdered(graph: Graph): boolean {
  const later = new Set(graph.nodes.flatMap((node) => node.outputs));
  for (const node of graph.nodes) {
    if (node.inputs.some((value) => value && later.has(value))) return false;
    for (const body of subgraphsOf(node)) for (const value of capturedValues(body)) if (later.has(value)) return false;
    for (const output of node.outputs) later.delete(output);
  }
  return true;
}

function invalid(what: string): QdqError {
  return new QdqError('model-invalid', `the graph is invalid: ${what}`, 'Export the model again; the file may be damaged.');
}
