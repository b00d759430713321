import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Model, Node, ValueInfo } from '../graph/model.js';
import type { DType } from '../tensor/dtype.js';
import type { QuantizationPlan } from './plan.js';
import type { Selection } from './select.js';

/** Values that share their scale, as a probe offers them. */
export interface ProbedGroup {
  /** Name of one of them. */
  readonly group: string;
  /** Graph inputs of the probe: a bool that switches the rounding on, a float scale and a zero point of the plan's type. All are scalars. */
  readonly condition: string;
  readonly scale: string;
  readonly zeroPoint: string;
}

/** A float model in which the rounding of activations can be switched on group by group, with scales that are given with each run. */
export interface RangeProbe {
  readonly model: Model;
  readonly groups: readonly ProbedGroup[];
}

/**
 * The model with Q → DQ on what a plan rounds, each group of values behind a switch, and with scale and zero point as inputs: one session
 * shows what any range does. Weights stay float. Groups whose range follows from an operator are left out.
 */
export function rangeProbe(float: Model, plan: QuantizationPlan, selection: Selection): RangeProbe {
  const index = indexOf(float.graph);
  const editor = new GraphEditor(float.graph);
  const groups = new Map<string, ProbedGroup>();
  const edited = new Map<Node, { inputs: string[]; outputs: string[] }>();
  const partsOf = (node: Node) => {
    let parts = edited.get(node);
    if (!parts) edited.set(node, (parts = { inputs: [...node.inputs], outputs: [...node.outputs] }));
    return parts;
  };
  const groupOf = (name: string): ProbedGroup => {
    let group = groups.get(name);
    if (!group) {
      const input = (suffix: string) => editor.names.unique(`${name}_${suffix}`);
      groups.set(name, (group = { group: name, condition: input('switch'), scale: input('scale'), zeroPoint: input('zero') }));
    }
    return group;
  };
  const round = (value: string, { condition, scale, zeroPoint }: ProbedGroup, output: string): void => {
    const [quantized, dequantized] = [editor.names.unique(`${value}_q`), editor.names.unique(`${value}_dq`)];
    const add = (opType: string, domain: string, inputs: string[], result: string) =>
      editor.add(createNode({ name: editor.names.unique(`${result}_${opType}`), opType, domain, inputs, outputs: [result] }));
    add('QuantizeLinear', plan.domain, [value, scale, zeroPoint], quantized);
    add('DequantizeLinear', plan.domain, [quantized, scale, zeroPoint], dequantized);
    add('Where', '', [condition, dequantized, value], output);
  };
  const made = new Set([...selection.nodes.values()].flatMap(({ quantizesOutput, ends }) => (quantizesOutput ? ends : [])));
  const rounds = new Set([...selection.values.values()].filter(({ group }) => selection.values.get(group)?.fixedRange).map(({ group }) => group));
  for (const { name, group, carried } of selection.values.values()) {
    if (carried || rounds.has(group)) continue;
    const producer = index.producer(name);
    if (made.has(name) && producer) {
      const raw = editor.names.unique(`${name}_raw`);
      const { outputs } = partsOf(producer);
      outputs[outputs.indexOf(name)] = raw;
      round(raw, groupOf(group), name);
      continue;
    }
    const rounded = editor.names.unique(`${name}_rounded`);
    let read = false;
    for (const { node, input } of index.uses(name)) {
      if (!selection.nodes.get(node)?.activations.includes(input)) continue;
      partsOf(node).inputs[input] = rounded;
      read = true;
    }
    if (read) round(name, groupOf(group), rounded);
  }
  for (const [node, { inputs, outputs }] of edited) editor.replace(node, { ...node, inputs, outputs });
  const graph = editor.finish();
  const scalar = (name: string, dtype: DType): ValueInfo => ({ name, type: { kind: 'tensor', dtype, shape: [] } });
  const added = [...groups.values()].flatMap(({ condition, scale, zeroPoint }) => [scalar(condition, 'bool'), scalar(scale, 'float32'), scalar(zeroPoint, plan.activationType)]);
  const opsets = plan.domain === '' ? float.opsets : new Map(float.opsets).set(plan.domain, 1);
  return { model: { ...float, opsets, graph: { ...graph, inputs: [...graph.inputs, ...added] } }, groups: [...groups.values()] };
}
