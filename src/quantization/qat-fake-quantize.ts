import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf, soleReader, type GraphIndex } from '../graph/graph-index.js';
import type { Model, Node } from '../graph/model.js';
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
 * by their integers at once. A range narrower than the integer type stays as a Clip of the integers. The results are the same, except that
 * where an odd zero point is added before rounding, exact halves are rounded to the other side.
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

/** Whether a graph spells fake quantization out. */
export function hasFakeQuantize(model: Model): boolean {
  const index = indexOf(model.graph);
  return model.graph.nodes.some((node) => node.opType === 'Round' && node.domain === '' && fakeQuantizeAround(index, node) !== undefined);
}

function fakeQuantizeAround(index: GraphIndex, round: Node): FakeQuantize | undefined {
  let rounded = round.outputs[0]!;
  let clip = soleReader(index, rounded);
  const shifted = clip && addedScalar(index, clip, rounded);
  if (clip && shifted !== undefined) {
    rounded = clip.outputs[0]!;
    clip = soleReader(index, rounded);
  }
  if (clip?.opType !== 'Clip' || clip.inputs[0] !== rounded) return undefined;
  const [low, high] = [scalarBehind(index, clip.inputs[1]), scalarBehind(index, clip.inputs[2])];
  if (low === undefined || high === undefined || !Number.isInteger(low) || !Number.isInteger(high)) return undefined;
  let before = clip;
  let last = soleReader(index, clip.outputs[0]!);
  const shiftedBack = last && addedScalar(index, last, clip.outputs[0]!);
  if (last && shiftedBack !== undefined) {
    before = last;
    last = soleReader(index, before.outputs[0]!);
  }
  if (last?.opType !== 'Mul' || last.domain !== '') return undefined;
  const scale = constantBehind(index, last.inputs[last.inputs[0] === before.outputs[0] ? 1 : 0]!);
  const zeroPoint = shiftedBack === undefined ? 0 : -shiftedBack;
  if (scale?.dtype !== 'float32' || !Number.isInteger(zeroPoint)) return undefined;
  if (shifted !== undefined && shifted !== zeroPoint) return undefined;
  const shiftedFirst = shifted === undefined && zeroPoint !== 0;
  const start = dividedInput(index, round.inputs[0]!, shiftedFirst ? zeroPoint : 0, scale);
  return start && { last, ...start, scale, zeroPoint, shiftedFirst, low, high };
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
