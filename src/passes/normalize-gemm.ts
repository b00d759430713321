import { floatAttribute, withAttributes } from '../graph/attributes.js';
import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf, type GraphIndex } from '../graph/graph-index.js';
import type { Node } from '../graph/model.js';
import { affineAlong } from '../tensor/affine-along.js';
import { passResult, type Change, type Pass } from './pass.js';

/**
 * Multiplies Gemm's alpha and beta into its constant weight and bias, and adds a bias that is computed with an Add of its own: next to a bias
 * the runtime's integer kernel takes neither factor, and no bias that varies.
 */
export const normalizeGemm: Pass = (model) => {
  const index = indexOf(model.graph);
  const editor = new GraphEditor(model.graph);
  const scaled: string[] = [];
  const split: string[] = [];
  for (const node of model.graph.nodes) {
    if (node.opType !== 'Gemm' || node.domain !== '') continue;
    const folded = withFactors(index, editor, node);
    if (folded !== node) scaled.push(node.name || node.outputs[0]!);
    const bias = folded.inputs[2];
    const isSplit = bias && floatAttribute(folded, 'beta', 1) === 1 && index.constant(node.inputs[2]!) === undefined;
    if (isSplit) {
      split.push(node.name || node.outputs[0]!);
      const product = editor.names.unique(`${node.outputs[0]}_product`);
      const add = createNode({ name: editor.names.unique(`${node.name || node.outputs[0]}_bias`), opType: 'Add', inputs: [product, bias], outputs: node.outputs });
      editor.replace(node, { ...withAttributes(folded, { beta: undefined }), inputs: folded.inputs.slice(0, 2), outputs: [product] }, add);
    } else if (folded !== node) {
      editor.replace(node, folded);
    }
  }
  const changes = [
    ...change(scaled, 'alpha and beta', 'were multiplied into their constants'),
    ...change(split, 'computed biases', 'are added by an Add of their own'),
  ];
  return changes.length === 0 ? { model, changes: [] } : passResult(model, editor.finish(), changes);
};

const change = (names: readonly string[], what: string, how: string): Change[] =>
  names.length === 0 ? [] : [{ pass: 'normalize-gemm', names, message: `${what} of ${names.length} Gemm nodes ${how}` }];

/** The node with alpha and beta in its constants; the same node where there are none, or where what they scale is computed. */
function withFactors(index: GraphIndex, editor: GraphEditor, node: Node): Node {
  const alpha = floatAttribute(node, 'alpha', 1);
  const beta = floatAttribute(node, 'beta', 1);
  const weight = index.constant(node.inputs[1] ?? '');
  const bias = node.inputs[2] ? index.constant(node.inputs[2]) : undefined;
  if ((alpha === 1 && beta === 1) || weight?.dtype !== 'float32') return node;
  if (node.inputs[2] && beta !== 1 && bias?.dtype !== 'float32') return node;
  const inputs = [...node.inputs];
  if (alpha !== 1) inputs[1] = editor.addInitializer(`${inputs[1]}_alpha`, affineAlong(weight, 0, [alpha]));
  if (bias && beta !== 1) inputs[2] = editor.addInitializer(`${inputs[2]}_beta`, affineAlong(bias, 0, [beta]));
  return { ...withAttributes(node, { alpha: undefined, beta: undefined }), inputs };
}
