import type { Node } from '../graph/model.js';
import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import { float32Tensor, int64Tensor, type Tensor } from '../tensor/tensor.js';
import { passResult, type Pass } from './pass.js';

/** Turns Constant nodes of the main graph into initializers, so that weights are found where other tools hide them. */
export const liftConstants: Pass = (model) => {
  const index = indexOf(model.graph);
  const editor = new GraphEditor(model.graph);
  const lifted: string[] = [];
  for (const node of model.graph.nodes) {
    const [output] = node.outputs;
    const tensor = constantValue(node);
    if (!tensor || !output || index.isOutput(output)) continue;
    editor.replace(node);
    editor.setInitializer(output, tensor);
    lifted.push(output);
  }
  if (lifted.length === 0) return { model, changes: [] };
  const message = `${lifted.length} Constant nodes became initializers`;
  return passResult(model, editor.finish(), [{ pass: 'lift-constants', names: lifted, message }]);
};

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
