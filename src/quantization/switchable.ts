import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Model, Node, ValueInfo } from '../graph/model.js';
import { integerScalar } from '../tensor/affine.js';
import { axisLayout } from '../tensor/slices.js';
import { elementCount, float32Tensor, tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import type { PlannedConstant, QuantizationPlan } from './plan.js';
import { storeConstant } from './static-qdq.js';

/** A float model in which the rounding of each planned node can be switched on. */
export interface SwitchableModel {
  readonly model: Model;
  /** Name of the bool scalar input that switches a node, by node name. */
  readonly switches: ReadonlyMap<string, string>;
}

/**
 * The model with every planned node in its float and its quantized form: what it reads and makes passes through Q → DQ where its switch
 * says so. One session then shows the noise of each node alone, where separate models would take a session each. `planned` may have other
 * biases than the float model, which then count as part of the quantized form.
 */
export function switchableModel(float: Model, planned: { readonly model: Model; readonly plan: QuantizationPlan }): SwitchableModel {
  const { graph } = float;
  const { plan } = planned;
  const index = indexOf(graph);
  const editor = new GraphEditor(graph);
  const edited = new Map<Node, { inputs: string[]; outputs: string[] }>();
  const partsOf = (node: Node) => {
    let parts = edited.get(node);
    if (!parts) edited.set(node, (parts = { inputs: [...node.inputs], outputs: [...node.outputs] }));
    return parts;
  };
  const choose = (condition: string, on: string, off: string, output = editor.names.unique(`${off}_switched`)): string => {
    editor.add(createNode({ name: editor.names.unique(`${output}_Where`), opType: 'Where', inputs: [condition, on, off], outputs: [output] }));
    return output;
  };
  const rounded = (tensorName: string, value: string): string => {
    const { dtype, scale, zeroPoint } = plan.tensors[tensorName]!;
    const parameters = [editor.addInitializer(`${value}_s`, float32Tensor(scale)), editor.addInitializer(`${value}_z`, integerScalar(dtype, zeroPoint))];
    const [quantized, output] = [editor.names.unique(`${value}_q`), editor.names.unique(`${value}_dq`)];
    const node = (opType: string, inputs: string[], outputs: string[]) =>
      createNode({ name: editor.names.unique(`${value}_${opType}`), opType, domain: plan.domain, inputs, outputs });
    editor.add(node('QuantizeLinear', [value, ...parameters], [quantized]), node('DequantizeLinear', [quantized, ...parameters], [output]));
    return output;
  };
  const pairs = new Map<string, string>();
  const roundedOnce = (value: string): string => {
    let output = pairs.get(value);
    if (output === undefined) pairs.set(value, (output = rounded(value, value)));
    return output;
  };
  const plannedIndex = indexOf(planned.model.graph);
  const plannedNodes = new Map(planned.model.graph.nodes.map((node) => [node.name, node]));
  const constant = (condition: string, node: Node, input: number, form: PlannedConstant): string => {
    const tensor = plannedIndex.constant(plannedNodes.get(node.name)!.inputs[input]!)!;
    const on = editor.addInitializer(`${node.name}_rounded`, roundedConstant(tensor, form, plan.scales[form.scales]!));
    const off = node.inputs[input] || editor.addInitializer(`${node.name}_zeros`, tensorFromArray('float32', tensor.dims, new Float32Array(elementCount(tensor.dims))));
    return choose(condition, on, off);
  };

  const switches = new Map<string, string>();
  const byName = new Map(graph.nodes.map((node) => [node.name, node]));
  for (const { name, kernel, activations, constants, outputs: made } of plan.nodes) {
    if (!kernel) continue;
    const node = byName.get(name)!;
    const condition = editor.names.unique(`${name}_switch`);
    switches.set(name, condition);
    const { inputs } = partsOf(node);
    for (const [i, value] of Object.entries(activations ?? {})) inputs[Number(i)] = choose(condition, roundedOnce(value), value);
    for (const [i, form] of Object.entries(constants ?? {})) inputs[Number(i)] = constant(condition, node, Number(i), form);
    for (const value of made ?? []) {
      const { outputs } = partsOf(index.producer(value)!);
      const raw = editor.names.unique(`${value}_f`);
      outputs[outputs.indexOf(value)] = raw;
      choose(condition, rounded(value, raw), raw, value);
    }
  }
  for (const [node, { inputs, outputs }] of edited) editor.replace(node, { ...node, inputs, outputs });
  const edit = editor.finish();
  const added = [...switches.values()].map((name): ValueInfo => ({ name, type: { kind: 'tensor', dtype: 'bool', shape: [] } }));
  const opsets = plan.domain === '' ? float.opsets : new Map(float.opsets).set(plan.domain, 1);
  return { model: { ...float, opsets, graph: { ...edit, inputs: [...edit.inputs, ...added] } }, switches };
}

/** What a constant is after it was stored as integers and read back. */
function roundedConstant(tensor: Tensor, planned: PlannedConstant, scales: readonly number[]): Tensor {
  const integers = numbersOf(storeConstant(tensor, planned, scales));
  const { channels, inner } = planned.axis === null ? { channels: 1, inner: integers.length } : axisLayout(tensor.dims, planned.axis);
  const values = new Float32Array(integers.length);
  for (let i = 0, channel = 0; i < values.length; channel = (channel + 1) % channels) {
    const scale = scales[channel]!;
    for (const end = i + inner; i < end; i++) values[i] = (integers[i]! - planned.zeroPoint) * scale;
  }
  return tensorFromArray('float32', tensor.dims, values);
}
