import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Model } from '../graph/model.js';
import type { Tensor } from '../tensor/tensor.js';
import { passResult, type Change, type PassResult } from './pass.js';

/**
 * Lets all readers of inputs, those in bodies too, read constants instead. The inputs stay declared, so that callers may go on feeding them; an
 * output that hands an input on still does.
 */
export function freezeInputs(model: Model, values: ReadonlyMap<string, Tensor>): PassResult {
  if (values.size === 0) return { model, changes: [] };
  const editor = new GraphEditor(model.graph);
  const index = indexOf(model.graph);
  const changes: Change[] = [];
  for (const [name, tensor] of values) {
    editor.renameUses(name, editor.addInitializer(`${name}_frozen`, tensor));
    const readers = index.uses(name).length;
    changes.push({ pass: 'freeze-inputs', names: [name], message: readers === 0 ? 'no node reads the input' : 'nodes read a constant, and no longer what callers feed' });
  }
  return passResult(model, editor.finish(), changes);
}
