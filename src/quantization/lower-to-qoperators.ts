import { floatAttribute } from '../graph/attributes.js';
import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf, soleReader, type GraphIndex } from '../graph/graph-index.js';
import type { Model, Node } from '../graph/model.js';
import { closeBodies } from '../passes/close-bodies.js';
import { openBodies } from '../passes/open-bodies.js';
import { passResult, type PassResult } from '../passes/pass.js';
import { prune } from '../passes/prune.js';
import { integerScalar, representableRange } from '../tensor/affine.js';
import { float32Tensor, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { ruleOf } from './operator-rules.js';
import { loweredAttributes, QOPERATORS } from './qoperators.js';
import { integerTensor } from './qat-layout-ops.js';
import { isActivation, isDequantizedValue } from './qat-pairs.js';
import { dequantizerOf, isPerTensor, isQuantizeLinear, labelOf, quantizerOf, sameMapping, type Quantizer } from './qat-quantizer.js';

const MICROSOFT = 'com.microsoft';

/**
 * Turns float operators between DequantizeLinear and QuantizeLinear into operators on integers (QLinearConv, QLinearAdd and their like), the
 * kernels that the runtime would fuse them to: for older runtimes, and for tools that read only this form. What does not fuse stays as it is.
 */
export function lowerToQOperators(model: Model): PassResult {
  const { model: lowered, changes } = lowerInGraph(openBodies(model, isQuantizeLinear));
  return changes.length === 0 ? { model, changes } : { model: closeBodies(lowered), changes };
}

function lowerInGraph(model: Model): PassResult {
  const { graph } = model;
  const index = indexOf(graph);
  const editor = new GraphEditor(graph);
  const opset = model.opsets.get('') ?? 1;
  const lowered: string[] = [];
  for (const node of graph.nodes) {
    const unit = node.domain === '' ? unitOf(index, node) : undefined;
    const made = unit && lowerUnit(index, editor, node, unit, opset);
    if (!made) continue;
    editor.replace(node, made);
    for (const taken of [unit.activation, unit.output?.node]) if (taken) editor.replace(taken);
    lowered.push(labelOf(node));
  }
  if (lowered.length === 0) return { model, changes: [] };
  const opsets = new Map(model.opsets);
  if (!opsets.has(MICROSOFT)) opsets.set(MICROSOFT, 1);
  const message = `${lowered.length} operators between Q and DQ became operators on integers`;
  const result = passResult({ ...model, opsets }, editor.finish(), [{ pass: 'lower-to-qoperators', names: lowered, message }]);
  return { ...result, model: movedOnIntegers(withFloatBiases(prune(result.model).model)) };
}

/** Operators that move all elements of their first input and know the integers' types. */
const MOVERS = new Set(['Transpose', 'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten']);

/**
 * What an operator on integers gives is moved before it is dequantized: the runtime would bring the DQ behind the move itself, and leave a
 * DQ and a Q before it that undo each other.
 */
function movedOnIntegers(model: Model): Model {
  for (let { graph } = model; ; ) {
    const index = indexOf(graph);
    const editor = new GraphEditor(graph);
    let count = 0;
    for (const node of graph.nodes) {
      const quantizer = node.domain === '' && MOVERS.has(node.opType) ? dequantizerOf(index, node.inputs[0]) : undefined;
      if (!quantizer || !isByte(quantizer) || !isPerTensor(quantizer) || soleReader(index, node.inputs[0]!) !== node) continue;
      const [integers = '', ...mapping] = quantizer.node.inputs;
      if (!index.producer(integers)?.opType.startsWith('QLinear') && !MOVERS.has(index.producer(integers)?.opType ?? '')) continue;
      const moved = editor.names.unique(`${node.outputs[0]}_integers`);
      editor.replace(quantizer.node);
      editor.replace(node, { ...node, inputs: [integers, ...node.inputs.slice(1)], outputs: [moved] }, { ...quantizer.node, inputs: [moved, ...mapping], outputs: node.outputs });
      count++;
    }
    if (count === 0) return { ...model, graph };
    graph = editor.finish();
  }
}

/** A product that gives floats has no place for an int32 bias, so that the bias which is added behind it is stored in float. */
function withFloatBiases(model: Model): Model {
  const index = indexOf(model.graph);
  const editor = new GraphEditor(model.graph);
  const isFloatProduct = (value: string | undefined) => index.producer(value ?? '')?.opType === 'MatMulIntegerToFloat';
  for (const node of model.graph.nodes) {
    const [value = ''] = node.outputs;
    const bias = dequantizerOf(index, value);
    const integers = bias?.dtype === 'int32' ? index.constant(node.inputs[0]!) : undefined;
    if (!bias || integers?.dims.length !== 1 || index.isOutput(value)) continue;
    if (!index.uses(value).every((use) => use.node.opType === 'Add' && isFloatProduct(use.node.inputs[1 - use.input]))) continue;
    editor.replace(node);
    editor.setInitializer(value, dequantizedVector(integers, bias));
  }
  return { ...model, graph: editor.finish() };
}

/** What DequantizeLinear makes of a vector of int32 whose zero points are 0. */
function dequantizedVector(integers: Tensor, { scales }: Quantizer): Tensor {
  return float32Tensor(Float32Array.from(numbersOf(integers), (integer, i) => Math.fround(integer) * scales[scales.length === 1 ? 0 : i]!));
}

/** What a node takes along. */
interface Unit {
  /** A Relu or Clip that its Q makes redundant. */
  readonly activation: Node | undefined;
  /** The Q behind it; undefined where it gives floats. */
  readonly output: Quantizer | undefined;
}

function unitOf(index: GraphIndex, node: Node): Unit | undefined {
  const [value = '', ...others] = node.outputs;
  if (others.some(Boolean)) return undefined;
  const reader = soleReader(index, value);
  const activation = reader && isActivation(reader) && reader.inputs[0] === value ? reader : undefined;
  const quantize = activation ? soleReader(index, activation.outputs[0]!) : reader;
  const output = quantize && isQuantizeLinear(quantize) ? quantizerOf(index, quantize) : undefined;
  if (!output || !isPerTensor(output)) return { activation: undefined, output: undefined };
  return activation && !isRedundant(index, activation, output) ? undefined : { activation, output };
}

function isRedundant(index: GraphIndex, activation: Node, { dtype, scales, zeroPoints }: Quantizer): boolean {
  if (dtype !== 'uint8' && dtype !== 'int8') return false;
  const [low, high] = representableRange({ dtype, scale: scales[0]!, zeroPoint: zeroPoints[0]! });
  if (activation.opType === 'Relu') return low >= 0;
  const bound = (i: number, fallback: number) => (activation.inputs[i] ? (numbersOf(index.constant(activation.inputs[i]) ?? integerScalar('int8', 0))[0] ?? NaN) : fallback);
  const known = activation.inputs.slice(1).every((name) => !name || index.constant(name) !== undefined);
  return known && low >= bound(1, -Infinity) && high <= bound(2, Infinity);
}

function lowerUnit(index: GraphIndex, editor: GraphEditor, node: Node, { output }: Unit, opset: number): Node | undefined {
  const rule = ruleOf(node);
  const row = QOPERATORS.find(({ opType }) => opType === node.opType);
  if (!rule || rule.obstacle?.(node)) return undefined;
  if (rule.kind === 'carrier') return output && lowerCarrier(index, node, output);
  if (!row) return undefined;
  const first = row.leading ?? 0;
  const operands = row.operands === 'all' ? node.inputs : node.inputs.slice(first, first + row.operands);
  const quantizers = operands.map((value) => dequantizerOf(index, value));
  if (!quantizers.every((quantizer): quantizer is Quantizer => quantizer !== undefined && isByte(quantizer) && quantizer.blockSize === 0)) return undefined;
  if (!operands.every((value, i) => (i === 1 && rule.kind === 'compute' && index.constant(quantizers[1]!.node.inputs[0]!)) || isDequantizedValue(index, value))) return undefined;
  if (output && (!isByte(output) || (row.domain !== '' && row.opType !== 'Gemm' && quantizers.some(({ dtype }) => dtype !== output.dtype)))) return undefined;
  const triples = quantizers.flatMap((quantizer) => triple(editor, quantizer));
  const outputs = output ? output.node.outputs : node.outputs;
  const make = (opType: string, domain: string, inputs: readonly string[]): Node => ({ ...createNode({ name: node.name, opType, domain, inputs, outputs }), attributes: loweredAttributes(node, opset) });
  const [, outputScale = '', outputZero = ''] = output ? triple(editor, output) : [];
  if (row.opType === 'MatMul' && !output) {
    const [a, aScale, aZero, b, bScale, bZero] = triples as [string, string, string, string, string, string];
    return make('MatMulIntegerToFloat', MICROSOFT, [a, b, aScale, bScale, aZero, bZero]);
  }
  if (row.opType === 'Gemm') {
    const bias = node.inputs[2] ? biasIntegers(index, node.inputs[2]) : '';
    if (bias === undefined || floatAttribute(node, 'alpha', 1) !== 1 || floatAttribute(node, 'beta', 1) !== 1) return undefined;
    return make(row.quantized, row.domain, output ? [...triples, bias, outputScale, outputZero] : bias ? [...triples, bias] : triples);
  }
  if (!output) return undefined;
  if (row.opType === 'Conv') {
    const bias = node.inputs[2] ? biasIntegers(index, node.inputs[2]) : '';
    return bias === undefined ? undefined : make(row.quantized, row.domain, [...triples, outputScale, outputZero, ...(bias ? [bias] : [])]);
  }
  const inputs = [...node.inputs.slice(0, first), ...triples];
  return make(row.quantized, row.domain, row.outputFirst ? [outputScale, outputZero, ...inputs] : [...inputs, outputScale, outputZero]);
}

/** A node that only moves elements works on the integers themselves, if they mean the same before and behind it. */
function lowerCarrier(index: GraphIndex, node: Node, output: Quantizer): Node | undefined {
  const input = dequantizerOf(index, node.inputs[0]);
  if (!input || !sameMapping(input, output)) return undefined;
  return { ...node, inputs: [input.node.inputs[0]!, ...node.inputs.slice(1)], outputs: output.node.outputs };
}

const isByte = ({ dtype }: Quantizer) => dtype === 'uint8' || dtype === 'int8';

/** Integers, scale and zero point; a zero point that was left out is stored. */
function triple(editor: GraphEditor, { node, dtype, scale: { dims }, scales }: Quantizer): [string, string, string] {
  const [value = '', scale = '', zeroPoint = ''] = node.inputs;
  return [value, scale, zeroPoint || editor.addInitializer(`${value}_zero`, integerTensor(dtype, dims, new Array<number>(scales.length).fill(0))!)];
}

function biasIntegers(index: GraphIndex, bias: string): string | undefined {
  const quantizer = dequantizerOf(index, bias);
  return quantizer?.dtype === 'int32' ? quantizer.node.inputs[0] : undefined;
}
