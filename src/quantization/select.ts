import { intAttribute } from '../graph/attributes.js';
import { indexOf, soleReader, type GraphIndex } from '../graph/graph-index.js';
import type { Dim, Graph, Node, ValueType } from '../graph/model.js';
import { numbersOf } from '../tensor/values.js';
import { depthwiseForm, type DepthwiseForm } from './as-depthwise.js';
import { activationInputs, COMPUTE_WITHOUT_KERNEL, DEPTHWISE_RULE, ruleOf, type OperatorRule } from './operator-rules.js';

/** Types of values as the runtime knows them, by name. */
export type ValueTypes = ReadonlyMap<string, ValueType>;

/** What the user wants to see quantized. */
export interface SelectionOptions {
  /** Why the user keeps a node in float; undefined where it may be quantized. */
  readonly keptFloat?: (node: Node) => string | undefined;
  /** Takes operators too whose integer kernel is slower than float. */
  readonly takesSlower?: boolean;
  readonly opset: number;
}

/** MatMul and Gemm with fewer products a sum than this are slower in integers than in float. Source: bench/results/kernels.md. */
export const MIN_PRODUCT_DEPTH = 16;

/** A Relu or Clip that quantization of its output makes redundant, with its bounds. */
export interface AbsorbedActivation {
  readonly node: Node;
  readonly min: number;
  readonly max: number;
}

/** A node that runs on integers, with what it takes along. */
export interface SelectedNode {
  readonly node: Node;
  readonly rule: OperatorRule;
  /** Indexes of inputs that carry activations and are no constants. */
  readonly activations: readonly number[];
  /** Indexes of constant inputs that are quantized like activations. */
  readonly constants: readonly number[];
  /** Index of the constant weight, quantized per channel where it can be. */
  readonly weight: number | undefined;
  /** The depthwise convolution that it is written as. */
  readonly depthwise: DepthwiseForm | undefined;
  /** MatMul only: the Add of a constant vector that follows. */
  readonly biasAdd: Node | undefined;
  readonly absorbed: AbsorbedActivation | undefined;
  /** Values that carry the result: the node's outputs, or that of the last node taken along. */
  readonly ends: readonly string[];
  /** Whether Q follows on the ends. A MatMul or Gemm without it gives float directly, with no second rounding. */
  readonly quantizesOutput: boolean;
}

/** A value that passes through Q and DQ. */
export interface SelectedValue {
  readonly name: string;
  /** Values with the same group share scale and zero point; the name of one of them. */
  readonly group: string;
  /** It only carries elements of another value of its group. */
  readonly carried: boolean;
  /** Range that follows from the operator that makes it. */
  readonly fixedRange: readonly [number, number] | undefined;
}

/** Which nodes of a graph run on integers, and which values are quantized for them. Needs no ranges. */
export interface Selection {
  readonly nodes: ReadonlyMap<Node, SelectedNode>;
  readonly values: ReadonlyMap<string, SelectedValue>;
  /** Why each other node stays in float. */
  readonly floatReasons: ReadonlyMap<Node, string>;
}

type Candidate = Omit<SelectedNode, 'quantizesOutput'>;

/**
 * Chooses the nodes that run on integers: convolutions and matrix products for their own sake, and what lies between them where an
 * integer kernel takes it. Nothing else gets Q/DQ, because around a float operator they only cost.
 */
export function selectNodes(graph: Graph, types: ValueTypes, options: SelectionOptions): Selection {
  const index = indexOf(graph);
  const floatReasons = new Map<Node, string>();
  const candidates = new Map<Node, Candidate>();
  const biasAdds = new Set<Node>();
  // Constants that are left as nodes are sparse, and the runtime hands sparse values out to nobody.
  const sparse = new Set([...graph.sparseInitializers, ...graph.nodes.flatMap((node) => (node.opType === 'Constant' ? node.outputs : []))]);
  for (const node of graph.nodes) {
    const sparseInput = ruleOf(node) && node.inputs.find((value) => sparse.has(value));
    const candidate = sparseInput ? `"${sparseInput}" is a sparse constant` : candidateOf(index, types, options, node);
    if (typeof candidate === 'string') {
      floatReasons.set(node, candidate);
    } else if (!biasAdds.has(node)) {
      candidates.set(node, candidate);
      if (candidate.biasAdd) biasAdds.add(candidate.biasAdd);
    }
  }
  keepConnected(index, candidates, floatReasons);
  const readers = integerReaders(candidates);
  const nodes = new Map([...candidates].map(([node, candidate]) => [node, withOutput(index, types, candidate, readers)]));
  return { nodes, values: selectValues(index, nodes), floatReasons };
}

