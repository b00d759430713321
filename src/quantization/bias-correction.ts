import { intAttribute } from '../graph/attributes.js';
import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Model, Node } from '../graph/model.js';
import { elementCount, tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import type { PlannedConstant, PlannedNode, QuantizationPlan } from './plan.js';
import { quantizeWeight } from './weights.js';

/** Inputs of the nodes whose bias can be corrected, with the axis that their weight sums over. */
export function correctableInputs(model: Model, plan: QuantizationPlan): { name: string; rank: number; axis: number }[] {
  const values = new Map<string, { name: string; rank: number; axis: number }>();
  for (const { node, weight } of correctable(model, plan)) {
    const rank = weight.dims.length;
    const name = node.inputs[0]!;
    // MatMul and Gemm are taken with a matrix as input only: other ranks would have to be known here.
    values.set(name, { name, rank, axis: 1 });
  }
  return [...values.values()];
}

/** New biases by node name: one number for each output channel. */
export type Biases = Readonly<Record<string, readonly number[]>>;

/** Mean errors of output channels that were computed before, with the same means, by node and weight form. */
export type KnownShifts = Map<string, Float64Array>;

/**
 * The biases of a float model moved by the mean error that rounding the weight puts on each output channel:
 * Σ (w − dequantized(w)) · E[x], with E[x] the mean of the input channel over samples. Bias correction after Nagel et al., "Data-Free
 * Quantization Through Weight Equalization and Bias Correction", 2019, section 4.2, with observed means. Nodes without a mean have none. `known` is read and added to.
 */
export function correctBiases(model: Model, plan: QuantizationPlan, means: ReadonlyMap<string, ArrayLike<number>>, known: KnownShifts = new Map<string, Float64Array>()): Biases {
  const index = indexOf(model.graph);
  const biases: Record<string, readonly number[]> = {};
  for (const { node, weight, constant } of correctable(model, plan)) {
    const mean = means.get(node.inputs[0]!);
    if (!mean) continue;
    const scales = plan.scales[constant.scales]!;
    const key = `${node.name} ${constant.dtype} ${constant.limit} ${scales.join(' ')}`;
    const shift = known.get(key) ?? outputShift(node, weight, constant, scales, mean);
    known.set(key, shift);
    if (!shift.every(Number.isFinite)) continue;
    const bias = node.inputs[2] ? numbersOf(index.constant(node.inputs[2])!) : new Float32Array(shift.length);
    if (bias.length !== shift.length) continue;
    biases[node.name] = Array.from(shift, (value, c) => Math.fround(bias[c]! + value));
  }
  return biases;
}

/** The model with other biases; the model itself where there are none. */
export function withBiases(model: Model, biases: Biases): Model {
  if (Object.keys(biases).length === 0) return model;
  const editor = new GraphEditor(model.graph);
  for (const node of model.graph.nodes) {
    const bias = biases[node.name];
    if (!bias) continue;
    const name = editor.addInitializer(`${node.inputs[2] || node.outputs[0]}_corrected`, tensorFromArray('float32', [bias.length], Float32Array.from(bias)));
    editor.replace(node, { ...node, inputs: [node.inputs[0]!, node.inputs[1]!, name] });
  }
  return { ...model, graph: editor.finish() };
}

interface Correctable {
  readonly node: Node;
  readonly planned: PlannedNode;
  readonly weight: Tensor;
  readonly constant: PlannedConstant;
}

function* correctable(model: Model, plan: QuantizationPlan): Generator<Correctable> {
  const index = indexOf(model.graph);
  for (const [i, planned] of plan.nodes.entries()) {
    const node = model.graph.nodes[i]!;
    const constant = planned.constants?.[1];
    if (!constant || (node.opType !== 'Conv' && node.opType !== 'Gemm')) continue;
    // What it sums over lies along axis 0 of its input, where others that read the input have none of theirs.
    if (intAttribute(node, 'transA', 0) !== 0) continue;
    yield { node, planned, weight: index.constant(node.inputs[1]!)!, constant };
  }
}

/** Mean error of each output channel. */
function outputShift(node: Node, weight: Tensor, constant: PlannedConstant, scales: readonly number[], mean: ArrayLike<number>): Float64Array {
  const values = numbersOf(weight);
  const { dtype, axis, zeroPoint } = constant;
  const integers = numbersOf(quantizeWeight(weight, axis, scales, dtype as 'int8', constant.limit!));
  const outputAxis = node.opType === 'Gemm' && intAttribute(node, 'transB', 0) === 0 ? 1 : 0;
  const outputs = weight.dims[outputAxis]!;
  const inputs = weight.dims[1 - outputAxis]!;
  const kernel = elementCount(weight.dims.slice(2));
  const outputsPerGroup = outputs / intAttribute(node, 'group', 1);
  const shift = new Float64Array(outputs);
  for (let o = 0; o < outputs; o++) {
    const scale = scales[scales.length === 1 ? 0 : o]!;
    const firstInput = Math.floor(o / outputsPerGroup) * inputs * (node.opType === 'Conv' ? 1 : 0);
    for (let c = 0; c < inputs; c++) {
      const start = (outputAxis === 0 ? o * inputs + c : c * outputs + o) * kernel;
      let error = 0;
      for (let k = start; k < start + kernel; k++) error += values[k]! - (integers[k]! - zeroPoint) * scale;
      shift[o]! += error * mean[firstInput + c]!;
    }
  }
  return shift;
}
