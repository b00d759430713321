import { floatAttribute, intAttribute } from '../graph/attributes.js';
import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf, soleReader, type GraphIndex } from '../graph/graph-index.js';
import type { Graph, Model, Node } from '../graph/model.js';
import { affineAlong } from '../tensor/affine-along.js';
import { tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { passResult, type Change, type PassResult } from './pass.js';

/** y = scale · x + shift for each output channel. */
export interface ChannelAffine {
  readonly scale: Float64Array;
  readonly shift: Float64Array;
}

/**
 * Folds what follows a convolution (Conv, ConvTranspose) channel by channel into its weight and bias: BatchNormalization, and Mul,
 * Div, Add and Sub by a constant. The runtime would do the same in float, but not across the Q/DQ pairs that come between.
 */
export function foldIntoConvolution(model: Model): PassResult {
  const changes: Change[] = [];
  let graph = model.graph;
  for (;;) {
    // One layer of followers at a time: Conv → BatchNormalization → Add is folded in two rounds.
    const round = foldOnce(graph, changes);
    if (round === graph) return passResult(model, graph, changes);
    graph = round;
  }
}

function foldOnce(graph: Graph, changes: Change[]): Graph {
  const index = indexOf(graph);
  const editor = new GraphEditor(graph);
  const folded: string[] = [];
  for (const conv of graph.nodes) {
    if (conv.domain !== '' || (conv.opType !== 'Conv' && conv.opType !== 'ConvTranspose')) continue;
    const follower = soleReader(index, conv.outputs[0] ?? '');
    const weight = index.constant(conv.inputs[1] ?? '');
    const bias = conv.inputs[2] ? index.constant(conv.inputs[2]) : undefined;
    if (!follower || weight?.dtype !== 'float32' || (conv.inputs[2] && bias?.dtype !== 'float32')) continue;
    const affine = channelAffine(index, follower, conv, weight);
    const outputs = affine && foldedConstants(conv, weight, bias, affine);
    if (!outputs) continue;
    const weightName = editor.addInitializer(`${conv.inputs[1]}_folded`, outputs.weight);
    const biasName = editor.addInitializer(`${conv.inputs[2] || conv.inputs[1]}_folded_bias`, outputs.bias);
    editor.replace(conv, { ...conv, inputs: [conv.inputs[0]!, weightName, biasName], outputs: [follower.outputs[0]!] });
    editor.replace(follower);
    folded.push(follower.name || follower.outputs[0]!);
  }
  if (folded.length === 0) return graph;
  const message = `${folded.length} per-channel operators were folded into the convolutions before them`;
  changes.push({ pass: 'fold-into-convolution', names: folded, message });
  return editor.finish();
}

/** Output channels of a convolution: axis 0 of a Conv weight, axis 1 times the groups of a ConvTranspose weight. */
function outputChannels(conv: Node, weight: Tensor): number {
  return conv.opType === 'Conv' ? weight.dims[0]! : weight.dims[1]! * intAttribute(conv, 'group', 1);
}

/** What a node that reads a convolution's output does to each channel; undefined where it does anything else. */
export function channelAffine(index: GraphIndex, follower: Node, conv: Node, weight: Tensor): ChannelAffine | undefined {
  if (follower.domain !== '') return undefined;
  const channels = outputChannels(conv, weight);
  if (follower.opType === 'BatchNormalization') return batchNormAffine(index, follower, channels);
  const fromConv = follower.inputs.indexOf(conv.outputs[0]!);
  const constant = index.constant(follower.inputs[1 - fromConv] ?? '');
  const values = constant && perChannel(constant, channels, weight.dims.length);
  if (!values) return undefined;
  const ones = new Float64Array(channels).fill(1);
  const zeros = new Float64Array(channels);
  switch (follower.opType) {
    case 'Add':
      return { scale: ones, shift: values };
    case 'Sub':
      return fromConv === 0 ? { scale: ones, shift: values.map((v) => -v) } : { scale: ones.map((v) => -v), shift: values };
    case 'Mul':
      return { scale: values, shift: zeros };
    case 'Div':
      return fromConv === 0 && values.every((v) => v !== 0) ? { scale: values.map((v) => 1 / v), shift: zeros } : undefined;
    default:
      return undefined;
  }
}

/** scale · (x − mean) / √(variance + ε) + bias, in inference form (only the first output is read). */
export function batchNormAffine(index: GraphIndex, node: Node, channels: number): ChannelAffine | undefined {
  if (node.outputs.slice(1).some((output) => output && index.isRead(output))) return undefined;
  if (intAttribute(node, 'training_mode', 0) !== 0) return undefined;
  const constants = node.inputs.slice(1, 5).map((name) => index.constant(name));
  const [gamma, beta, mean, variance] = constants.map((tensor) => (tensor?.dtype === 'float32' ? numbersOf(tensor) : undefined));
  if (!gamma || !beta || !mean || !variance || gamma.length !== channels) return undefined;
  const epsilon = floatAttribute(node, 'epsilon', 1e-5);
  const scale = Float64Array.from(gamma, (g, c) => g / Math.sqrt(variance[c]! + epsilon));
  const shift = Float64Array.from(beta, (b, c) => b - mean[c]! * scale[c]!);
  return { scale, shift };
}

/** The constant as one value a channel where broadcasting against [N, C, …] makes it that, and nothing wider. */
function perChannel(constant: Tensor, channels: number, rank: number): Float64Array | undefined {
  if (constant.dtype !== 'float32' || constant.dims.length > rank) return undefined;
  const padded = [...new Array<number>(rank - constant.dims.length).fill(1), ...constant.dims];
  const wide = padded.findIndex((dim, axis) => dim !== 1 && axis !== 1);
  if (wide >= 0 || (padded[1] !== 1 && padded[1] !== channels)) return undefined;
  const values = numbersOf(constant);
  return Float64Array.from({ length: channels }, (_, c) => values[values.length === 1 ? 0 : c]!);
}

/** The new weight and bias; undefined where they leave the range of float32. */
function foldedConstants(conv: Node, weight: Tensor, bias: Tensor | undefined, { scale, shift }: ChannelAffine) {
  const folded = conv.opType === 'Conv' ? affineAlong(weight, 0, scale) : scaledTransposed(weight, scale);
  const foldedBias = affineAlong(bias ?? tensorFromArray('float32', [scale.length], new Float32Array(scale.length)), 0, scale, shift);
  return [folded, foldedBias].every((tensor) => numbersOf(tensor).every(Number.isFinite)) ? { weight: folded, bias: foldedBias } : undefined;
}

/** The weight of a ConvTranspose, [inputs, outputs / groups, …]; the inputs of one group stand together on axis 0. */
function scaledTransposed(weight: Tensor, scale: Float64Array): Tensor {
  const [inputs = 1, perGroup = 1] = weight.dims;
  const values = numbersOf(weight);
  const size = values.length / (inputs * perGroup);
  const inputsOfGroup = inputs / (scale.length / perGroup);
  const scaled = Float32Array.from(values, (value, i) => {
    const row = Math.floor(i / (size * perGroup));
    const column = Math.floor(i / size) % perGroup;
    return value * scale[Math.floor(row / inputsOfGroup) * perGroup + column]!;
  });
  return tensorFromArray('float32', weight.dims, scaled);
}