function candidateOf(index: GraphIndex, types: ValueTypes, options: SelectionOptions, node: Node): Candidate | string {
  const depthwise = depthwiseOf(index, types, node);
  const rule = depthwise ? { ...DEPTHWISE_RULE, opType: node.opType } : ruleOf(node);
  if (!rule) {
    // What has a dynamic form may have been left without it.
    const left = node.opType === 'LSTM' ? options.keptFloat?.(node) : undefined;
    return left ?? COMPUTE_WITHOUT_KERNEL[node.opType] ?? `${node.opType} has no integer kernel in onnxruntime`;
  }
  const kept = options.keptFloat?.(node);
  if (kept) return kept;
  if (rule.since && options.opset < rule.since) return `${node.opType} has an integer kernel from operator set ${rule.since} on`;
  const obstacle = rule.obstacle?.(node);
  if (obstacle) return obstacle;
  if (rule.slower && !options.takesSlower) return rule.slower;
  // Without Q on each output the runtime does not fuse a Split, and one whose unread output is left out it refuses.
  if (node.opType === 'Split' && node.outputs.some((output) => !output || !index.isRead(output))) return 'not all of its outputs are read, and an integer Split needs QuantizeLinear on each';
  const inputs = activationInputs(rule, node);
  const isConstant = (i: number) => index.constant(node.inputs[i]!) !== undefined;
  const notFloat = [...inputs.map((i) => node.inputs[i]!), ...node.outputs].find((value) => isKnownNotFloat(index, types, value));
  if (notFloat !== undefined) return `"${notFloat}" is ${typeName(index, types, notFloat)}, not float32`;
  const weight = rule.kind === 'compute' && isConstant(1) ? 1 : undefined;
  const activations = inputs.filter((i) => !isConstant(i));
  const constants = inputs.filter((i) => isConstant(i) && i !== weight);
  if (activations.length === 0) return 'what it would quantize is constant';
  const notFinite = constants.map((i) => node.inputs[i]!).find((name) => !numbersOf(index.constant(name)!).every(Number.isFinite));
  if (notFinite !== undefined) return `the constant "${notFinite}" contains NaN or infinity`;
  if (rule.kind === 'compute') {
    const reason = computeObstacle(index, types, node);
    if (reason) return reason;
  }
  const biasAdd = node.opType === 'MatMul' ? biasAddAfter(index, types, node) : undefined;
  const last = biasAdd ?? node;
  const absorbed = rule.kind === 'carrier' ? undefined : activationAfter(index, last);
  return { node, rule, activations, constants, weight, depthwise, biasAdd, absorbed, ends: (absorbed?.node ?? last).outputs.filter(Boolean) };
}

/** The depthwise convolution that a node is, where it works on pictures whose number of channels is known. */
function depthwiseOf(index: GraphIndex, types: ValueTypes, node: Node): DepthwiseForm | undefined {
  const shape = shapeOf(index, types, node.inputs[0] ?? '');
  const channels = shape?.[1];
  return shape?.length === 4 && typeof channels === 'number' && channels > 0 ? depthwiseForm(index, node, channels) : undefined;
}

function computeObstacle(index: GraphIndex, types: ValueTypes, node: Node): string | undefined {
  const bias = node.opType === 'MatMul' ? undefined : node.inputs[2];
  if (bias && index.constant(bias)?.dtype !== 'float32') return `the bias "${bias}" is not a float32 constant`;
  if (node.opType === 'Conv') return undefined;
  const depth = productDepth(index, types, node);
  return depth !== undefined && depth < MIN_PRODUCT_DEPTH
    ? `it adds up only ${depth} products, which is slower in integers than in float (below ${MIN_PRODUCT_DEPTH})`
    : undefined;
}

