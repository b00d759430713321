import type { Model, Node } from '../graph/model.js';
import { soleReader, type GraphIndex } from '../graph/graph-index.js';
import { passResult, type PassResult } from '../passes/pass.js';
import { affineFromRange, integerScalar, type AffineParameters } from '../tensor/affine.js';
import { createNode } from '../graph/graph-editor.js';
import { elementCount, float32Tensor, tensorFromArray } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { activationInputs, ruleOf } from './operator-rules.js';
import type { Range } from './plan-static.js';
import { AVERAGES, leadsToIntegers } from './qat-arrange.js';
import { isActivation, isDequantizedAnyhow, isDequantizedValue, PairEditor, parametersOf, quantizersOf, readsIntegers, sourceOf } from './qat-pairs.js';
import { dequantizerOf, labelOf } from './qat-quantizer.js';

/**
 * Adds the pairs that training left out and whose range needs no data: behind Sigmoid and Softmax, whose results lie between 0 and 1, and behind
 * `averages`, with the parameters of their input; and stores numbers that are added or multiplied as integers, exactly.
 */
export function completeFromOperators(model: Model, { averages = true } = {}): PassResult {
  const pairs = new PairEditor(model.graph);
  const { index } = pairs;
  const added: string[] = [];
  for (const node of model.graph.nodes) {
    const rule = ruleOf(node);
    const [output = ''] = node.outputs;
    if (rule?.kind === 'join') {
      if (quantizersOf(index, output).length > 0) added.push(...storeNumbers(pairs, node));
      continue;
    }
    if (rule?.kind !== 'unary' || !readsIntegers(index, node) || quantizersOf(index, output).length > 0 || !leadsToIntegers(index, output)) continue;
    const input = dequantizerOf(index, node.inputs[0])!;
    const unit = { Sigmoid: true, Softmax: true }[node.opType];
    if (!unit && !(averages && AVERAGES.has(node.opType))) continue;
    const parameters = unit ? pairs.newParameters(output, affineFromRange(0, 1, input.dtype === 'int8' ? 'int8' : 'uint8', false), input.node.domain) : parametersOf(input);
    pairs.quantizeForAll(node, output, parameters);
    added.push(output);
  }
  if (added.length === 0) return { model, changes: [] };
  const message = `${added.length} values got a Q/DQ pair whose range follows from the operator that makes them`;
  return passResult(model, pairs.finish(), [{ pass: 'complete-pairs', names: added, message }]);
}

/** A number as a join's operand: one step away from the zero point, with its magnitude as the scale. */
function storeNumbers(pairs: PairEditor, node: Node): string[] {
  const { index, editor } = pairs;
  const rule = ruleOf(node)!;
  const inputs = activationInputs(rule, node);
  const other = inputs.map((i) => dequantizerOf(index, node.inputs[i])).find((found) => found !== undefined);
  if (!other || (other.dtype !== 'uint8' && other.dtype !== 'int8')) return [];
  const stored: string[] = [];
  for (const i of inputs) {
    const name = node.inputs[i]!;
    const constant = index.constant(name);
    if (constant?.dtype !== 'float32' || elementCount(constant.dims) !== 1) continue;
    const value = numbersOf(constant)[0]!;
    if (!Number.isFinite(value)) continue;
    const zeroPoint = other.dtype === 'uint8' ? 128 : 0;
    const array = other.dtype === 'uint8' ? Uint8Array.of(zeroPoint + Math.sign(value)) : Int8Array.of(Math.sign(value));
    const integers = editor.addInitializer(`${name}_q`, tensorFromArray(other.dtype, constant.dims, array));
    const scale = editor.addInitializer(`${name}_scale`, float32Tensor(value === 0 ? 1 : Math.abs(value)));
    const zero = editor.addInitializer(`${name}_zero`, integerScalar(other.dtype, zeroPoint));
    const output = editor.names.unique(`${name}_dq`);
    editor.add(createNode({ name: editor.names.unique(`${name}_DQ`), opType: 'DequantizeLinear', domain: other.node.domain, inputs: [integers, scale, zero], outputs: [output] }));
    pairs.inputsOf(node)[i] = output;
    stored.push(name);
  }
  return stored;
}

