import { intAttribute } from '../graph/attributes.js';
import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Model, Node } from '../graph/model.js';
import { passResult, type PassResult } from '../passes/pass.js';
import { prune } from '../passes/prune.js';
import { axisLayout } from '../tensor/slices.js';
import { float32Tensor, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { ruleOf } from './operator-rules.js';
import { isDequantizedValue } from './qat-pairs.js';
import { integerTensor } from './qat-layout-ops.js';
import { dequantizerOf, labelOf } from './qat-quantizer.js';

/** What float32 leaves of a whole multiple of a scale, as a share of the largest weight. */
const TOLERANCE = 2 ** -22;

/** Steps from 0 to the largest magnitude of a symmetric s8 weight. */
const MAX_STEPS = 127;

/** Weights of fewer channels' elements than this say too little about a grid. */
const MIN_ELEMENTS = 3;

/**
 * Stores float weights that are whole multiples of one scale a channel as integers: exporters that fold constants leave of a weight's fake quantization
 * only its result. The runtime would otherwise round such weights to a grid of its own. Only where the input is quantized, so that integers are of use.
 */
export function recoverGrids(model: Model): PassResult {
  const { graph } = model;
  const index = indexOf(graph);
  const editor = new GraphEditor(graph);
  const recovered: string[] = [];
  for (const node of graph.nodes) {
    const weight = index.constant(node.inputs[1] ?? '');
    if (ruleOf(node)?.kind !== 'compute' || weight?.dtype !== 'float32' || weight.dims.length < 2 || !isDequantizedValue(index, node.inputs[0]!)) continue;
    const axis = outputAxis(node, weight);
    const grid = gridOf(weight, axis);
    if (!grid) continue;
    const name = node.inputs[1]!;
    const output = editor.names.unique(`${name}_dq`);
    const inputs = [editor.addInitializer(`${name}_q`, grid.integers), editor.addInitializer(`${name}_scale`, grid.scales), editor.addInitializer(`${name}_zero`, grid.zeroPoints)];
    const { domain } = dequantizerOf(index, node.inputs[0])!.node;
    editor.add(createNode({ name: editor.names.unique(`${name}_DQ`), opType: 'DequantizeLinear', domain, inputs, outputs: [output], attributes: { axis: { kind: 'int', value: axis } } }));
    editor.replace(node, { ...node, inputs: node.inputs.map((input, i) => (i === 1 ? output : input)) });
    recovered.push(labelOf(node));
  }
  if (recovered.length === 0) return { model, changes: [] };
  const message = `${recovered.length} float weights are whole multiples of one scale a channel, as fake quantization leaves them, and are stored as these integers`;
  const result = passResult(model, editor.finish(), [{ pass: 'recover-grids', names: recovered, message }]);
  return { ...result, model: prune(result.model).model };
}

function outputAxis(node: Node, { dims }: Tensor): number {
  return node.opType === 'Conv' || intAttribute(node, 'transB', 0) !== 0 ? 0 : dims.length - 1;
}

/** The integers of a weight and the scale of each channel; undefined where a channel is on no grid of 8 bits. */
function gridOf(weight: Tensor, axis: number): { integers: Tensor; scales: Tensor; zeroPoints: Tensor } | undefined {
  const values = numbersOf(weight);
  const { channels, inner } = axisLayout(weight.dims, axis);
  if (channels === 0 || values.length / channels < MIN_ELEMENTS) return undefined;
  const scales = new Float32Array(channels);
  const integers = new Float64Array(values.length);
  for (let c = 0; c < channels; c++) {
    const places = Array.from({ length: values.length / channels }, (_, i) => (Math.floor(i / inner) * channels + c) * inner + (i % inner));
    const largest = places.reduce((most, i) => Math.max(most, Math.abs(values[i]!)), 0);
    if (!Number.isFinite(largest)) return undefined;
    const isOn = (scale: number) => places.every((i) => Math.abs(Math.round(values[i]! / scale) * scale - values[i]!) <= largest * TOLERANCE);
    let steps = 1;
    while (largest > 0 && steps <= MAX_STEPS && !isOn(largest / steps)) steps++;
    if (steps > MAX_STEPS) return undefined;
    scales[c] = largest > 0 ? largest / steps : 1;
    for (const i of places) integers[i] = Math.round(values[i]! / scales[c]!);
  }
  return { integers: integerTensor('int8', weight.dims, integers)!, scales: float32Tensor(scales), zeroPoints: integerTensor('int8', [channels], new Float64Array(channels))! };
}