/** Products in each sum of a MatMul or Gemm (K); undefined where no shape tells. */
function productDepth(index: GraphIndex, types: ValueTypes, node: Node): number | undefined {
  const isTransposed = (attribute: 'transA' | 'transB') => node.opType === 'Gemm' && intAttribute(node, attribute, 0) !== 0;
  const [left = '', right = ''] = node.inputs;
  const rows = shapeOf(index, types, right);
  const depths = [shapeOf(index, types, left)?.at(isTransposed('transA') ? -2 : -1), rows?.at(isTransposed('transB') ? -1 : Math.max(-2, -rows.length))];
  return depths.find((depth) => typeof depth === 'number');
}

/** Shape of a value as far as it is known. */
function shapeOf(index: GraphIndex, types: ValueTypes, value: string): readonly Dim[] | undefined {
  const type = types.get(value);
  return index.constant(value)?.dims ?? (type?.kind === 'tensor' ? type.shape : undefined);
}

function isKnownNotFloat(index: GraphIndex, types: ValueTypes, value: string): boolean {
  if (value === '') return false;
  const constant = index.constant(value);
  if (constant) return constant.dtype !== 'float32';
  const type = types.get(value);
  return type !== undefined && !(type.kind === 'tensor' && type.dtype === 'float32');
}

function typeName(index: GraphIndex, types: ValueTypes, value: string): string {
  const type = types.get(value);
  return index.constant(value)?.dtype ?? (type?.kind === 'tensor' ? type.dtype : (type?.kind ?? 'unknown'));
}

/** The Add of a vector along the last axis that is all that reads a product with a constant matrix. */
function biasAddAfter(index: GraphIndex, types: ValueTypes, node: Node): Node | undefined {
  const weight = index.constant(node.inputs[1]!);
  const add = soleReader(index, node.outputs[0]!);
  if (weight?.dims.length !== 2 || add?.opType !== 'Add' || add.domain !== '') return undefined;
  const bias = index.constant(add.inputs[add.inputs[0] === node.outputs[0] ? 1 : 0]!);
  if (bias?.dtype !== 'float32' || bias.dims.at(-1) !== weight.dims[1] || bias.dims.slice(0, -1).some((dim) => dim !== 1)) return undefined;
  // A mask of infinities is added to scores; it is no bias.
  if (!numbersOf(bias).every(Number.isFinite)) return undefined;
  const rank = shapeOf(index, types, node.inputs[0]!)?.length;
  // A bias of higher rank than the product would add dimensions to it.
  return bias.dims.length === 1 || (rank !== undefined && bias.dims.length <= rank) ? add : undefined;
}

function activationAfter(index: GraphIndex, node: Node): AbsorbedActivation | undefined {
  const reader = soleReader(index, node.outputs[0]!);
  if (!reader || reader.domain !== '') return undefined;
  if (reader.opType === 'Relu') return { node: reader, min: 0, max: Infinity };
  if (reader.opType !== 'Clip' || reader.inputs[0] !== node.outputs[0]) return undefined;
  const bound = (i: number, fallback: number): number | undefined => {
    if (!reader.inputs[i]) return fallback;
    const constant = index.constant(reader.inputs[i]);
    return constant && numbersOf(constant)[0];
  };
  const min = bound(1, -Infinity);
  const max = bound(2, Infinity);
  // Quantized ranges contain 0, so a Clip that excludes it would not become redundant.
  return min !== undefined && max !== undefined && min <= 0 && max > 0 ? { node: reader, min, max } : undefined;
}

