import { withAttributes } from '../graph/attributes.js';
import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf, soleReader, type GraphIndex } from '../graph/graph-index.js';
import type { Model, Node } from '../graph/model.js';
import { channelAffine, type ChannelAffine } from '../passes/fold-into-convolution.js';
import { passResult, type Change, type PassResult } from '../passes/pass.js';
import { prune } from '../passes/prune.js';
import { float32Tensor, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { integerTensor } from './qat-layout-ops.js';
import { dequantizerOf, integerLimits, isQuantizeLinear, labelOf, type Quantizer } from './qat-quantizer.js';

const PASS = 'fold-into-integer-convolution';

/** Training divides by the scale of the batch norm and multiplies by it again; what is left over of float32 rounding is no scale. */
const IS_ONE = 4 * 2 ** -23;

/** Smallest scale that is no denormal float32. */
const SMALLEST_SCALE = 2 ** -126;

/**
 * Folds what follows a convolution with integer weights channel by channel (BatchNormalization; Mul, Div, Add and Sub by constants), which
 * training with fused batch norms leaves behind. The integers stay: a factor goes into the scales of the channels, where it is 1 they stay
 * too, and the rest goes into the bias. What cannot be folded so is listed with the reason.
 */
export function foldFollowers(model: Model): PassResult {
  const { graph } = model;
  const index = indexOf(graph);
  const editor = new GraphEditor(graph);
  const folded: string[] = [];
  const left: Change[] = [];
  for (const conv of graph.nodes) {
    if (conv.domain !== '' || conv.opType !== 'Conv') continue;
    const weight = dequantizerOf(index, conv.inputs[1]);
    const integers = weight && index.constant(weight.node.inputs[0]!);
    if (!weight || !integers) continue;
    const chain = followersOf(index, conv, integers);
    if (chain.nodes.length === 0) {
      const stopped = batchNormBehind(index, conv.outputs[0]!);
      if (stopped) left.push({ pass: PASS, names: [labelOf(stopped.node)], message: `stays a float operator: ${stopped.reason}` });
      continue;
    }
    const constants = foldedInto(index, conv, weight, integers, chain.affine);
    if (typeof constants === 'string') {
      left.push({ pass: PASS, names: chain.nodes.map(labelOf), message: `stays a float operator: ${constants}` });
      continue;
    }
    const last = chain.nodes.at(-1)!;
    const hint = conv.inputs[1]!;
    const inputs = [conv.inputs[0]!, hint, editor.addInitializer(`${labelOf(conv)}_bias`, constants.bias)];
    if (constants.scales) {
      const scale = editor.addInitializer(`${hint}_scale`, constants.scales);
      const zeroPoint = editor.addInitializer(`${hint}_zero`, constants.zeroPoints);
      const stored = constants.integers === integers ? weight.node.inputs[0]! : editor.addInitializer(`${hint}_q`, constants.integers);
      inputs[1] = editor.names.unique(hint);
      const { domain } = weight.node;
      const dequantize = createNode({ name: editor.names.unique(`${hint}_DQ`), opType: 'DequantizeLinear', domain, inputs: [stored, scale, zeroPoint], outputs: [inputs[1]] });
      editor.add(withAttributes(dequantize, { axis: { kind: 'int', value: 0 } }));
    }
    editor.replace(conv, { ...conv, inputs, outputs: last.outputs });
    for (const node of chain.nodes) editor.replace(node);
    folded.push(...chain.nodes.map(labelOf));
  }
  if (folded.length === 0) return { model, changes: left };
  const message = `${folded.length} per-channel operators were folded into the scales and biases of the integer convolutions before them`;
  const result = passResult(model, editor.finish(), [{ pass: PASS, names: folded, message }, ...left]);
  return { ...result, model: prune(result.model).model };
}

/** The per-channel operators after a convolution, up to the first that is something else, and what they come to together. */
function followersOf(index: GraphIndex, conv: Node, weight: Tensor): { nodes: Node[]; affine: ChannelAffine } {
  const channels = weight.dims[0]!;
  const scale = new Float64Array(channels).fill(1);
  const shift = new Float64Array(channels);
  const nodes: Node[] = [];
  for (let output = conv.outputs[0]!; ; ) {
    const follower = soleReader(index, output);
    // The affine of a follower is asked for as if it stood right behind the convolution.
    const affine = follower && channelAffine(index, follower, { ...conv, outputs: [output] }, weight);
    if (!affine) return { nodes, affine: { scale, shift } };
    for (let c = 0; c < channels; c++) {
      scale[c]! *= affine.scale[c]!;
      shift[c] = shift[c]! * affine.scale[c]! + affine.shift[c]!;
    }
    nodes.push(follower);
    output = follower.outputs[0]!;
  }
}

interface FoldedConstants {
  readonly integers: Tensor;
  /** Undefined where the scales stay as they are. */
  readonly scales: Tensor | undefined;
  readonly zeroPoints: Tensor;
  readonly bias: Tensor;
}

/** The constants after folding, or why it would not be exact. */
function foldedInto(index: GraphIndex, conv: Node, weight: Quantizer, integers: Tensor, { scale, shift }: ChannelAffine): FoldedConstants | string {
  const channels = scale.length;
  if (weight.blockSize > 0 || (weight.axis !== null && weight.axis !== 0 && weight.axis !== -integers.dims.length)) return 'the scales of the weight are not for output channels';
  const limits = integerLimits(weight.dtype);
  if (!limits) return `weights of ${weight.dtype} have no integer kernel`;
  const before = biasValues(index, conv, channels);
  if (!before) return 'the bias of the convolution is not constant';
  const of = (values: ArrayLike<number>, c: number) => values[values.length === 1 ? 0 : c]!;
  const bias = Float32Array.from(scale, (factor, c) => before[c]! * factor + shift[c]!);
  if (!bias.every(Number.isFinite)) return 'its constants leave the range of float32';
  const zeroPoints = Array.from(scale, (_, c) => of(weight.zeroPoints, c));
  const zeros = integerTensor(weight.dtype, [channels], zeroPoints)!;
  if (scale.every((factor) => Math.abs(factor - 1) <= IS_ONE)) return { integers, scales: undefined, zeroPoints: zeros, bias: float32Tensor(bias) };
  const scales = Float32Array.from(scale, (factor, c) => (factor === 0 ? of(weight.scales, c) : of(weight.scales, c) * Math.abs(factor)));
  if (!scales.every((value) => Number.isFinite(value) && value >= SMALLEST_SCALE)) return 'a scale of the weight would leave the range of float32';
  let stored = integers;
  if (scale.some((factor) => factor <= 0)) {
    const values = Float64Array.from(numbersOf(integers));
    const size = values.length / channels;
    for (let i = 0; i < values.length; i++) {
      const c = Math.floor(i / size);
      if (scale[c]! > 0) continue;
      values[i] = scale[c] === 0 ? zeroPoints[c]! : 2 * zeroPoints[c]! - values[i]!;
      if (values[i]! < limits[0] || values[i]! > limits[1]) return `its factor is negative for channel ${c}, whose integers cannot be negated in ${weight.dtype}`;
    }
    stored = integerTensor(weight.dtype, integers.dims, values)!;
  }
  return { integers: stored, scales: float32Tensor(scales), zeroPoints: zeros, bias: float32Tensor(bias) };
}

/** The bias as numbers, zeros where there is none; undefined where it is computed. */
export function biasValues(index: GraphIndex, node: Node, channels: number): ArrayLike<number> | undefined {
  const name = node.inputs[2];
  if (!name) return new Float64Array(channels);
  const constant = index.constant(name);
  if (constant) return constant.dtype === 'float32' && constant.dims.length === 1 ? numbersOf(constant) : undefined;
  const quantizer = dequantizerOf(index, name);
  const integers = quantizer && index.constant(quantizer.node.inputs[0]!);
  if (!integers || integers.dims.length !== 1 || quantizer.blockSize > 0) return undefined;
  const { scales, zeroPoints } = quantizer;
  const at = (values: ArrayLike<number>, c: number) => values[values.length === 1 ? 0 : c]!;
  return Float32Array.from(numbersOf(integers), (value, c) => (value - at(zeroPoints, c)) * at(scales, c));
}

/** A batch norm that could be folded if nothing stood between. */
function batchNormBehind(index: GraphIndex, output: string): { node: Node; reason: string } | undefined {
  const uses = index.uses(output);
  const direct = uses.find(({ node }) => node.opType === 'BatchNormalization')?.node;
  if (direct) return { node: direct, reason: uses.length > 1 || index.isOutput(output) ? `"${output}" has other readers` : 'its parameters are not constant' };
  const quantize = uses.map(({ node }) => node).find(isQuantizeLinear);
  if (!quantize) return undefined;
  const behind = index.uses(quantize.outputs[0]!).flatMap(({ node }) => index.uses(node.outputs[0]!).map((use) => use.node));
  const node = behind.find(({ opType }) => opType === 'BatchNormalization');
  return node && { node, reason: 'the convolution before it is rounded by QuantizeLinear in between' };
}
