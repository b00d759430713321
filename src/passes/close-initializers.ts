import { GraphEditor } from '../graph/graph-editor.js';
import { passResult, type Pass } from './pass.js';

/**
 * Takes initializers out of the graph's inputs. Up to IR version 3 they had to be listed there, which lets callers override
 * them and therefore keeps the runtime from folding and fusing through them.
 */
export const closeInitializers: Pass = (model) => {
  const open = model.graph.inputs.map((value) => value.name).filter((name) => model.graph.initializers.has(name));
  if (open.length === 0) return { model, changes: [] };
  const editor = new GraphEditor(model.graph);
  editor.removeInputs(new Set(open));
  const message = `${open.length} initializers were also graph inputs, which blocks the runtime's own folding; they are constants now`;
  return passResult(model, editor.finish(), [{ pass: 'close-initializers', names: open, message }]);
};
