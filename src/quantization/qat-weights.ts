import { QdqError } from '../errors.js';
import { mapSubgraphs, withAttributes } from '../graph/attributes.js';
import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf, soleReader, type GraphIndex } from '../graph/graph-index.js';
import type { Graph, Model, Node } from '../graph/model.js';
import { Names } from '../graph/names.js';
import type { Change, PassResult } from '../passes/pass.js';
import { passResult } from '../passes/pass.js';
import { prune } from '../passes/prune.js';
import { quantizeValue } from '../tensor/affine.js';
import { axisLayout } from '../tensor/slices.js';
import { tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { integerTensor, layoutOp, type LayoutOp } from './qat-layout-ops.js';
import { integerLimits, isDequantizeLinear, isQuantizeLinear, labelOf, quantizerOf, type Quantizer } from './qat-quantizer.js';

const PASS = 'fold-weights';

/**
 * Stores constants behind QuantizeLinear as integers: float W → Q → DQ becomes integer W → DQ, through operators between Q and DQ that
 * rearrange or clip, and with those after the DQ moved before it and the axis of the channels carried along. The integers are those that
 * QuantizeLinear makes, and no scale changes. Throws `model-invalid` where such a constant contains NaN.
 */
export function foldWeights(model: Model): PassResult {
  return foldIn(model, new Names(model.graph));
}

/** `foldWeights` for the bodies of a graph, each with the constants that stand in it. */
export function foldWeightsOfBodies(model: Model): PassResult {
  const names = new Names(model.graph);
  const changes: Change[] = [];
  const inBodies = (graph: Graph): Graph => {
    const nodes = graph.nodes.map((node) =>
      mapSubgraphs(node, (body) => {
        const folded = foldIn({ ...model, graph: inBodies(body) }, names);
        changes.push(...folded.changes);
        return folded.model.graph;
      }),
    );
    return nodes.some((node, i) => node !== graph.nodes[i]) ? { ...graph, nodes } : graph;
  };
  return passResult(model, inBodies(model.graph), changes);
}

/** New names are unlike any in `names`. */
function foldIn(model: Model, names: Names): PassResult {
  const { graph } = model;
  const index = indexOf(graph);
  const editor = new GraphEditor(graph, names);
  const stored = new Map<string, string>();
  const folded: string[] = [];
  const moved: string[] = [];
  const left: Change[] = [];
  const leave = (node: Node, why: string) => left.push({ pass: PASS, names: [labelOf(node)], message: `stays as it is: ${why}` });
  for (const dequantize of graph.nodes.filter(isDequantizeLinear)) {
    const source = constantSource(index, dequantize.inputs[0]!);
    if (!source) continue;
    const quantizer = quantizerOf(index, dequantize);
    if (!quantizer) {
      leave(dequantize, 'its scale is no float32 constant, or its zero point is computed');
      continue;
    }
    let integers = integersOf(index, source);
    if (typeof integers === 'string') {
      leave(dequantize, integers);
      continue;
    }
    const key = [dequantize.inputs[0]!];
    let { axis } = quantizer;
    let output = dequantize.outputs[0]!;
    const passed: Node[] = [];
    for (;;) {
      const op = index.isOutput(output) ? undefined : layoutOp(index, soleReader(index, output));
      if (!op || op.node.opType === 'Clip' || op.node.inputs[0] !== output || quantizer.blockSize > 0) break;
      const after: number | null | undefined = axis === null ? null : op.axisAfter(integers.dims, positive(axis, integers.dims.length));
      const rearranged: Tensor | undefined = op.apply(integers);
      if (after === undefined || !rearranged) {
        leave(op.node, 'it does not keep the channels of its scales together');
        break;
      }
      [integers, axis, output] = [rearranged, after, op.node.outputs[0]!];
      passed.push(op.node);
      key.push(layoutKey(index, op.node));
    }
    if (!source.quantize && passed.length === 0) continue;
    const name = key.join('|');
    let initializer = stored.get(name);
    if (initializer === undefined) {
      initializer = editor.addInitializer(source.name, integers);
      stored.set(name, initializer);
    }
    for (const node of passed) editor.replace(node);
    const placed = axis === null ? dequantize : withAttributes(dequantize, { axis: { kind: 'int', value: axis } });
    editor.replace(dequantize, { ...placed, inputs: [initializer, ...dequantize.inputs.slice(1)], outputs: [output] });
    if (source.quantize) folded.push(source.name);
    moved.push(...passed.map(labelOf));
  }
  if (folded.length === 0 && moved.length === 0) return { model, changes: left };
  const changes: Change[] = [...left];
  if (folded.length > 0) changes.unshift({ pass: PASS, names: folded, message: `${folded.length} constants behind QuantizeLinear are stored as the integers that it makes of them` });
  if (moved.length > 0) changes.unshift({ pass: PASS, names: moved, message: `${moved.length} operators between DequantizeLinear and its reader were applied to the stored integers` });
  return { model: prune(passResult(model, editor.finish(), []).model).model, changes };
}

const positive = (axis: number, rank: number) => (axis < 0 ? axis + rank : axis);

function layoutKey(index: GraphIndex, { opType, inputs, attributes }: Node): string {
  const parameters = inputs.slice(1).map((input) => (input ? Array.from(numbersOf(index.constant(input)!)) : []));
  return JSON.stringify([opType, parameters, [...attributes].map(([name, { kind, ...rest }]) => [name, kind, 'value' in rest ? rest.value : null])], (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
}

/** The constant behind a DQ. */
interface ConstantSource {
  readonly name: string;
  readonly constant: Tensor;
  /** The Q that makes integers of it; undefined where integers are stored. */
  readonly quantize: Node | undefined;
  /** Operators on the integers, in order. */
  readonly ops: readonly LayoutOp[];
}

function constantSource(index: GraphIndex, value: string): ConstantSource | undefined {
  const ops: LayoutOp[] = [];
  for (let name = value; ; ) {
    const constant = index.constant(name);
    if (constant) return ops.length > 0 ? undefined : { name, constant, quantize: undefined, ops };
    const producer = index.producer(name);
    if (producer && isQuantizeLinear(producer)) {
      const weight = index.constant(producer.inputs[0]!);
      return weight && { name: producer.inputs[0]!, constant: weight, quantize: producer, ops: ops.reverse() };
    }
    const op = layoutOp(index, producer);
    if (!op) return undefined;
    ops.push(op);
    name = op.node.inputs[0]!;
  }
}

/** The integers that reach the DQ, or why they cannot be told. */
function integersOf(index: GraphIndex, { name, constant, quantize, ops }: ConstantSource): Tensor | string {
  if (!quantize) return constant;
  const quantizer = quantizerOf(index, quantize);
  if (!quantizer) return `the scale of QuantizeLinear "${labelOf(quantize)}" is no float32 constant, or its zero point is computed`;
  if (constant.dtype !== 'float32') return `"${name}" is ${constant.dtype}, not float32`;
  const integers = quantizeConstant(name, constant, quantizer);
  if (!integers) return `QuantizeLinear to ${quantizer.dtype} is left to the runtime`;
  let current: Tensor | undefined = integers;
  for (const op of ops) {
    current = op.apply(current);
    if (!current) return `${op.node.opType} "${labelOf(op.node)}" does not fit the dimensions of "${name}"`;
  }
  return current;
}

/**
 * The integers that QuantizeLinear makes of a float32 constant: saturate(round half to even(x / scale) + zero point), the division in float32.
 * Undefined for types other than integers of 4, 8 and 16 bits.
 */
export function quantizeConstant(name: string, constant: Tensor, quantizer: Quantizer): Tensor | undefined {
  const { node, dtype, scales, zeroPoints } = quantizer;
  const limits = integerLimits(dtype);
  if (!limits || dtype === 'int32') return undefined;
  const values = numbersOf(constant);
  const scaleOf = scaleIndex(constant.dims, quantizer);
  const integers = new Float64Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const s = scaleOf(i);
    const q = quantizeValue(values[i]!, scales[s]!, zeroPoints[s]!, limits[0], limits[1]);
    if (Number.isNaN(q)) throw new QdqError('model-invalid', `the constant "${name}", which ${node.opType} "${labelOf(node)}" reads, contains NaN`, 'Repair the model that exported it.');
    integers[i] = q;
  }
  return integerTensor(dtype, constant.dims, integers);
}

/** The float32 numbers that DequantizeLinear makes of stored integers: (q − zero point) · scale. */
export function dequantizeConstant(constant: Tensor, quantizer: Quantizer): Tensor {
  const { scales, zeroPoints } = quantizer;
  const scaleOf = scaleIndex(constant.dims, quantizer);
  const values = Float32Array.from(numbersOf(constant), (value, i) => (value - zeroPoints[scaleOf(i)]!) * scales[scaleOf(i)]!);
  return tensorFromArray('float32', constant.dims, values);
}

/** Index of the scale for each element, in memory order. */
function scaleIndex(dims: readonly number[], { scale, axis, blockSize }: Quantizer): (element: number) => number {
  if (axis === null) return () => 0;
  const at = positive(axis, dims.length);
  const { channels, inner } = axisLayout(dims, at);
  if (blockSize === 0) return (i) => Math.floor(i / inner) % channels;
  const rows = scale.dims[at]!;
  return (i) => {
    const outer = Math.floor(i / inner);
    return (Math.floor(outer / channels) * rows + Math.floor((outer % channels) / blockSize)) * inner + (i % inner);
  };
}
