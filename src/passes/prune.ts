import { mapSubgraphs, subgraphsOf } from '../graph/attributes.js';
import { capturedValues } from '../graph/graph-index.js';
import { GraphEditor } from '../graph/graph-editor.js';
import type { Graph } from '../graph/model.js';
import { passResult, type Pass } from './pass.js';

/** Removes nodes from which no output of their graph or body can be reached. */
export const prune: Pass = (model) => {
  const removed: string[] = [];
  const graph = pruneGraph(model.graph, removed);
  if (removed.length === 0) return { model, changes: [] };
  return passResult(model, graph, [{ pass: 'prune', names: removed, message: `${removed.length} nodes that reach no output were removed` }]);
};

function pruneGraph(graph: Graph, removed: string[]): Graph {
  const editor = new GraphEditor(graph);
  const live = new Set(graph.outputs.map((output) => output.name));
  const dead: string[] = [];
  let edited = false;
  for (const node of [...graph.nodes].reverse()) {
    if (!node.outputs.some((output) => live.has(output))) {
      editor.replace(node);
      dead.push(node.name || node.outputs[0] || node.opType);
      continue;
    }
    const kept = mapSubgraphs(node, (body) => pruneGraph(body, removed));
    if (kept !== node) {
      editor.replace(node, kept);
      edited = true;
    }
    node.inputs.forEach((input) => input && live.add(input));
    for (const body of subgraphsOf(kept)) capturedValues(body).forEach((value) => live.add(value));
  }
  removed.push(...dead.reverse());
  return edited || dead.length > 0 ? editor.finish() : graph;
}
