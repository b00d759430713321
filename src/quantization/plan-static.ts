import { QdqError } from '../errors.js';
import { intAttribute } from '../graph/attributes.js';
import { indexOf, type GraphIndex } from '../graph/graph-index.js';
import type { Model, Node } from '../graph/model.js';
import { affineFromRange, representableRange, usableScale, type AffineParameters, type QuantizedType } from '../tensor/affine.js';
import { numbersOf } from '../tensor/values.js';
import { ruleOf } from './operator-rules.js';
import { depthwiseScales, type DepthwiseForm } from './as-depthwise.js';
import type { PlannedBiasAdd, PlannedConstant, PlannedDepthwise, PlannedNode, PlannedTensor, QuantizationPlan } from './plan.js';
import { fitsGemm, type AbsorbedActivation, type SelectedNode, type Selection, type ValueTypes } from './select.js';
import type { TargetName } from './target.js';
import { biasMaxima, channelMaxima, scaleForBias, weightLimit, weightScales, weightZeroPoint } from './weights.js';

/** A closed interval of real numbers. */
export type Range = readonly [number, number];

/** How values and weights become integers. */
export interface StaticOptions {
  readonly target: TargetName;
  readonly activationType: QuantizedType;
  readonly weightType: QuantizedType;
  readonly perChannel: boolean;
  readonly symmetricActivations: boolean;
  readonly reduceRange: boolean;
  /** Name of the range method, for the record. */
  readonly method: string;
}

/**
 * Turns a selection and the ranges of its values into a plan. `rangeOf` gives the calibrated range of a value, undefined where it
 * was not observed. Throws `table-mismatch` where a range is missing, `model-invalid` where a weight is not finite.
 */
export function planStatic(
  model: Model,
  selection: Selection,
  types: ValueTypes,
  rangeOf: (value: string) => Range | undefined,
  options: StaticOptions,
): QuantizationPlan {
  const index = indexOf(model.graph);
  const tensors = planTensors(index, selection, rangeOf, options);
  const weights = planWeights(index, selection, tensors, options);
  const scales: Record<string, readonly number[]> = Object.fromEntries([...weights].map(([key, weight]) => [key, [...weight.scales]]));
  const planNode = nodePlanner(index, selection, types, tensors, weights, scales, options);
  const absorbedBy = new Map<Node, Node>();
  for (const selected of selection.nodes.values()) {
    if (selected.biasAdd) absorbedBy.set(selected.biasAdd, selected.node);
    if (selected.absorbed && selected.quantizesOutput) absorbedBy.set(selected.absorbed.node, selected.node);
  }
  return {
    schema: 'qdq.plan/1',
    mode: 'static',
    target: options.target,
    activationType: options.activationType,
    weightType: options.weightType,
    method: options.method,
    domain: quantizeDomain(model, options),
    nodes: model.graph.nodes.map((node) => planNode(node, absorbedBy.get(node))),
    tensors: Object.fromEntries(tensors),
    scales,
  };
}

/** Per-channel DequantizeLinear needs operator set 13 in the ONNX domain, 16-bit integers 21; com.microsoft has both before. */
function quantizeDomain(model: Model, options: StaticOptions): string {
  const opset = model.opsets.get('') ?? 1;
  const wide = options.activationType.endsWith('16') || options.weightType.endsWith('16');
  return opset >= (wide ? 21 : 13) ? '' : 'com.microsoft';
}

function planTensors(
  index: GraphIndex,
  selection: Selection,
  rangeOf: (value: string) => Range | undefined,
  options: StaticOptions,
): Map<string, PlannedTensor> {
  const groups = new Map<string, Range>();
  const bounds = absorbedBounds(selection);
  for (const value of selection.values.values()) {
    if (value.carried) continue;
    const observed = value.fixedRange ?? rangeOf(value.name) ?? rangeThroughCarriers(index, value.name, rangeOf);
    if (!observed) {
      throw new QdqError(
        'table-mismatch',
        `the calibration table has no range for "${value.name}"`,
        'Calibrate the same model again with this version of qdq.',
      );
    }
    const bound = bounds.get(value.name);
    const range: Range = bound ? [Math.max(observed[0], bound.min), Math.min(observed[1], bound.max)] : observed;
    const group = groups.get(value.group);
    groups.set(value.group, group ? [Math.min(group[0], range[0]), Math.max(group[1], range[1])] : range);
  }
  const tensors = new Map<string, PlannedTensor>();
  for (const value of selection.values.values()) {
    const range = groups.get(value.group)!;
    const bound = bounds.get(value.name);
    const parameters = affineFromRange(range[0], range[1], options.activationType, options.symmetricActivations);
    tensors.set(value.name, {
      ...(bound ? insideBounds(parameters, bound, range) : parameters),
      range,
      ...(value.group === value.name ? {} : { sharedWith: value.group }),
    });
  }
  return shareParameters(selection, tensors);
}