/** A value that an integer kernel would read or make if its range were known. */
export interface MissingPair {
  readonly value: string;
  /** The compute nodes that stay float without it. */
  readonly nodes: readonly string[];
  readonly hasQuantizedReader: boolean;
}

/** Values without a trained range that keep nodes with quantized weights in float. */
export function missingPairs(index: GraphIndex, nodes: readonly Node[]): MissingPair[] {
  const missing = new Map<string, Set<string>>();
  const want = (value: string, node: Node) => {
    if (!missing.has(value)) missing.set(value, new Set());
    missing.get(value)!.add(labelOf(node));
  };
  const wantInput = (node: Node, i: number) => {
    const value = node.inputs[i]!;
    if (value && !isDequantizedAnyhow(index, value) && index.constant(value) === undefined) want(value, node);
  };
  for (const node of nodes) {
    const rule = ruleOf(node);
    if (!rule || rule.obstacle?.(node)) continue;
    const [output = ''] = node.outputs;
    if (rule.kind === 'compute') {
      if (!hasStoredWeight(index, node) && !readsIntegers(index, node)) continue;
      wantInput(node, 0);
      if (node.opType === 'Conv') {
        const end = endOf(index, node);
        if (quantizersOf(index, end).length === 0) want(end, node);
      }
    } else if (rule.kind === 'join' && quantizersOf(index, endOf(index, node)).length > 0) {
      const inputs = activationInputs(rule, node);
      if (inputs.some((i) => isDequantizedValue(index, node.inputs[i]!))) for (const i of inputs) wantInput(node, i);
    } else if (rule.kind === 'unary' && readsIntegers(index, node) && quantizersOf(index, output).length === 0 && leadsToIntegers(index, output)) {
      want(output, node);
    }
  }
  return [...missing].map(([value, names]) => ({ value, nodes: [...names], hasQuantizedReader: leadsToIntegers(index, value) }));
}

/** Whether a weight is stored in the form that integer kernels take: 8 bits, not in blocks. */
function hasStoredWeight(index: GraphIndex, node: Node): boolean {
  const quantizer = dequantizerOf(index, node.inputs[1]);
  if (!quantizer || quantizer.blockSize > 0 || (quantizer.dtype !== 'int8' && quantizer.dtype !== 'uint8')) return false;
  return index.constant(quantizer.node.inputs[0]!) !== undefined;
}

/** The node's output, or that of a Relu or Clip that is all that reads it. */
function endOf(index: GraphIndex, node: Node): string {
  const [output = ''] = node.outputs;
  const reader = soleReader(index, output);
  return reader && isActivation(reader) ? reader.outputs[0]! : output;
}

/** Adds Q/DQ pairs with ranges from data. `rangeOf` gives undefined where a value was not observed. */
export function completeFromData(model: Model, rangeOf: (value: string) => Range | undefined, dtype: AffineParameters['dtype'], domain: string): PassResult {
  const pairs = new PairEditor(model.graph);
  const { index } = pairs;
  const added: string[] = [];
  for (const { value } of missingPairs(index, model.graph.nodes)) {
    const range = rangeOf(value);
    if (!range) continue;
    const parameters = pairs.newParameters(value, affineFromRange(range[0], range[1], dtype, false), domain);
    const source = sourceOf(index, value);
    const producer = index.producer(value);
    if (producer && source && (readsIntegers(index, source) || ruleOf(source)?.kind === 'compute')) pairs.quantizeForAll(producer, value, parameters);
    else for (const { node, input } of index.uses(value)) if (input >= 0 && ruleOf(node)) pairs.quantizeForReader(node, input, parameters);
    added.push(value);
  }
  if (added.length === 0) return { model, changes: [] };
  const message = `${added.length} values that training left without a range got one from the samples`;
  return passResult(model, pairs.finish(), [{ pass: 'complete-pairs', names: added, message }]);
}
