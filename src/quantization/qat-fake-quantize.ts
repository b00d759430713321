import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf, soleReader, type GraphIndex } from '../graph/graph-index.js';
import type { Model, Node } from '../graph/model.js';
import { constantNodes } from '../passes/fold-constants.js';
import { passResult, type PassResult } from '../passes/pass.js';
import { prune } from '../passes/prune.js';
import { integerScalar } from '../tensor/affine.js';
import { roundHalfEven } from '../tensor/round-half-even.js';
import { elementCount, float32Tensor, tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { integerTensor } from './qat-layout-ops.js';
import { labelOf } from './qat-quantizer.js';

/** Fake quantization spelled out: (clip(round(x / scale) + zeroPoint, low, high) − zeroPoint) · scale, or with the zero point added before rounding. */
interface FakeQuantize {
  /** The last node, whose output is the value after quantization. */
  readonly last: Node;
  /** What is quantized; with `divided` a constant to be rounded as it is. */
  readonly input: string;
  readonly divided: boolean;
  readonly scale: Tensor;
  readonly zeroPoint: number;
  /** Whether the zero point is added before rounding. */
  readonly shiftedFirst: boolean;
  readonly low: number;
  readonly high: number;
}

/**
 * Replaces fake quantization that is spelled out in arithmetic (Div or Mul, Round, Clip, Mul) by QuantizeLinear and DequantizeLinear, constants
 * by their integers at once. Bounds may stand before rounding or behind it, as Clip or as Min and Max, and a straight-through estimator around it all.
 * A range narrower than the integer type stays as a Clip of the integers. The results are the same, except that where an odd zero point is added
 * before rounding, exact halves are rounded to the other side, and for what float32 loses in a straight-through estimator.
 */
export function recognizeFakeQuantize(model: Model): PassResult {
  const index = indexOf(model.graph);
  const editor = new GraphEditor(model.graph);
  const recognized: string[] = [];
  for (const node of model.graph.nodes) {
    const found = node.opType === 'Round' && node.domain === '' ? fakeQuantizeAround(index, node) : undefined;
    const nodes = found && rewrite(index, editor, found);
    if (!found || !nodes) continue;
    editor.replace(found.last, ...nodes);
    recognized.push(labelOf(found.last));
  }
  if (recognized.length === 0) return { model, changes: [] };
  const message = `${recognized.length} chains of arithmetic that quantize and dequantize became QuantizeLinear and DequantizeLinear`;
  const result = passResult(model, editor.finish(), [{ pass: 'recognize-fake-quantize', names: recognized, message }]);
  return { ...result, model: prune(result.model).model };
}

/**
 * Whether a graph spells fake quantization out. Where its scales are computed from constants, only folding tells what they are: then a Round behind a
 * division and before a multiplication by such, with nothing but sums and bounds between, counts as one.
 */
export function hasFakeQuantize(model: Model): boolean {
  const { graph } = model;
  const index = indexOf(graph);
  const rounds = graph.nodes.filter(({ opType, domain }) => opType === 'Round' && domain === '');
  if (rounds.some((round) => fakeQuantizeAround(index, round) !== undefined)) return true;
  const computed = rounds.length > 0 ? new Set([...constantNodes(graph)].flatMap((node) => node.outputs)) : new Set();
  return computed.size > 0 && rounds.some((round) => isLikeFakeQuantize(index, round, (value) => computed.has(value)));
}

/** Whether the operators around a Round are those of fake quantization, some of its constants being computed. */
function isLikeFakeQuantize(index: GraphIndex, round: Node, isComputed: (value: string) => boolean): boolean {
  const isConstant = (value: string) => value === '' || isComputed(value) || index.constant(value) !== undefined;
  const chain: Node[] = [];
  let after = soleReader(index, round.outputs[0]!);
  for (; after && BETWEEN.has(after.opType); after = soleReader(index, after.outputs[0]!)) chain.push(after);
  if (after?.opType !== 'Mul') return false;
  let value = round.inputs[0]!;
  let before = index.producer(value);
  for (; before && !isConstant(value) && BETWEEN.has(before.opType); before = index.producer(value)) {
    chain.push(before);
    value = before.inputs.find((input) => !isConstant(input)) ?? '';
  }
  const divided = isConstant(value) ? [] : before && (before.opType === 'Div' || before.opType === 'Mul') ? [before] : undefined;
  if (!divided) return false;
  const factors = [after, ...divided];
  return factors.every((node) => node.inputs.some(isConstant)) && [...factors, ...chain].some((node) => node.inputs.some(isComputed));
}

/** What may stand between rounding and the scales: zero points and bounds. */
const BETWEEN: ReadonlySet<string> = new Set(['Add', 'Sub', 'Clip', 'Min', 'Max', 'Cast']);

/** Values that fold into a constant must not swallow: what was rounded, while the scales around it are folded. */
export function roundedValues({ graph }: Model): Set<string> {
  return new Set(graph.nodes.flatMap(({ opType, domain, outputs }) => (opType === 'Round' && domain === '' ? outputs : [])));
}

function fakeQuantizeAround(index: GraphIndex, round: Node): FakeQuantize | undefined {
  let value = round.outputs[0]!;
  let next = soleReader(index, value);
  const shifted = next && addedScalar(index, next, value);
  if (next && shifted !== undefined) {
    value = next.outputs[0]!;
    next = soleReader(index, value);
  }
  const after = boundsBehind(index, value);
  value = after.value;
  next = soleReader(index, value);
  // Bounds are whole numbers, so cutting off before rounding or behind it is one.
  const ahead = boundsAhead(index, round.inputs[0]!);
  const isBounded = after.bounded || ahead.bounded;
  const low = Math.max(after.low, ahead.low + (shifted ?? 0));
  const high = Math.min(after.high, ahead.high + (shifted ?? 0));
  const shiftedBack = next && addedScalar(index, next, value);
  if (next && shiftedBack !== undefined) {
    value = next.outputs[0]!;
    next = soleReader(index, value);
  }
  if (next?.opType !== 'Mul' || next.domain !== '') return undefined;
  const scale = constantBehind(index, next.inputs[next.inputs[0] === value ? 1 : 0]!);
  const zeroPoint = shiftedBack === undefined ? 0 : -shiftedBack;
  if (scale?.dtype !== 'float32' || !Number.isInteger(zeroPoint)) return undefined;
  if (shifted !== undefined && shifted !== zeroPoint) return undefined;
  const shiftedFirst = shifted === undefined && zeroPoint !== 0;
  const start = dividedInput(index, ahead.value, shiftedFirst ? zeroPoint : 0, scale);
  if (!start) return undefined;
  const last = withoutStraightThrough(index, next);
  if (isBounded) return Number.isInteger(low) && Number.isInteger(high) ? { last, ...start, scale, zeroPoint, shiftedFirst, low, high } : undefined;
  // Bounds of a constant were folded into it.
  if (!start.divided) return undefined;
  const integers = Float64Array.from(numbersOf(index.constant(start.input)!), (x) => roundHalfEven(x) + (shiftedFirst ? 0 : zeroPoint));
  const [least, most] = integers.reduce(([a, b], x) => [Math.min(a, x), Math.max(b, x)], [Infinity, -Infinity]);
  const limits = least >= -128 && most <= 127 ? [-128, 127] : [0, 255];
  return least >= limits[0]! && most <= limits[1]! ? { last, ...start, scale, zeroPoint, shiftedFirst, low: limits[0]!, high: limits[1]! } : undefined;
}

interface Bounds {
  /** What is bounded, or what comes out of it. */
  readonly value: string;
  readonly low: number;
  readonly high: number;
  readonly bounded: boolean;
}

/** The Clip, Min and Max nodes behind a value. */
function boundsBehind(index: GraphIndex, from: string): Bounds {
  let bounds: Bounds = { value: from, low: -Infinity, high: Infinity, bounded: false };
  for (;;) {
    const node = soleReader(index, bounds.value);
    const [low, high] = (node && boundsOfNode(index, node, bounds.value)) ?? [NaN, NaN];
    if (!node || Number.isNaN(low)) return bounds;
    bounds = { value: node.outputs[0]!, low: Math.max(bounds.low, low), high: Math.min(bounds.high, high), bounded: true };
  }
}

/** The same before a value, which alone reads them. */
function boundsAhead(index: GraphIndex, from: string): Bounds {
  let bounds: Bounds = { value: from, low: -Infinity, high: Infinity, bounded: false };
  for (;;) {
    const node = index.producer(bounds.value);
    const input = node?.inputs.find((name) => index.constant(name) === undefined);
    const [low, high] = (node && input !== undefined && soleReader(index, bounds.value) && boundsOfNode(index, node, input)) || [NaN, NaN];
    if (input === undefined || Number.isNaN(low)) return bounds;
    bounds = { value: input, low: Math.max(bounds.low, low), high: Math.min(bounds.high, high), bounded: true };
  }
}

/** Between what a Clip, Min or Max keeps a value; undefined for other nodes, and where that is computed. */
function boundsOfNode(index: GraphIndex, { opType, domain, inputs }: Node, value: string): readonly [number, number] | undefined {
  if (domain !== '' || !inputs.includes(value)) return undefined;
  if (opType === 'Clip' && inputs[0] === value) {
    const [low, high] = [inputs[1] ? scalarBehind(index, inputs[1]) : -Infinity, inputs[2] ? scalarBehind(index, inputs[2]) : Infinity];
    return low === undefined || high === undefined ? undefined : [low, high];
  }
  if ((opType !== 'Min' && opType !== 'Max') || inputs.length !== 2) return undefined;
  const limit = scalarBehind(index, inputs[inputs[0] === value ? 1 : 0]);
  return limit === undefined ? undefined : opType === 'Min' ? [-Infinity, limit] : [limit, Infinity];
}

/** The Add of a straight-through estimator, x + (y − x), which is y but for the rounding of float32; otherwise the node that makes y. */
function withoutStraightThrough(index: GraphIndex, last: Node): Node {
  const [y = ''] = last.outputs;
  const sub = soleReader(index, y);
  if (sub?.opType !== 'Sub' || sub.inputs[0] !== y) return last;
  const add = soleReader(index, sub.outputs[0]!);
  return add?.opType === 'Add' && add.inputs.includes(sub.inputs[1]!) && add.inputs.includes(sub.outputs[0]!) ? add : last;
}

/** What goes into the division by the scale, after which `zeroPoint` is added, or the constant that came out of it. */
function dividedInput(index: GraphIndex, rounded: string, zeroPoint: number, scale: Tensor): Pick<FakeQuantize, 'input' | 'divided'> | undefined {
  const constant = index.constant(rounded);
  if (constant) return constant.dtype === 'float32' ? { input: rounded, divided: true } : undefined;
  let value = rounded;
  let producer = index.producer(value);
  if (zeroPoint !== 0) {
    const own = producer && producer.inputs.find((input) => index.constant(input) === undefined);
    if (!producer || own === undefined || addedScalar(index, producer, own) !== zeroPoint) return undefined;
    value = own;
    producer = index.producer(value);
  }
  const factor = producer && producer.domain === '' ? constantBehind(index, producer.inputs[1] ?? '') : undefined;
  if (!producer || !factor) return undefined;
  const [given, expected] = [numbersOf(factor), numbersOf(scale)];
  if (given.length !== expected.length || factor.dims.join() !== scale.dims.join()) return undefined;
  const fits = (i: number) => (producer.opType === 'Div' ? given[i] === expected[i] : producer.opType === 'Mul' && Math.fround(1 / expected[i]!) === given[i]);
  return given.every((_, i) => fits(i)) ? { input: producer.inputs[0]!, divided: false } : undefined;
}

function rewrite(index: GraphIndex, editor: GraphEditor, found: FakeQuantize): Node[] | undefined {
  const { last, input, divided, scale, zeroPoint, shiftedFirst, low, high } = found;
  const scales = numbersOf(scale);
  if (!scales.every((value) => value > 0 && Number.isFinite(value))) return undefined;
  const axis = scales.length === 1 ? null : channelAxis(scale.dims);
  if (axis === undefined) return undefined;
  const constant = index.constant(input);
  const rank = constant?.dims.length;
  // Dimensions of a scale count from the last axis, so the tensor's rank must be known and as large.
  if (axis !== null && (rank === undefined || rank !== scale.dims.length)) return undefined;
  const unsigned = low >= 0 && high <= 255;
  if (!unsigned && (low < -128 || high > 127)) return undefined;
  const dtype = unsigned ? 'uint8' : 'int8';
  const zeroPoints = axis === null ? integerScalar(dtype, zeroPoint) : integerTensor(dtype, [scales.length], new Array<number>(scales.length).fill(zeroPoint))!;
  const [scaleName, zeroName] = [
    editor.addInitializer(`${last.outputs[0]}_scale`, axis === null ? float32Tensor(scales[0]!) : tensorFromArray('float32', [scales.length], Float32Array.from(scales))),
    editor.addInitializer(`${last.outputs[0]}_zero`, zeroPoints),
  ];
  const attributes = axis === null ? {} : { axis: { kind: 'int', value: axis } as const };
  const node = (opType: string, inputs: readonly string[], output: string) =>
    createNode({ name: editor.names.unique(`${labelOf(last)}_${opType}`), opType, inputs, outputs: [output], attributes: opType === 'Clip' ? {} : attributes });
  const value = (suffix: string) => editor.names.unique(`${last.outputs[0]}_${suffix}`);
  if (divided) {
    const integers = Float64Array.from(numbersOf(constant!), (x) => Math.min(high, Math.max(low, roundHalfEven(x) + (shiftedFirst ? 0 : zeroPoint))));
    if (!integers.every(Number.isFinite)) return undefined;
    const stored = editor.addInitializer(input, integerTensor(dtype, constant!.dims, integers)!);
    return [node('DequantizeLinear', [stored, scaleName, zeroName], last.outputs[0]!)];
  }
  const quantized = value('q');
  const [typeLow, typeHigh] = unsigned ? [0, 255] : [-128, 127];
  const isNarrow = low > typeLow || high < typeHigh;
  const clipped = isNarrow ? value('clipped') : quantized;
  const bound = (limit: number) => editor.addInitializer(value('bound'), integerScalar(dtype, limit));
  return [
    node('QuantizeLinear', [input, scaleName, zeroName], quantized),
    ...(isNarrow ? [node('Clip', [quantized, bound(low), bound(high)], clipped)] : []),
    node('DequantizeLinear', [clipped, scaleName, zeroName], last.outputs[0]!),
  ];
}

/** The only axis of more than one element; undefined where there are several. */
function channelAxis(dims: readonly number[]): number | undefined {
  const axis = dims.findIndex((dim) => dim > 1);
  return dims.filter((dim) => dim > 1).length === 1 ? axis : undefined;
}

/** The number that an Add or Sub adds to a value; undefined for other nodes. */
function addedScalar(index: GraphIndex, node: Node, value: string): number | undefined {
  if (node.domain !== '' || (node.opType !== 'Add' && node.opType !== 'Sub')) return undefined;
  if (node.opType === 'Sub' && node.inputs[0] !== value) return undefined;
  const scalar = scalarBehind(index, node.inputs[node.inputs[0] === value ? 1 : 0]);
  return scalar === undefined ? undefined : node.opType === 'Add' ? scalar : -scalar;
}

/** A constant, looked for behind Cast nodes, which change no integer and no float32. */
function constantBehind(index: GraphIndex, value: string): Tensor | undefined {
  const producer = index.producer(value);
  return index.constant(value) ?? (producer?.opType === 'Cast' ? constantBehind(index, producer.inputs[0]!) : undefined);
}

function scalarBehind(index: GraphIndex, value: string | undefined): number | undefined {
  const constant = constantBehind(index, value ?? '');
  return constant && elementCount(constant.dims) === 1 ? numbersOf(constant)[0] : undefined;
}