/** All members of a group take the parameters of the member that names it. */
function shareParameters(selection: Selection, tensors: Map<string, PlannedTensor>): Map<string, PlannedTensor> {
  for (const value of selection.values.values()) {
    const source = tensors.get(value.group);
    if (!source || value.group === value.name) continue;
    const { dtype, scale, zeroPoint } = source;
    tensors.set(value.name, { ...tensors.get(value.name)!, dtype, scale, zeroPoint });
  }
  return tensors;
}

function absorbedBounds(selection: Selection): Map<string, AbsorbedActivation> {
  const bounds = new Map<string, AbsorbedActivation>();
  for (const { absorbed, ends, quantizesOutput } of selection.nodes.values()) {
    if (absorbed && quantizesOutput) bounds.set(ends[0]!, absorbed);
  }
  return bounds;
}

/**
 * Shrinks a scale so that no integer stands for a number outside the activation's bounds, which makes the activation redundant. Left as it
 * is where that would cut off more than a step of the range.
 */
function insideBounds(parameters: AffineParameters, { min, max }: AbsorbedActivation, range: Range): AffineParameters {
  const [low, high] = representableRange(parameters);
  const shrink = Math.min(1, low < min && low < 0 ? min / low : 1, high > max ? max / high : 1);
  if (!(shrink > 0 && shrink < 1)) return parameters;
  const shrunk = { ...parameters, scale: usableScale(parameters.scale * shrink * (1 - 2 ** -23)) };
  const [shrunkLow, shrunkHigh] = representableRange(shrunk);
  return shrunkLow - parameters.scale <= range[0] && shrunkHigh + parameters.scale >= range[1] ? shrunk : parameters;
}

/** Whether quantizing does what the activation does, so that the runtime drops it. */
function isRedundant(parameters: AffineParameters, { min, max }: AbsorbedActivation): boolean {
  const [low, high] = representableRange(parameters);
  return low >= min && high <= max;
}

/** The range of a value that only rearranges elements of an observed one, or of one whose operator fixes the range. */
function rangeThroughCarriers(index: GraphIndex, value: string, rangeOf: (value: string) => Range | undefined): Range | undefined {
  const producer = index.producer(value);
  const rule = producer && ruleOf(producer);
  if (rule?.outputRange) return rule.outputRange;
  const source = producer?.inputs[0];
  if (!source || rule?.kind !== 'carrier') return undefined;
  return rangeOf(source) ?? rangeThroughCarriers(index, source, rangeOf);
}

interface WeightScales {
  readonly axis: number | null;
  readonly scales: Float64Array;
}

/** Axis of a weight's output channels; null where the runtime takes one scale only. */
export function channelAxis(node: Node, rank: number, perChannel: boolean): number | null {
  if (!perChannel) return null;
  if (node.opType === 'Conv') return 0;
  if (node.opType === 'Gemm') return intAttribute(node, 'transB', 0) !== 0 ? 0 : 1;
  return rank === 2 ? 1 : null;
}

const weightKey = (name: string, axis: number | null) => (axis === null ? name : `${name}@${axis}`);

/** Scales for each weight and axis, large enough for the biases of all nodes that share the weight. */
function planWeights(
  index: GraphIndex,
  selection: Selection,
  tensors: ReadonlyMap<string, PlannedTensor>,
  options: StaticOptions,
): Map<string, WeightScales> {
  const planned = new Map<string, WeightScales>();
  const limit = weightLimit(options.weightType, options.reduceRange);
  for (const selected of selection.nodes.values()) {
    if (selected.weight === undefined) continue;
    const name = selected.node.inputs[selected.weight]!;
    const tensor = index.constant(name)!;
    const axis = channelAxis(selected.node, tensor.dims.length, options.perChannel);
    const key = weightKey(name, axis);
    if (!planned.has(key)) {
      if (!channelMaxima(tensor, null).every(Number.isFinite)) throw notFinite('weight', name, selected.node);
      planned.set(key, { axis, scales: weightScales(tensor, axis, limit) });
    }
    const bias = biasOf(selected);
    if (!bias) continue;
    const { scales } = planned.get(key)!;
    const inputScale = tensors.get(selected.node.inputs[selected.activations[0]!]!)!.scale;
    biasMaxima(index.constant(bias)!, scales.length).forEach((largest, c) => {
      if (!Number.isFinite(largest)) throw notFinite('bias', bias, selected.node);
      scales[c] = usableScale(Math.max(scales[c]!, scaleForBias(largest, inputScale)));
    });
  }
  return planned;
}

function notFinite(role: string, name: string, node: Node): QdqError {
  return new QdqError('model-invalid', `the ${role} "${name}" contains NaN or infinity`, `Leave its node in float: --exclude "${node.name}".`);
}

/** Name of the constant that is added to a node's products. */
function biasOf({ node, biasAdd }: SelectedNode): string | undefined {
  if (biasAdd) return biasAdd.inputs[biasInput(node, biasAdd)];
  return node.opType === 'MatMul' ? undefined : node.inputs[2] || undefined;
}

const biasInput = (node: Node, add: Node) => (add.inputs[0] === node.outputs[0] ? 1 : 0);

