import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf, soleReader, type GraphIndex } from '../graph/graph-index.js';
import type { Model, Node } from '../graph/model.js';
import { passResult, type Change, type PassResult } from '../passes/pass.js';
import { prune } from '../passes/prune.js';
import { isComputeOperator } from '../runtime/kernels.js';
import { axisLayout } from '../tensor/slices.js';
import { elementCount, tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { isDequantizeLinear, isQuantizeLinear, quantizerOf } from './qat-quantizer.js';

const PASS = 'remove-dangling';

/** Constants larger than this stay integers, whoever reads them: they are what makes a file small. */
const MAX_RESTORED = 1 << 14;

/**
 * Takes out pairs that convert for no integer kernel: readers of their DQ read what their Q reads. `dangling` holds the outputs of the Q and DQ
 * nodes that the runtime kept and that feed no integer kernel.
 */
export function removeDangling(model: Model, dangling: ReadonlySet<string>): PassResult {
  const { graph } = model;
  const index = indexOf(graph);
  const editor = new GraphEditor(graph);
  const outputs = new Map<Node, string>();
  const removed: string[] = [];
  for (const quantize of graph.nodes.filter(isQuantizeLinear)) {
    const [value = ''] = quantize.inputs;
    const [integers = ''] = quantize.outputs;
    if (index.constant(value) || index.isOutput(integers)) continue;
    for (const { node } of index.uses(integers)) {
      const [output = ''] = node.outputs;
      if (!isDequantizeLinear(node) || !dangling.has(output)) continue;
      if (!index.isOutput(output)) {
        editor.replace(node);
        editor.renameUses(output, value);
        removed.push(output);
        continue;
      }
      // The graph's output keeps its name: what made the value before the pair makes it.
      const producer = index.producer(value);
      if (!producer || soleReader(index, value) !== quantize || soleReader(index, integers) !== node || outputs.has(producer)) continue;
      editor.replace(node);
      outputs.set(producer, value);
      editor.replace(producer, { ...producer, outputs: producer.outputs.map((name) => (name === value ? output : name)) });
      editor.replace(quantize);
      removed.push(output);
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
  const result = passResult(model, editor.finish(), changes);
  return { ...result, model: prune(result.model).model };
}

/** What a DQ makes of a small constant; undefined for others. */
function floatsOf(index: GraphIndex, node: Node): Tensor | undefined {
  const constant = index.constant(node.inputs[0]!);
  const quantizer = constant && quantizerOf(index, node);
  if (!constant || !quantizer || quantizer.blockSize > 0 || elementCount(constant.dims) > MAX_RESTORED) return undefined;
  const { axis, scales, zeroPoints } = quantizer;
  const { channels, inner } = axis === null ? { channels: 1, inner: Infinity } : axisLayout(constant.dims, axis);
  const values = Float32Array.from(numbersOf(constant), (value, i) => {
    const c = Math.floor(i / inner) % channels;
    return Math.fround(value - zeroPoints[c]!) * scales[c]!;
  });
  return tensorFromArray('float32', constant.dims, values);
}
