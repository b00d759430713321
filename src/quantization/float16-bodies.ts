import { mapSubgraphs } from '../graph/attributes.js';
import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';
import type { Names } from '../graph/names.js';
import { elementCount, type Tensor } from '../tensor/tensor.js';
import { halfTensor } from './float16-tensors.js';

/** Fewer elements are not worth a Cast. */
const MIN_ELEMENTS = 1024;

const FLOAT32_CODE = 1;

/** Whether a constant is float32 and so large that storing it in float16 pays for the Cast. */
export function isWorthHalving({ dtype, dims }: Tensor): boolean {
  return dtype === 'float32' && elementCount(dims) >= MIN_ELEMENTS;
}

/** The Cast that makes `half`, the float16 form of the constant `name`, float32 again, under a new name. */
export function widened(half: string, name: string, names: Names): Node {
  const output = names.unique(`${name}_f32`);
  return createNode({ name: names.unique(`${output}_Cast`), opType: 'Cast', inputs: [half], outputs: [output], attributes: { to: { kind: 'int', value: FLOAT32_CODE } } });
}

/**
 * A body, and the bodies inside it, with large float32 constants stored in float16 and cast back for those who read them. The runtime folds such a Cast
 * when it loads the model, so that runs are what they were. `note` hears of each constant.
 */
export function storeHalves(body: Graph, names: Names, note: (name: string, tensor: Tensor) => void): Graph {
  const index = indexOf(body);
  const editor = new GraphEditor(body, names);
  for (const node of body.nodes) {
    const inside = mapSubgraphs(node, (inner) => storeHalves(inner, names, note));
    if (inside !== node) editor.replace(node, inside);
  }
  for (const [name, tensor] of body.initializers) {
    if (!isWorthHalving(tensor) || index.isInput(name) || index.isOutput(name)) continue;
    const cast = widened(editor.addInitializer(`${name}_f16`, halfTensor(tensor)), name, names);
    editor.add(cast);
    editor.renameUses(name, cast.outputs[0]!);
    note(name, tensor);
  }
  return editor.finish();
}