/** Drops candidates that are no compute nodes and do not lie between integer neighbors, until all that are left do. */
function keepConnected(index: GraphIndex, candidates: Map<Node, Candidate>, floatReasons: Map<Node, string>): void {
  const producers = new Set([...candidates.values()].flatMap((candidate) => candidate.ends));
  const readers = integerReaders(candidates);
  let order = [...candidates.values()];
  for (let dropped = true; dropped; ) {
    dropped = false;
    for (const candidate of order) {
      if (candidate.rule.kind === 'compute') continue;
      const fed = isFed(index, candidate, producers, readers) || standsBehindOutput(index, candidate, readers);
      const read = candidate.ends.some((end) => index.uses(end).some((use) => readers.get(use.node)?.has(use.input)));
      if (fed && read) continue;
      candidates.delete(candidate.node);
      readers.delete(candidate.node);
      candidate.ends.forEach((end) => producers.delete(end));
      floatReasons.set(candidate.node, fed ? 'nothing that runs on integers reads it' : 'not all that feeds it runs on integers');
      dropped = true;
    }
    // Turned around each time: what loses its feeders falls down the graph, what loses its readers up, a whole chain in one round.
    order = order.filter(({ node }) => candidates.has(node)).reverse();
  }
}

/**
 * Whether what a node reads is there as integers: made by an integer kernel, or quantized for a compute node that reads it too. Concat takes
 * one such input, because quantizing the others costs less than dequantizing it and quantizing the whole; others want all of theirs.
 */
function isFed(index: GraphIndex, candidate: Candidate, producers: ReadonlySet<string>, readers: ReadonlyMap<Node, ReadonlySet<number>>): boolean {
  const isInteger = (i: number) => {
    const value = candidate.node.inputs[i]!;
    return producers.has(value) || index.uses(value).some((use) => ruleOf(use.node)?.kind === 'compute' && readers.get(use.node)?.has(use.input));
  };
  return candidate.node.opType === 'Concat' ? candidate.activations.some(isInteger) : candidate.activations.every(isInteger);
}

/**
 * Whether a node moves elements of a float value that is a graph output as well, for integer readers only. If it stayed float, onnxruntime would
 * move their QuantizeLinear before it, and let the graph output pass through that too.
 * Source: fused graphs, which the kernel table test shows.
 */
function standsBehindOutput(index: GraphIndex, { node, rule, activations, ends }: Candidate, readers: ReadonlyMap<Node, ReadonlySet<number>>): boolean {
  const endsInIntegers = (value: string): boolean =>
    !index.isOutput(value) &&
    index.uses(value).every((use) => readers.get(use.node)?.has(use.input) && (ruleOf(use.node)?.kind !== 'carrier' || use.node.outputs.filter(Boolean).every(endsInIntegers)));
  return rule.kind === 'carrier' && activations.some((i) => index.isOutput(node.inputs[i]!)) && ends.every(endsInIntegers);
}

/** Which inputs of which nodes are read as integers. */
function integerReaders(candidates: ReadonlyMap<Node, Candidate>): Map<Node, ReadonlySet<number>> {
  return new Map([...candidates].map(([node, candidate]) => [node, new Set(candidate.activations)]));
}

/**
 * Decides whether Q follows. A product with a float reader beside an integer one needs it too, because the runtime fuses a product only if
 * all that reads it is Q, or nothing is; where it puts an Add or a Reshape between the product and its readers, float readers take the float.
 */
function withOutput(index: GraphIndex, types: ValueTypes, candidate: Candidate, readers: ReadonlyMap<Node, ReadonlySet<number>>): SelectedNode {
  const { node, rule, ends } = candidate;
  if (rule.kind !== 'compute' || node.opType === 'Conv') return { ...candidate, quantizesOutput: true };
  const end = ends[0]!;
  const uses = index.uses(end);
  const integerUses = uses.filter((use) => readers.get(use.node)?.has(use.input)).length;
  const allInteger = integerUses === uses.length && !index.isOutput(end);
  if (integerUses > 0 && allInteger) return { ...candidate, quantizesOutput: true };
  if (!standsApart(types, candidate) && (integerUses > 0 || isHidden(index, types, candidate))) return { ...candidate, quantizesOutput: true };
  return { ...candidate, absorbed: undefined, ends: (candidate.biasAdd ?? node).outputs, quantizesOutput: false };
}

