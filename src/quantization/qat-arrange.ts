import { createNode } from '../graph/graph-editor.js';
import { soleReader, type GraphIndex } from '../graph/graph-index.js';
import type { Model, Node } from '../graph/model.js';
import { passResult, runPasses, type Change, type PassResult } from '../passes/pass.js';
import { integerScalar, quantizeValue } from '../tensor/affine.js';
import { ruleOf } from './operator-rules.js';
import { boundsOf, isActivation, isDequantizedValue, PairEditor, parametersOf, quantizersOf, readsIntegers, sourceOf } from './qat-pairs.js';
import { dequantizerOf, integerLimits, isPerTensor, isQuantizeLinear, labelOf, quantizerOf, rangeOfQuantizer, sameMapping, type Quantizer } from './qat-quantizer.js';

/** Joins several QuantizeLinear nodes that make the same integers of one value. */
export function mergeQuantizers(model: Model): PassResult {
  const pairs = new PairEditor(model.graph);
  const { index, editor } = pairs;
  const merged: string[] = [];
  const values = new Set(model.graph.nodes.filter(isQuantizeLinear).map((node) => node.inputs[0]!));
  for (const value of values) {
    const [first, ...others] = quantizersOf(index, value);
    for (const other of others) {
      const output = other.node.outputs[0]!;
      if (!sameMapping(first!, other) || index.isOutput(output)) continue;
      editor.replace(other.node);
      editor.renameUses(output, first!.node.outputs[0]!);
      merged.push(labelOf(other.node));
    }
  }
  if (merged.length === 0) return { model, changes: [] };
  return passResult(model, pairs.finish(), [{ pass: 'merge-quantizers', names: merged, message: `${merged.length} QuantizeLinear nodes that another one repeats were joined with it` }]);
}

/**
 * Lets all readers of a value that an integer kernel can make, and that training quantizes for one of them, read it through that Q/DQ: a residual
 * input, or the graph's output. The runtime fuses a node only where QuantizeLinear alone reads its result.
 */
export function shareQuantized(model: Model): PassResult {
  const pairs = new PairEditor(model.graph);
  const { index } = pairs;
  const shared: string[] = [];
  for (const node of model.graph.nodes) {
    for (const value of node.outputs) {
      const quantizers = value ? quantizersOf(index, value) : [];
      const [quantizer] = quantizers;
      const source = quantizer && sourceOf(index, value);
      if (quantizers.length !== 1 || !source || !readsIntegers(index, source)) continue;
      if (index.uses(value).length === 1 && !index.isOutput(value)) continue;
      const raw = pairs.editor.names.unique(`${value}_f`);
      const outputs = pairs.outputsOf(node);
      outputs[outputs.indexOf(value)] = raw;
      pairs.inputsOf(quantizer.node)[0] = raw;
      const { domain, names } = parametersOf(quantizer);
      const dequantize = createNode({ name: pairs.editor.names.unique(`${value}_DQ`), opType: 'DequantizeLinear', domain, inputs: [quantizer.node.outputs[0]!, ...names], outputs: [value] });
      pairs.editor.add(dequantize);
      shared.push(value);
    }
  }
  for (const { name } of model.graph.inputs) {
    const [quantizer, ...others] = quantizersOf(index, name);
    if (!quantizer || others.length > 0) continue;
    const dequantize = index.uses(quantizer.node.outputs[0]!).map((use) => dequantizerOf(index, use.node.outputs[0])).find((found) => found && sameMapping(found, quantizer));
    for (const { node, input } of index.uses(name)) {
      const rule = ruleOf(node);
      if (!dequantize || input < 0 || (rule?.kind !== 'join' && rule?.kind !== 'compute')) continue;
      pairs.inputsOf(node)[input] = dequantize.node.outputs[0]!;
      shared.push(name);
    }
  }
  if (shared.length === 0) return { model, changes: [] };
  const message = `${shared.length} values that training quantizes for one reader are read through the same Q/DQ by their other readers`;
  return passResult(model, pairs.finish(), [{ pass: 'share-quantized', names: shared, message }]);
}

/**
 * Gives operators that only move elements Q/DQ on both sides, where one side has them: before and behind it stand the same integers, so the
 * results do not change. A Q behind a Concat goes before each of its inputs likewise, and the pair before a Relu or Clip behind it too, where the
 * bounds are numbers that the pair can stand for.
 */
