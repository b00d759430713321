import { intAttribute, withAttributes } from '../graph/attributes.js';
import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf, soleReader, type GraphIndex } from '../graph/graph-index.js';
import type { Model, Node } from '../graph/model.js';
import { passResult, type PassResult } from '../passes/pass.js';
import { prune } from '../passes/prune.js';
import { float32Tensor, tensorFromArray } from '../tensor/tensor.js';
import { integerTensor } from './qat-layout-ops.js';
import { dequantizerOf, integerLimits, isDequantizeLinear, isQuantizeLinear, labelOf, quantizerOf } from './qat-quantizer.js';
import type { ValueTypes } from './select.js';

/**
 * Takes the scales of activations with one for each channel out of their Q/DQ: x is divided by them before a Q of scale 1, and multiplied by them
 * behind its DQ, which is what Q and DQ do. The runtime makes integer kernels of convolutions beside such pairs all the same, and these fail when they
 * run. Where the reader is a depthwise convolution the factors go into the scales of its weight, and it runs on integers.
 */
export function takeOutChannelScales(model: Model, types: ValueTypes): PassResult {
  const { graph } = model;
  const index = indexOf(graph);
  const editor = new GraphEditor(graph);
  const taken: string[] = [];
  for (const quantize of graph.nodes.filter(isQuantizeLinear)) {
    const [value = ''] = quantize.inputs;
    const [integers = ''] = quantize.outputs;
    const quantizer = quantizerOf(index, quantize);
    const type = types.get(value);
    const rank = type?.kind === 'tensor' ? (type.shape?.length ?? 0) : 0;
    const limits = quantizer && integerLimits(quantizer.dtype);
    if (!limits || quantizer.axis === null || quantizer.blockSize > 0 || rank < 2 || index.constant(value) || index.isOutput(integers)) continue;
    const readers = index.uses(integers).map(({ node }) => node);
    if (!readers.every((node) => isDequantizeLinear(node) && sameNumbers(quantizerOf(index, node)?.scales, quantizer.scales))) continue;
    const axis = quantizer.axis < 0 ? quantizer.axis + rank : quantizer.axis;
    const scales = Float32Array.from(quantizer.scales);
    const factors = editor.addInitializer(`${value}_scales`, tensorFromArray('float32', [scales.length, ...new Array<number>(rank - axis - 1).fill(1)], scales));
    const zeroPoints = Array.from(quantizer.zeroPoints);
    const isOne = zeroPoints.every((zero) => zero === zeroPoints[0]);
    const parameters = [
      editor.addInitializer(`${value}_one`, isOne ? float32Tensor(1) : float32Tensor(scales.map(() => 1))),
      editor.addInitializer(`${value}_zero`, integerTensor(quantizer.dtype, isOne ? [] : [scales.length], isOne ? zeroPoints.slice(0, 1) : zeroPoints)!),
    ];
    const divided = editor.names.unique(`${value}_divided`);
    const divide = (from: string, to: string) => createNode({ name: editor.names.unique(`${labelOf(quantize)}_Div`), opType: 'Div', inputs: [from, factors], outputs: [to] });
    const relu = index.producer(value);
    if (relu?.opType === 'Relu' && relu.domain === '' && soleReader(index, value) === quantize) {
      // Behind a convolution the division goes into its scales.
      const before = editor.names.unique(`${value}_before`);
      editor.replace(relu, divide(relu.inputs[0]!, before), { ...relu, inputs: [before], outputs: [divided] });
      editor.replace(quantize, { ...quantize, inputs: [divided, ...parameters] });
    } else {
      editor.replace(quantize, divide(value, divided), { ...quantize, inputs: [divided, ...parameters] });
    }
    for (const dequantize of readers) {
      const [output = ''] = dequantize.outputs;
      const raw = editor.names.unique(`${output}_raw`);
      const multiply = createNode({ name: editor.names.unique(`${labelOf(dequantize)}_Mul`), opType: 'Mul', inputs: [raw, factors], outputs: [output] });
      editor.replace(dequantize, { ...dequantize, inputs: [integers, ...parameters], outputs: [raw] }, multiply);
      if (!isOne || axis !== 1) continue;
      for (const { node, input } of index.uses(output)) if (input === 0) foldIntoDepthwise(editor, index, node, raw, scales);
    }
    taken.push(labelOf(quantize));
  }
  if (taken.length === 0) return { model, changes: [] };
  const message = `${taken.length} activations with a scale for each channel are divided and multiplied by these apart: no integer kernel takes them, and the runtime fuses kernels that fail`;
  const result = passResult(model, editor.finish(), [{ pass: 'channel-scales', names: taken, message }]);
  return { ...result, model: prune(result.model).model };
}

function sameNumbers(a: ArrayLike<number> | undefined, b: ArrayLike<number>): boolean {
  return a?.length === b.length && Array.from(b).every((value, i) => value === a[i]);
}

/** Lets a depthwise convolution read a value before it is multiplied by `factors`, which go into the scales of its weight. */
function foldIntoDepthwise(editor: GraphEditor, index: GraphIndex, conv: Node, value: string, factors: Float32Array): void {
  const weight = conv.opType === 'Conv' && conv.domain === '' ? dequantizerOf(index, conv.inputs[1]) : undefined;
  const integers = weight && index.constant(weight.node.inputs[0]!);
  if (!integers || weight.blockSize > 0 || integers.dims[1] !== 1 || intAttribute(conv, 'group', 1) !== factors.length) return;
  if (weight.axis !== null && weight.axis !== 0 && weight.axis !== -integers.dims.length) return;
  const channels = integers.dims[0]!;
  const of = (values: ArrayLike<number>, c: number) => values[values.length === 1 ? 0 : c]!;
  const scales = Float32Array.from({ length: channels }, (_, c) => of(weight.scales, c) * factors[Math.floor((c * factors.length) / channels)]!);
  if (!scales.every((scale) => scale > 0 && Number.isFinite(scale))) return;
  const name = conv.inputs[1]!;
  const output = editor.names.unique(name);
  const inputs = [
    weight.node.inputs[0]!,
    editor.addInitializer(`${name}_scale`, float32Tensor(scales)),
    editor.addInitializer(`${name}_zero`, integerTensor(weight.dtype, [channels], Array.from(scales, (_, c) => of(weight.zeroPoints, c)))!),
  ];
  const dequantize = createNode({ name: editor.names.unique(`${name}_DQ`), opType: 'DequantizeLinear', domain: weight.node.domain, inputs, outputs: [output] });
  editor.add(withAttributes(dequantize, { axis: { kind: 'int', value: 0 } }));
  editor.replace(conv, { ...conv, inputs: [value, output, ...conv.inputs.slice(2)] });
}