/** Whether an Add or a Reshape stands between the integer product and what reads it: with a bias, except where all is matrices. */
function standsApart(types: ValueTypes, { node, biasAdd }: Candidate): boolean {
  const input = types.get(node.inputs[0]!);
  return biasAdd !== undefined && !(input?.kind === 'tensor' && input.shape?.length === 2);
}

/**
 * Whether the runtime misses a product that gives float, because of its only reader: through a Relu or Clip that a single node reads it looks
 * for Q and gives up where there is none, and MatMul with Add becomes a float Gemm before Q/DQ are looked at.
 * Source: GetQDQSelection and matmul_add_fusion.cc of onnxruntime 1.30, whose outcome the kernel table test shows.
 */
function isHidden(index: GraphIndex, types: ValueTypes, { node, biasAdd }: Candidate): boolean {
  const [output = ''] = (biasAdd ?? node).outputs;
  const [use, ...others] = index.uses(output);
  if (!use || others.length > 0 || use.node.domain !== '') return false;
  if (use.node.opType === 'Relu' || use.node.opType === 'Clip') {
    const [behind = ''] = use.node.outputs;
    return index.uses(behind).length === 1 && !index.isOutput(behind);
  }
  return node.opType === 'MatMul' && !biasAdd && use.node.opType === 'Add' && !index.isOutput(output) && fitsGemm(index, types, node, use.node.inputs[1 - use.input]!);
}

/**
 * Whether the runtime makes a Gemm of MatMul and an Add that is all that reads it, by the shapes that it knows.
 * Source: core/optimizer/matmul_add_fusion.cc of onnxruntime.
 */
export function fitsGemm(index: GraphIndex, types: ValueTypes, matmul: Node, addend: string): boolean {
  const [left, right] = matmul.inputs.map((input) => shapeOf(index, types, input));
  const bias = shapeOf(index, types, addend);
  if (!left || right?.length !== 2 || !bias) return false;
  if (left.length !== 2) return left.every((dim) => typeof dim === 'number') && bias.length === 1 && bias[0] === right[1];
  const [first, last] = [bias.at(-2) ?? 1, bias.at(-1)];
  if (bias.length > 2) return false;
  return (first === 1 && last === right[1]) || (bias.length === 2 && first === left[0] && (last === right[1] || last === 1));
}

function selectValues(index: GraphIndex, nodes: ReadonlyMap<Node, SelectedNode>): Map<string, SelectedValue> {
  const names = new Set<string>();
  const carried = new Set<string>();
  const parent = new Map<string, string>();
  const find = (name: string): string => {
    let root = name;
    for (let up = parent.get(root); up !== undefined; up = parent.get(root)) root = up;
    return root;
  };
  const union = (a: string, b: string) => {
    if (find(a) !== find(b)) parent.set(find(b), find(a));
  };
  for (const { node, rule, activations, ends, quantizesOutput } of nodes.values()) {
    for (const i of activations) names.add(node.inputs[i]!);
    if (!quantizesOutput) continue;
    for (const end of ends) {
      names.add(end);
      if (rule.kind !== 'carrier') continue;
      carried.add(end);
      union(node.inputs[activations[0]!]!, end);
    }
  }
  // What only moves elements leaves them in the range that they were made in, be it on integers or in float.
  const producerRule = (name: string): OperatorRule | undefined => {
    const producer = index.producer(name);
    const rule = producer && ruleOf(producer);
    return rule?.kind === 'carrier' ? producerRule(producer!.inputs[0]!) : rule;
  };
  return new Map(
    [...names].map((name) => [
      name,
      { name, group: find(name), carried: carried.has(name), fixedRange: producerRule(name)?.outputRange },
    ]),
  );
}

/** Values whose ranges a static plan needs: one for each group of carriers, none where the operator fixes the range. */
export function valuesToObserve(selection: Selection): string[] {
  return [...selection.values.values()].filter((value) => !value.carried && !value.fixedRange).map((value) => value.name);
}