export function completeCarriers(model: Model): PassResult {
  const added: string[] = [];
  let { graph } = model;
  for (;;) {
    const pairs = new PairEditor(graph);
    const { index } = pairs;
    const before = added.length;
    for (const node of graph.nodes) {
      const rule = ruleOf(node);
      const isConcat = node.opType === 'Concat' && rule !== undefined;
      const [output = '', ...others] = node.outputs;
      if (others.some(Boolean) || added.length > before) continue;
      if (isActivation(node)) {
        const ahead = dequantizerOf(index, node.inputs[0]);
        if (!ahead || quantizersOf(index, output).length > 0 || !keepsGrid(index, node, ahead) || !leadsToIntegers(index, output)) continue;
        pairs.quantizeForAll(node, output, parametersOf(ahead));
        added.push(output);
        continue;
      }
      if ((rule?.kind !== 'carrier' && !isConcat) || rule.obstacle?.(node)) continue;
      const inputs = isConcat ? node.inputs.map((_, i) => i) : [0];
      const behind = index.isOutput(output) ? undefined : quantizersOf(index, output);
      if (behind?.length === 1 && index.uses(output).length === 1) {
        for (const i of inputs) {
          const value = node.inputs[i]!;
          const source = sourceOf(index, value);
          if (isDequantizedValue(index, value) || !source || !readsIntegers(index, source) || soleReader(index, value) !== node) continue;
          pairs.quantizeForAll(index.producer(value)!, value, parametersOf(behind[0]!));
          added.push(value);
        }
        continue;
      }
      const ahead = isConcat || behind?.length !== 0 ? undefined : dequantizerOf(index, node.inputs[0]);
      if (!ahead || !isDequantizedValue(index, node.inputs[0]!) || !leadsToIntegers(index, output)) continue;
      pairs.quantizeForAll(node, output, parametersOf(ahead));
      added.push(output);
    }
    if (added.length === before) break;
    graph = pairs.finish();
  }
  const message = `${added.length} values before or behind operators that only move elements got the Q/DQ of the other side`;
  return passResult(model, graph, added.length > 0 ? [{ pass: 'complete-carriers', names: added, message }] : []);
}

/** Whether what a Relu or Clip makes of a quantizer's numbers are numbers of the quantizer. */
function keepsGrid(index: GraphIndex, node: Node, quantizer: Quantizer): boolean {
  const bounds = boundsOf(index, node);
  const limits = integerLimits(quantizer.dtype);
  if (!bounds || !limits || !isPerTensor(quantizer)) return false;
  const [low, high] = rangeOfQuantizer(quantizer);
  const [scale, zeroPoint] = [quantizer.scales[0]!, quantizer.zeroPoints[0]!];
  return bounds.every((bound) => bound <= low || bound >= high || Math.fround((quantizeValue(bound, scale, zeroPoint, ...limits) - zeroPoint) * scale) === bound);
}

/** Averages, whose range keeps within that of their input. */
export const AVERAGES: ReadonlySet<string> = new Set(['AveragePool', 'GlobalAveragePool']);

/** Whether an integer kernel could read a value if it were quantized, at once or behind operators that move elements. */
export function leadsToIntegers(index: GraphIndex, value: string): boolean {
  return index.uses(value).some(({ node, input }) => {
    const rule = ruleOf(node);
    if (input === 0 && (isActivation(node) || AVERAGES.has(node.opType)) && node.domain === '' && leadsToIntegers(index, node.outputs[0]!)) return true;
    if (!rule || input < 0 || rule.obstacle?.(node)) return false;
    if (rule.kind === 'carrier') return input === 0 && node.outputs.some((output) => output && leadsToIntegers(index, output));
    const others = (rule.activations === 'all' ? node.inputs.map((_, i) => i) : rule.kind === 'compute' ? [0, 1] : rule.activations).filter((i) => i !== input);
    if (!others.every((i) => index.producer(node.inputs[i]!)?.opType === 'DequantizeLinear')) return false;
    return rule.kind === 'compute' || quantizersOf(index, node.outputs[0]!).length > 0;
  });
}

/**
 * Puts a Relu or Clip that quantization does not make redundant behind its QuantizeLinear, as a Clip of integers: the operator before it can
 * then run on integers. Rounding keeps the order of numbers, so the integers are the same. One that the integers show to be redundant, but not
 * the runtime (a bound of 6 beside 255 times a rounded scale), or that stands between two like pairs, is taken out.
 */
