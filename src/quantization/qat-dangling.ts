import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf, soleReader } from '../graph/graph-index.js';
import type { Model, Node } from '../graph/model.js';
import { passResult, type PassResult } from '../passes/pass.js';
import { prune } from '../passes/prune.js';
import { isDequantizeLinear, isQuantizeLinear } from './qat-quantizer.js';

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
  if (removed.length === 0) return { model, changes: [] };
  const message = `${removed.length} Q/DQ pairs that converted for no integer kernel were taken out`;
  const result = passResult(model, editor.finish(), [{ pass: 'remove-dangling', names: removed, message }]);
  return { ...result, model: prune(result.model).model };
}
