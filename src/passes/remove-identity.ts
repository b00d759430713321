import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Node } from '../graph/model.js';
import { passResult, type Pass } from './pass.js';

/** Removes Identity nodes, and Dropout nodes whose mask nobody reads. An Identity that names a graph output stays. */
export const removeIdentity: Pass = (model) => {
  const index = indexOf(model.graph);
  const editor = new GraphEditor(model.graph);
  const removed: string[] = [];
  for (const node of model.graph.nodes) {
    const [input] = node.inputs;
    const [output] = node.outputs;
    if (!input || !output || !isIdentity(node) || index.isOutput(output)) continue;
    editor.replace(node);
    editor.renameUses(output, input);
    removed.push(node.name || output);
  }
  if (removed.length === 0) return { model, changes: [] };
  const message = `${removed.length} nodes that pass their input on were removed`;
  return passResult(model, editor.finish(), [{ pass: 'remove-identity', names: removed, message }]);

  function isIdentity(node: Node): boolean {
    if (node.domain !== '') return false;
    if (node.opType === 'Identity') return true;
    // A third input of Dropout can switch it to training, which is not a pass-through.
    return node.opType === 'Dropout' && !node.inputs[2] && !(node.outputs[1] && index.isRead(node.outputs[1]));
  }
};
