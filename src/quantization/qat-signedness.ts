import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf, type GraphIndex } from '../graph/graph-index.js';
import type { Model, Node } from '../graph/model.js';
import { passResult, type Change, type PassResult } from '../passes/pass.js';
import { integerScalar } from '../tensor/affine.js';
import type { Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { ruleOf } from './operator-rules.js';
import { integerTensor } from './qat-layout-ops.js';
import { readsIntegers } from './qat-pairs.js';
import { isDequantizeLinear, isPerTensor, isQuantizeLinear, labelOf, quantizerOf, replaceConstant } from './qat-quantizer.js';

/** From s8 to u8 and back: the same bits with the first one turned. */
const SHIFT = 128;

/** Operators that work on s8 and u8 alike and keep the order of integers; inputs by index that carry integers. */
const INTEGER_OPS: Readonly<Record<string, readonly number[] | 'all'>> = {
  ...Object.fromEntries(['Transpose', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Identity', 'MaxPool', 'Slice', 'Gather', 'Split', 'Expand', 'Tile'].map((opType) => [opType, [0]])),
  Clip: 'all',
  Concat: 'all',
};

/**
 * Turns activations in s8 into u8: the integers and the zero point are raised by 128, so that they stand for the same numbers. On x64 the
 * runtime multiplies u8 by s8, and rewrites s8 by itself only where one node reads the value. Integers that enter or leave the model in s8 stay.
 */
export function shiftActivations(model: Model): PassResult {
  const { graph } = model;
  const index = indexOf(graph);
  const editor = new GraphEditor(graph);
  const left: Change[] = [];
  const converted = new Set<Node>();
  const seen = new Set<Node>();
  for (const start of graph.nodes) {
    const quantizer = isQuantizeLinear(start) ? quantizerOf(index, start) : undefined;
    if (quantizer?.dtype !== 'int8' || seen.has(start)) continue;
    const component = connectedIntegers(index, start);
    for (const node of component.nodes) seen.add(node);
    const obstacle = component.obstacle ?? shiftObstacle(index, component.nodes);
    if (obstacle === undefined) for (const node of component.nodes) converted.add(node);
    else left.push({ pass: 'u8-activations', names: [labelOf(start)], message: `stays s8: ${obstacle}` });
  }
  const operands = new Map([...operandsOf(index, graph.nodes)].map((operand) => [operand.dequantize, operand]));
  for (const dequantize of operands.keys()) converted.add(dequantize);
  const zeroPoints = new Map<string, string>();
  const shifted: string[] = [];
  for (const node of converted) {
    if (node.opType === 'Clip') editor.replace(node, shiftClip(index, editor, node));
    const own = quantizerOf(index, node);
    if (!own) continue;
    const operand = operands.get(node);
    const given = node.inputs[2] ?? '';
    const key = given || `zero_point_u8_${own.zeroPoints[0]! + SHIFT}`;
    if (!zeroPoints.has(key)) {
      const tensor = integerScalar('uint8', own.zeroPoints[0]! + SHIFT);
      zeroPoints.set(key, given ? replaceConstant(editor, index, given, converted, tensor) : editor.addInitializer(key, tensor));
    }
    const value = operand ? replaceConstant(editor, index, node.inputs[0]!, converted, raised(operand.tensor)) : node.inputs[0]!;
    editor.replace(node, { ...node, inputs: [value, node.inputs[1]!, zeroPoints.get(key)!], attributes: withoutOutputType(node) });
    if (isQuantizeLinear(node) || operand) shifted.push(labelOf(node));
  }
  if (shifted.length === 0) return { model, changes: left };
  const message = `${shifted.length} s8 activations became u8 with a zero point raised by 128, which is exact`;
  // Exporters declare the types of values in between too.
  const retyped = new Set([...converted].flatMap((node) => (isDequantizeLinear(node) ? [] : node.outputs)));
  const shiftedGraph = editor.finish();
  const valueInfo = shiftedGraph.valueInfo.filter(({ name }) => !retyped.has(name));
  return passResult(model, { ...shiftedGraph, valueInfo }, [{ pass: 'u8-activations', names: shifted, message }, ...left]);
}

interface Component {
  readonly nodes: ReadonlySet<Node>;
  readonly obstacle: string | undefined;
}

/** The Q and DQ nodes and the operators on integers that a Q is connected with through integer values. */
function connectedIntegers(index: GraphIndex, start: Node): Component {
  const nodes = new Set([start]);
  const values = new Set<string>();
  const pending = [...start.outputs];
  let obstacle: string | undefined;
  const visit = (node: Node) => {
    if (nodes.has(node)) return;
    nodes.add(node);
    if (isQuantizeLinear(node)) return void pending.push(...node.outputs);
    if (isDequantizeLinear(node)) return void pending.push(node.inputs[0]!);
    const inputs = node.domain === '' ? INTEGER_OPS[node.opType] : undefined;
    if (!inputs) {
      obstacle ??= `${node.opType} "${labelOf(node)}" reads the integers`;
      return;
    }
    const carried = node.opType === 'Clip' || inputs !== 'all' ? [0] : node.inputs.map((_, i) => i);
    pending.push(...carried.map((i) => node.inputs[i]!), ...node.outputs.filter(Boolean).slice(0, node.opType === 'MaxPool' ? 1 : undefined));
  };
  while (pending.length > 0) {
    const value = pending.pop()!;
    if (values.has(value)) continue;
    values.add(value);
    if (index.isOutput(value)) obstacle ??= `the output "${value}" gives the integers`;
    if (index.isInput(value)) obstacle ??= `the input "${value}" takes the integers`;
    const producer = index.producer(value);
    if (producer) visit(producer);
    else if (index.constant(value)) obstacle ??= `the constant "${value}" is joined with it`;
    for (const { node, input } of index.uses(value)) {
      if (input < 0) obstacle ??= `a body of ${node.opType} reads the integers`;
      else visit(node);
    }
  }
  return { nodes, obstacle };
}

function shiftObstacle(index: GraphIndex, nodes: ReadonlySet<Node>): string | undefined {
  for (const node of nodes) {
    if (node.opType === 'Clip' && node.inputs.slice(1).some((bound) => bound && !index.constant(bound))) return `the bounds of Clip "${labelOf(node)}" are computed`;
    if (!isQuantizeLinear(node) && !isDequantizeLinear(node)) continue;
    const quantizer = quantizerOf(index, node);
    if (!quantizer) return `the scale of ${node.opType} "${labelOf(node)}" is no float32 constant, or its zero point is computed`;
    if (!isPerTensor(quantizer)) return `${node.opType} "${labelOf(node)}" has a scale for each channel`;
  }
  return undefined;
}

function shiftClip(index: GraphIndex, editor: GraphEditor, node: Node): Node {
  const inputs = node.inputs.map((name, i) => (i === 0 || !name ? name : editor.addInitializer(name, integerScalar('uint8', numbersOf(index.constant(name)!)[0]! + SHIFT))));
  return { ...node, inputs };
}

function withoutOutputType({ attributes }: Node): Node['attributes'] {
  return new Map([...attributes].filter(([name]) => name !== 'output_dtype'));
}

/** Constants in s8 that joins and products read like activations. */
function* operandsOf(index: GraphIndex, nodes: readonly Node[]): Generator<{ dequantize: Node; tensor: Tensor }> {
  for (const dequantize of nodes.filter(isDequantizeLinear)) {
    const tensor = index.constant(dequantize.inputs[0]!);
    const quantizer = tensor && quantizerOf(index, dequantize);
    if (!tensor || quantizer?.dtype !== 'int8' || !isPerTensor(quantizer)) continue;
    const uses = index.uses(dequantize.outputs[0]!);
    const isOperand = uses.length > 0 && uses.every(({ node, input }) => (ruleOf(node)?.kind === 'join' && readsIntegers(index, node)) || (node.opType === 'MatMul' && input === 0));
    if (isOperand && index.uses(dequantize.inputs[0]!).length === 1) yield { dequantize, tensor };
  }
}

function raised(tensor: Tensor): Tensor {
  return integerTensor('uint8', tensor.dims, Float64Array.from(numbersOf(tensor), (value) => value + SHIFT))!;
}

const MAX_U8 = 255;

/** Largest sum of two u8 × s8 products that 16 bits hold. */
const MAX_PAIR = 2 ** 15 - 1;

/**
 * Turns weights in s8 into u8 where processors without VNNI could add two products to more than 16 bits hold. Trained weights cannot be
 * rounded to 7 bits again; as u8 × u8 they are multiplied exactly everywhere, but more slowly. Activations that training kept to 7 bits (as PyTorch does
 * for x64 by `reduce_range`) cannot bring them there, and leave weights s8.
 */
export function shiftWeights(model: Model): PassResult {
  const { graph } = model;
  const index = indexOf(graph);
  const editor = new GraphEditor(graph);
  const weights = new Map<Node, Tensor>();
  for (const dequantize of graph.nodes.filter(isDequantizeLinear)) {
    const tensor = index.constant(dequantize.inputs[0]!);
    const quantizer = tensor && quantizerOf(index, dequantize);
    if (!tensor || quantizer?.dtype !== 'int8' || quantizer.blockSize > 0) continue;
    const uses = index.uses(dequantize.outputs[0]!);
    const isWeight = uses.length > 0 && uses.every(({ node, input }) => input === 1 && ruleOf(node)?.kind === 'compute' && readsIntegers(index, node));
    if (isWeight && couldSaturate(numbersOf(tensor), Math.max(...uses.map(({ node }) => largestInteger(index, node.inputs[0]!))))) weights.set(dequantize, tensor);
  }
  const readers = new Set(weights.keys());
  const stored = new Map<string, string>();
  const replaced = (name: string, tensor: () => Tensor): string => {
    if (!stored.has(name)) stored.set(name, replaceConstant(editor, index, name, readers, tensor()));
    return stored.get(name)!;
  };
  const shifted: string[] = [];
  for (const [dequantize, tensor] of weights) {
    const { scale, scales, zeroPoints } = quantizerOf(index, dequantize)!;
    const zeros = () => integerTensor('uint8', scale.dims, Array.from(scales, (_, c) => zeroPoints[c]! + SHIFT))!;
    const given = dequantize.inputs[2];
    const zero = given ? replaced(given, zeros) : editor.addInitializer(`${dequantize.inputs[0]}_zero`, zeros());
    editor.replace(dequantize, { ...dequantize, inputs: [replaced(dequantize.inputs[0]!, () => raised(tensor)), dequantize.inputs[1]!, zero] });
    shifted.push(dequantize.inputs[0]!);
  }
  if (shifted.length === 0) return { model, changes: [] };
  const message = `${shifted.length} s8 weights became u8 with a zero point raised by 128, which is exact: pairs of their products could leave 16 bits on processors without VNNI`;
  return passResult(model, editor.finish(), [{ pass: 'u8-weights', names: shifted, message }]);
}

/** Largest integer behind a dequantized activation: less than 255 where training kept to fewer bits, by a Clip behind its Q. */
function largestInteger(index: GraphIndex, value: string): number {
  const integers = index.producer(value)?.inputs[0] ?? '';
  const clip = index.producer(integers);
  const bound = clip?.opType === 'Clip' && clip.domain === '' ? index.constant(clip.inputs[2] ?? '') : undefined;
  return bound ? numbersOf(bound)[0]! : MAX_U8;
}

function couldSaturate(weights: ArrayLike<number>, activation: number): boolean {
  let [first, second] = [0, 0];
  for (let i = 0; i < weights.length; i++) {
    const magnitude = Math.abs(weights[i]!);
    if (magnitude > first) [first, second] = [magnitude, first];
    else if (magnitude > second) second = magnitude;
  }
  return (first + second) * activation > MAX_PAIR;
}
