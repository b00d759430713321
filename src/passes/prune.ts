import { subgraphsOf } from '../graph/attributes.js';
import { capturedValues } from '../graph/graph-index.js';
import { GraphEditor } from '../graph/graph-editor.js';
import { passResult, type Pass } from './pass.js';

/** Removes nodes from which no graph output can be reached. */
export const prune: Pass = (model) => {
  const { graph } = model;
  const live = new Set(graph.outputs.map((output) => output.name));
  const dead = [...graph.nodes].reverse().filter((node) => {
    if (!node.outputs.some((output) => live.has(output))) return true;
    node.inputs.forEach((input) => input && live.add(input));
    for (const body of subgraphsOf(node)) capturedValues(body).forEach((value) => live.add(value));
    return false;
  });
  if (dead.length === 0) return { model, changes: [] };
  const editor = new GraphEditor(graph);
  for (const node of dead) editor.replace(node);
  const names = dead.reverse().map((node) => node.name || node.outputs[0] || node.opType);
  return passResult(model, editor.finish(), [{ pass: 'prune', names, message: `${dead.length} nodes that reach no output were removed` }]);
};
