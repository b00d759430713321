import { floatAttribute, intAttribute, intsAttribute, stringAttribute } from '../graph/attributes.js';
import type { GraphIndex } from '../graph/graph-index.js';
import type { Attribute, Node } from '../graph/model.js';
import { usableScale } from '../tensor/affine.js';
import { tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { biasMaxima, scaleForBias, weightScales } from './weights.js';

/** A depthwise convolution that gives what another operator gives. */
export interface DepthwiseForm {
  readonly attributes: Node['attributes'];
  /** Channels × 1 × kernel. */
  readonly weight: Tensor;
  /** One for each channel. */
  readonly bias: Tensor | undefined;
}

/** Attributes of a pool that a convolution has too. */
const WINDOW = new Set(['kernel_shape', 'strides', 'pads', 'dilations', 'auto_pad']);

/**
 * The depthwise convolution that an AveragePool or a BatchNormalization of pictures is, where all that it takes is known: `channels` of its input.
 * On integers it runs as QLinearConv, several times faster than QLinearAveragePool; BatchNormalization has no other integer kernel.
 * Source: bench/results/kernels.md, "As depthwise convolutions".
 */
export function depthwiseForm(index: GraphIndex, node: Node, channels: number): DepthwiseForm | undefined {
  if (node.domain !== '') return undefined;
  const group = { kind: 'int' as const, value: channels };
  if (node.opType === 'AveragePool') {
    const kernel = intsAttribute(node, 'kernel_shape') ?? [];
    // Where zeros of the padding do not count, windows at the edges are divided by less.
    const isPadded = (intsAttribute(node, 'pads') ?? []).some((pad) => pad > 0) || stringAttribute(node, 'auto_pad', 'NOTSET').startsWith('SAME');
    if (kernel.length !== 2 || intAttribute(node, 'ceil_mode', 0) !== 0 || (isPadded && intAttribute(node, 'count_include_pad', 0) === 0)) return undefined;
    const size = kernel[0]! * kernel[1]!;
    const weight = tensorFromArray('float32', [channels, 1, ...kernel], new Float32Array(channels * size).fill(1 / size));
    const attributes = new Map([...node.attributes].filter(([name]) => WINDOW.has(name)));
    return { attributes: attributes.set('group', group), weight, bias: undefined };
  }
  if (node.opType !== 'BatchNormalization' || node.outputs.filter(Boolean).length !== 1 || intAttribute(node, 'training_mode', 0) !== 0) return undefined;
  const constants = node.inputs.slice(1, 5).map((name) => index.constant(name));
  if (constants.length !== 4 || constants.some((constant) => constant?.dtype !== 'float32' || constant.dims[0] !== channels)) return undefined;
  const [scale, shift, mean, variance] = constants.map((constant) => numbersOf(constant!));
  const epsilon = floatAttribute(node, 'epsilon', 1e-5);
  const factors = Float32Array.from({ length: channels }, (_, c) => scale![c]! / Math.sqrt(variance![c]! + epsilon));
  const bias = Float32Array.from(factors, (factor, c) => shift![c]! - factor * mean![c]!);
  if (![...factors, ...bias].every(Number.isFinite)) return undefined;
  const attributes = new Map<string, Attribute>([['kernel_shape', { kind: 'ints', value: [1, 1] }], ['group', group]]);
  return { attributes, weight: tensorFromArray('float32', [channels, 1, 1, 1], factors), bias: tensorFromArray('float32', [channels], bias) };
}

/** Scales of its weight and, where it has a bias, of that: one in all where `perChannel` is false. The weight's leave the bias room. */
export function depthwiseScales({ weight, bias }: DepthwiseForm, inputScale: number, limit: number, perChannel: boolean): { readonly axis: number | null; readonly weight: readonly number[]; readonly bias: readonly number[] } {
  // All windows of a pool have one weight.
  const axis = perChannel && bias ? 0 : null;
  const scales = [...weightScales(weight, axis, limit)];
  if (bias) biasMaxima(bias, scales.length).forEach((largest, c) => (scales[c] = usableScale(Math.max(scales[c]!, scaleForBias(largest, inputScale)))));
  return { axis, weight: scales, bias: scales.map((scale) => usableScale(Math.fround(inputScale * scale))) };
}