export function clipIntegers(model: Model): PassResult {
  const { graph } = model;
  const pairs = new PairEditor(graph);
  const { index, editor } = pairs;
  const moved: string[] = [];
  const redundant: string[] = [];
  for (const node of graph.nodes) {
    if (!isActivation(node)) continue;
    const [value = ''] = node.inputs;
    const [output = ''] = node.outputs;
    const bounds = boundsOf(index, node);
    const source = index.producer(value);
    const quantize = soleReader(index, output);
    const [quantizer] = quantizersOf(index, output);
    if (!bounds || !source || !quantize || quantizer?.node !== quantize || soleReader(index, value) !== node || index.isOutput(quantize.outputs[0]!)) continue;
    const ahead = dequantizerOf(index, value);
    const sameBefore = ahead !== undefined && sameMapping(ahead, quantizer);
    if (!sameBefore && (!readsIntegers(index, source) || ruleOf(source)?.kind === 'carrier')) continue;
    if (quantizer.dtype !== 'uint8' && quantizer.dtype !== 'int8') continue;
    const [scale, zeroPoint] = [quantizer.scales[0]!, quantizer.zeroPoints[0]!];
    const [low, high] = rangeOfQuantizer(quantizer);
    // The runtime takes such an activation out by itself.
    if (!sameBefore && low >= bounds[0] && high <= bounds[1]) continue;
    const [quantized = ''] = quantize.outputs;
    const [qmin, qmax] = integerLimits(quantizer.dtype)!;
    const integerOf = (x: number) => quantizeValue(x, scale, zeroPoint, qmin, qmax);
    if (integerOf(bounds[0]) === qmin && integerOf(bounds[1]) === qmax) {
      editor.replace(node);
      if (sameBefore) {
        editor.replace(quantize);
        editor.renameUses(quantized, ahead.node.inputs[0]!);
      } else {
        editor.replace(quantize, { ...quantize, inputs: [value, ...quantize.inputs.slice(1)] });
      }
      redundant.push(labelOf(node));
      continue;
    }
    const raw = sameBefore ? ahead.node.inputs[0]! : editor.names.unique(`${quantized}_raw`);
    const bound = (x: number, hint: string) => (Number.isFinite(x) ? editor.addInitializer(`${output}_${hint}`, integerScalar(quantizer.dtype, integerOf(x))) : '');
    const clipInputs = [raw, bound(bounds[0], 'low'), bound(bounds[1], 'high')];
    if (clipInputs[2] === '') clipInputs.pop();
    const clip = createNode({ name: node.name, opType: 'Clip', inputs: clipInputs, outputs: [quantized] });
    editor.replace(node, clip);
    if (sameBefore) editor.replace(quantize);
    else editor.replace(quantize, { ...quantize, inputs: [value, ...quantize.inputs.slice(1)], outputs: [raw] });
    moved.push(labelOf(node));
  }
  const changes: Change[] = [];
  if (moved.length > 0) changes.push({ pass: 'clip-integers', names: moved, message: `${moved.length} activations went behind their QuantizeLinear, as Clip of integers` });
  if (redundant.length > 0) changes.push({ pass: 'clip-integers', names: redundant, message: `${redundant.length} activations cut off nothing that QuantizeLinear does not, and were taken out` });
  return changes.length === 0 ? { model, changes } : passResult(model, pairs.finish(), changes);
}

/**
 * Keeps two roundings in a row apart, as where an activation has a scale and the join behind it another one: between the DQ of one pair and the
 * Q of the next a Concat of one input goes, for which the runtime looks the integers of the second up (QLinearConcat). Left alone, it drops one of
 * the roundings, and runs the readers in float where both have several. For pairs of one type.
 */
export function keepRoundings(model: Model): PassResult {
  const pairs = new PairEditor(model.graph);
  const { index, editor } = pairs;
  const kept: string[] = [];
  for (const node of model.graph.nodes) {
    const second = isQuantizeLinear(node) ? quantizerOf(index, node) : undefined;
    const first = second && dequantizerOf(index, node.inputs[0]);
    if (!second || !first || !isPerTensor(first) || !isPerTensor(second) || sameMapping(first, second)) continue;
    if (first.dtype !== second.dtype || (first.dtype !== 'uint8' && first.dtype !== 'int8') || index.constant(first.node.inputs[0]!)) continue;
    const value = node.inputs[0]!;
    const output = editor.names.unique(`${value}_again`);
    editor.add(createNode({ name: editor.names.unique(`${labelOf(node)}_Concat`), opType: 'Concat', inputs: [value], outputs: [output], attributes: { axis: { kind: 'int', value: 0 } } }));
    pairs.inputsOf(node)[0] = output;
    kept.push(labelOf(node));
  }
  if (kept.length === 0) return { model, changes: [] };
  const message = `${kept.length} values that are rounded twice in a row, with different scales, are looked up in between, because the runtime drops one of the roundings`;
  return passResult(model, pairs.finish(), [{ pass: 'keep-roundings', names: kept, message }]);
}

/** Runs the exact rearrangements above in order. */
export function arrangePairs(model: Model): PassResult {
  return runPasses(model, [mergeQuantizers, shareQuantized, completeCarriers, shareQuantized, clipIntegers]);
}