function nodePlanner(
  index: GraphIndex,
  selection: Selection,
  types: ValueTypes,
  tensors: ReadonlyMap<string, PlannedTensor>,
  weights: ReadonlyMap<string, WeightScales>,
  scales: Record<string, readonly number[]>,
  options: StaticOptions,
) {
  const limit = weightLimit(options.weightType, options.reduceRange);
  const zeroPoint = weightZeroPoint(options.weightType);

  /** The bias as int32 with the scale of the products it is added to. */
  const planBias = (selected: SelectedNode): PlannedConstant => {
    const { node } = selected;
    const { axis, scales: weightScale } = factorScales(selected);
    const inputScale = scaleOf(node.inputs[0]!);
    const key = `${node.name}#bias`;
    scales[key] = Array.from(weightScale, (scale) => usableScale(Math.fround(inputScale * scale)));
    return { dtype: 'int32', axis: axis === null ? null : Math.max(0, index.constant(biasOf(selected)!)!.dims.length - 1), scales: key, zeroPoint: 0 };
  };

  /** Scales of what the input is multiplied by: those of the constant weight, or that of a computed one. */
  const factorScales = ({ node, weight }: SelectedNode): { readonly axis: number | null; readonly scales: ArrayLike<number> } => {
    const name = node.inputs[1]!;
    if (weight === undefined) return { axis: null, scales: [scaleOf(name)] };
    return weights.get(weightKey(name, channelAxis(node, index.constant(name)!.dims.length, options.perChannel)))!;
  };

  const planBiasAdd = (selected: SelectedNode, add: Node): PlannedBiasAdd => ({
    name: add.name,
    input: biasInput(selected.node, add),
    constant: planBias(selected),
    // A Gemm takes the bias as int32; an Add that stays apart takes it as float.
    as: fitsGemm(index, types, selected.node, biasOf(selected)!) ? 'int32' : 'float',
  });

  const planOperand = (name: string): PlannedConstant => {
    let low = 0;
    let high = 0;
    for (const value of numbersOf(index.constant(name)!)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    const parameters = affineFromRange(low, high, options.activationType, options.symmetricActivations);
    const key = `${name}#operand`;
    scales[key] = [parameters.scale];
    return { dtype: parameters.dtype, axis: null, scales: key, zeroPoint: parameters.zeroPoint };
  };

  const planDepthwise = (node: Node, form: DepthwiseForm): PlannedDepthwise => {
    const planned = depthwiseScales(form, scaleOf(node.inputs[0]!), limit, options.perChannel);
    const [key, biasKey] = [`${node.name}#depthwise`, `${node.name}#bias`];
    scales[key] = planned.weight;
    if (form.bias) scales[biasKey] = planned.bias;
    return {
      channels: form.weight.dims[0]!,
      weight: { dtype: options.weightType, axis: planned.axis, scales: key, zeroPoint, limit },
      ...(form.bias && { bias: { dtype: 'int32', axis: planned.axis, scales: biasKey, zeroPoint: 0 } }),
    };
  };

  /** The one scale of an activation, or of a constant that is quantized like one. */
  const scaleOf = (name: string): number => tensors.get(name)?.scale ?? scales[planOperand(name).scales]![0]!;

  return (node: Node, absorbedBy: Node | undefined): PlannedNode => {
    const base = { name: node.name, opType: node.opType };
    if (absorbedBy) return { ...base, decision: 'quantized', reason: `taken along by ${absorbedBy.opType} "${absorbedBy.name}"`, takenBy: absorbedBy.name };
    const selected = selection.nodes.get(node);
    if (!selected) return { ...base, decision: 'float', reason: selection.floatReasons.get(node) ?? null };
    const constants: Record<number, PlannedConstant> = {};
    if (selected.weight !== undefined) {
      const name = node.inputs[selected.weight]!;
      const axis = channelAxis(node, index.constant(name)!.dims.length, options.perChannel);
      constants[selected.weight] = { dtype: options.weightType, axis, scales: weightKey(name, axis), zeroPoint, limit };
    }
    for (const i of selected.constants) constants[i] = planOperand(node.inputs[i]!);
    if (node.opType !== 'MatMul' && selected.rule.kind === 'compute' && node.inputs[2]) constants[2] = planBias(selected);
    const { absorbed, quantizesOutput } = selected;
    const end = selected.ends[0]!;
    const biasAdd = selected.biasAdd && planBiasAdd(selected, selected.biasAdd);
    // An Add in float makes no integers that a pair before the activation could hand over.
    const needsPair = absorbed && quantizesOutput && !isRedundant(tensors.get(end)!, absorbed) && biasAdd?.as !== 'float';
    return {
      ...base,
      decision: 'quantized',
      reason: null,
      kernel: selected.rule.kernel,
      activations: Object.fromEntries(selected.activations.map((i) => [i, node.inputs[i]!])),
      ...(quantizesOutput ? { outputs: selected.ends } : {}),
      constants,
      ...(selected.depthwise ? { depthwise: planDepthwise(node, selected.depthwise) } : {}),
      ...(biasAdd ? { biasAdd } : {}),
      ...(needsPair ? { pairBefore: absorbed.node.name } : {}),
    };
  };
}
