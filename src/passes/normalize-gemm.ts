import { floatAttribute, withAttributes } from '../graph/attributes.js';
import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import { tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { passResult, type Pass } from './pass.js';

/** Multiplies Gemm's alpha and beta into its constant weight and bias: with alpha ≠ 1 the runtime has no integer kernel. */
export const normalizeGemm: Pass = (model) => {
  const index = indexOf(model.graph);
  const editor = new GraphEditor(model.graph);
  const changed: string[] = [];
  for (const node of model.graph.nodes) {
    if (node.opType !== 'Gemm' || node.domain !== '') continue;
    const alpha = floatAttribute(node, 'alpha', 1);
    const beta = floatAttribute(node, 'beta', 1);
    const weight = index.constant(node.inputs[1] ?? '');
    const bias = node.inputs[2] ? index.constant(node.inputs[2]) : undefined;
    if ((alpha === 1 && beta === 1) || weight?.dtype !== 'float32') continue;
    if (node.inputs[2] && beta !== 1 && bias?.dtype !== 'float32') continue;
    const inputs = [...node.inputs];
    if (alpha !== 1) inputs[1] = editor.addInitializer(`${inputs[1]}_alpha`, scaled(weight, alpha));
    if (bias && beta !== 1) inputs[2] = editor.addInitializer(`${inputs[2]}_beta`, scaled(bias, beta));
    editor.replace(node, { ...withAttributes(node, { alpha: undefined, beta: undefined }), inputs });
    changed.push(node.name || node.outputs[0]!);
  }
  if (changed.length === 0) return { model, changes: [] };
  const message = `alpha and beta of ${changed.length} Gemm nodes were multiplied into their constants`;
  return passResult(model, editor.finish(), [{ pass: 'normalize-gemm', names: changed, message }]);
};

function scaled(tensor: Tensor, factor: number): Tensor {
  return tensorFromArray('float32', tensor.dims, Float32Array.from(numbersOf(tensor), (value) => value * factor));
}
