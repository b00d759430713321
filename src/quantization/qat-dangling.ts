import { createNode } from '../graph/graph-editor.js';
import { soleReader, type GraphIndex } from '../graph/graph-index.js';
import type { Model, Node } from '../graph/model.js';
import { passResult, type Change, type PassResult } from '../passes/pass.js';
import { prune } from '../passes/prune.js';
import { isComputeOperator } from '../runtime/kernels.js';
import { elementCount, float32Tensor, type Tensor } from '../tensor/tensor.js';
import { ruleOf } from './operator-rules.js';
import { boundsOf, isActivation, PairEditor, readsIntegers } from './qat-pairs.js';
import { isDequantizeLinear, isPerTensor, isQuantizeLinear, labelOf, quantizerOf, rangeOfQuantizer, type Quantizer } from './qat-quantizer.js';
import { dequantizeConstant } from './qat-weights.js';

const PASS = 'remove-dangling';

/** Constants larger than this stay integers, whoever reads them: they are what makes a file small. */
const MAX_RESTORED = 1 << 14;

/**
 * Takes out pairs that convert for no integer kernel: readers of their DQ read what their Q reads. `dangling` holds the outputs of the Q and DQ
 * nodes that the runtime kept and that feed no integer kernel. The runtime copies a DQ for each of its readers, so where the Q is not among
 * them, readers that run on integers keep the DQ. What a pair cuts off stays cut off, by a Clip: training relies on it, and exporters leave out
 * a Relu or Clip in front of a Q that does the same.
 */
export function removeDangling(model: Model, dangling: ReadonlySet<string>): PassResult {
  const { graph } = model;
  const pairs = new PairEditor(graph);
  const { index, editor } = pairs;
  const removed: string[] = [];
  for (const quantize of graph.nodes.filter(isQuantizeLinear)) {
    const [value = ''] = quantize.inputs;
    const [integers = ''] = quantize.outputs;
    const quantizer = quantizerOf(index, quantize);
    if (index.constant(value) || index.isOutput(integers) || !quantizer || !isPerTensor(quantizer)) continue;
    const bounds = clipInputs(pairs, value, quantizer);
    let clipped: string | undefined;
    for (const { node } of index.uses(integers)) {
      const [output = ''] = node.outputs;
      if (!isDequantizeLinear(node) || !dangling.has(output)) continue;
      const uses = index.uses(output);
      if (!index.isOutput(output)) {
        const bypassing = dangling.has(integers) ? uses : uses.filter(({ node: reader }) => !readsIntegers(index, reader));
        if (bypassing.length === 0 || bypassing.some(({ input }) => input < 0)) continue;
        if (bounds && clipped === undefined) {
          clipped = editor.names.unique(`${value}_clipped`);
          editor.add(createNode({ name: editor.names.unique(`${labelOf(quantize)}_Clip`), opType: 'Clip', inputs: bounds(), outputs: [clipped] }));
        }
        for (const { node: reader, input } of bypassing) pairs.inputsOf(reader)[input] = clipped ?? value;
        if (bypassing.length === uses.length) editor.replace(node);
        removed.push(output);
        continue;
      }
      // The graph's output keeps its name: what made the value before the pair makes it.
      const producer = index.producer(value);
      if (!producer || uses.length > 0 || soleReader(index, value) !== quantize || soleReader(index, integers) !== node) continue;
      removed.push(output);
      editor.replace(node);
      if (bounds) {
        editor.replace(quantize, createNode({ name: labelOf(quantize), opType: 'Clip', inputs: bounds(), outputs: [output] }));
        continue;
      }
      editor.replace(quantize);
      const outputs = pairs.outputsOf(producer);
      outputs[outputs.indexOf(value)] = output;
    }
  }
  const restored: string[] = [];
  for (const node of graph.nodes.filter(isDequantizeLinear)) {
    const [output = ''] = node.outputs;
    const floats = dangling.has(output) && !index.isOutput(output) ? floatsOf(index, node) : undefined;
    if (!floats || index.uses(output).some((use) => isComputeOperator(use.node.opType))) continue;
    editor.replace(node);
    editor.setInitializer(output, floats);
    restored.push(output);
  }
  const changes: Change[] = [];
  if (removed.length > 0) changes.push({ pass: PASS, names: removed, message: `${removed.length} Q/DQ pairs that converted for no integer kernel were taken out` });
  if (restored.length > 0) changes.push({ pass: PASS, names: restored, message: `${restored.length} small constants that float operators read are stored as the floats that DequantizeLinear made of them in every run` });
  if (changes.length === 0) return { model, changes };
  const result = passResult(model, pairs.finish(), changes);
  return { ...result, model: prune(result.model).model };
}

/** Makes the inputs of a Clip that cuts a value off where a quantizer does; undefined where the value keeps within by itself. */
function clipInputs({ index, editor }: PairEditor, value: string, quantizer: Quantizer): (() => string[]) | undefined {
  const [low, high] = rangeOfQuantizer(quantizer);
  const [least, most] = knownRange(index, value);
  if (low <= least && high >= most) return undefined;
  const bound = (limit: number, hint: string) => editor.addInitializer(`${value}_${hint}`, float32Tensor(limit));
  return () => [value, low <= least ? '' : bound(low, 'low'), ...(high >= most ? [] : [bound(high, 'high')])];
}

/** Operators whose results lie between the same two numbers, whatever they read. */
const RANGES: Readonly<Record<string, readonly [number, number]>> = { Sigmoid: [0, 1], HardSigmoid: [0, 1], Softmax: [0, 1], Tanh: [-1, 1] };

/** Between what a value lies, as far as the operators that make it tell. */
function knownRange(index: GraphIndex, value: string): readonly [number, number] {
  const producer = index.producer(value);
  if (!producer) return [-Infinity, Infinity];
  if (isDequantizeLinear(producer)) {
    const quantizer = quantizerOf(index, producer);
    return quantizer && isPerTensor(quantizer) ? rangeOfQuantizer(quantizer) : [-Infinity, Infinity];
  }
  const bounds = producer.domain === '' ? (RANGES[producer.opType] ?? boundsOf(index, producer)) : undefined;
  if (!bounds && ruleOf(producer)?.kind !== 'carrier') return [-Infinity, Infinity];
  if (bounds && !isActivation(producer)) return bounds;
  const [least, most] = knownRange(index, producer.inputs[0]!);
  return bounds ? [Math.min(Math.max(least, bounds[0]), bounds[1]), Math.max(Math.min(most, bounds[1]), bounds[0])] : [least, most];
}

/** What a DQ makes of a small constant; undefined for others. */
function floatsOf(index: GraphIndex, node: Node): Tensor | undefined {
  const constant = index.constant(node.inputs[0]!);
  const quantizer = constant && quantizerOf(index, node);
  if (!constant || !quantizer || elementCount(constant.dims) > MAX_RESTORED) return undefined;
  return dequantizeConstant(constant, quantizer);
}
