import { intAttribute } from '../graph/attributes.js';
import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Graph, Model, Node } from '../graph/model.js';
import { prune } from '../passes/prune.js';
import { integerScalar, quantizeTensor, type QuantizedType } from '../tensor/affine.js';
import { memoryStorage, tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { depthwiseForm } from './as-depthwise.js';
import type { PlannedConstant, PlannedDepthwise, PlannedNode, QuantizationPlan } from './plan.js';
import { integerStorage } from './integer-storage.js';
import { quantizeBias, quantizeWeight } from './weights.js';

/** Carries a static plan out on the model that it was made for: inserts Q and DQ nodes and stores constants as integers. */
export function applyStaticPlan(model: Model, plan: QuantizationPlan): Model {
  const graph = new StaticRecipe(model.graph, plan).apply();
  const opsets = plan.domain === '' ? model.opsets : new Map(model.opsets).set(plan.domain, model.opsets.get(plan.domain) ?? 1);
  // A value that only nodes kept in float read has a DequantizeLinear that nobody needs.
  return prune({ ...model, graph, opsets }).model;
}

class StaticRecipe {
  readonly #graph: Graph;
  readonly #plan: QuantizationPlan;
  readonly #editor: GraphEditor;
  readonly #inputs = new Map<Node, string[]>();
  readonly #outputs = new Map<Node, string[]>();
  /** Nodes that are written as other operators. */
  readonly #forms = new Map<Node, Pick<Node, 'opType' | 'attributes'>>();
  readonly #dequantized = new Map<string, string>();
  /** Integers of the values that integer kernels make. */
  readonly #quantized = new Map<string, string>();
  readonly #byName: ReadonlyMap<string, Node>;
  /** Zero points by type, value and count: most tensors share them. */
  readonly #zeroPoints = new Map<string, string>();

  constructor(graph: Graph, plan: QuantizationPlan) {
    this.#graph = graph;
    this.#plan = plan;
    this.#editor = new GraphEditor(graph);
    this.#byName = new Map(graph.nodes.map((node) => [node.name, node]));
  }

  apply(): Graph {
    for (const { outputs, pairBefore } of this.#plan.nodes) {
      // With a pair before the activation, the activation itself runs in float, and only integer readers take its result through Q and DQ.
      if (pairBefore === undefined) outputs?.forEach((name) => this.#quantizeForAll(name));
    }
    this.#plan.nodes.forEach((planned, i) => {
      if (planned.kernel) this.#quantizeNode(planned, this.#graph.nodes[i]!);
    });
    this.#plan.nodes.forEach((planned, i) => {
      if (planned.decision === 'float') this.#keepFloat(this.#graph.nodes[i]!);
    });
    for (const node of this.#graph.nodes) {
      const inputs = this.#inputs.get(node);
      const outputs = this.#outputs.get(node);
      if (inputs || outputs) this.#editor.replace(node, { ...node, ...this.#forms.get(node), inputs: inputs ?? node.inputs, outputs: outputs ?? node.outputs });
    }
    return this.#editor.finish();
  }

  /**
   * Lets a float node with a constant weight read integers through a DequantizeLinear with a scale for each channel, all of them equal.
   * Between a DequantizeLinear of one scale and a QuantizeLinear, onnxruntime would quantize the weight itself, with one scale and full range.
   * Source: core/optimizer/qdq_transformer/weight_bias_quantization.cc of onnxruntime 1.21 and later.
   */
  #keepFloat(node: Node): void {
    const value = node.inputs[0] ?? '';
    const quantized = this.#quantized.get(value);
    const weight = indexOf(this.#graph).constant(node.inputs[1] ?? '');
    const layout = weight && inputChannels(node, weight);
    if (quantized === undefined || !layout) return;
    const { dtype, scale, zeroPoint } = this.#plan.tensors[value]!;
    const parameters = this.#parameters(value, dtype, new Array<number>(layout.count).fill(scale), zeroPoint, layout.axis);
    const dequantized = this.#editor.names.unique(`${value}_channels`);
    this.#editor.add(this.#node('DequantizeLinear', `${value}_DQ`, [quantized, ...parameters], dequantized, layout.axis));
    this.#inputsOf(node)[0] = dequantized;
  }

  #inputsOf(node: Node): string[] {
    let inputs = this.#inputs.get(node);
    if (!inputs) this.#inputs.set(node, (inputs = [...node.inputs]));
    return inputs;
  }

  /** Renames what the producer makes, so that everyone who reads the value, the graph's output too, gets it through Q and DQ. */
  #quantizeForAll(name: string): void {
    const producer = indexOf(this.#graph).producer(name)!;
    const raw = this.#editor.names.unique(`${name}_f`);
    const outputs = this.#outputs.get(producer) ?? [...producer.outputs];
    outputs[outputs.indexOf(name)] = raw;
    this.#outputs.set(producer, outputs);
    this.#quantized.set(name, this.#addPair(name, raw, name));
    this.#dequantized.set(name, name);
  }

  /** The value after Q and DQ, for readers that run on integers. */
  #dequantizedValue(name: string): string {
    let value = this.#dequantized.get(name);
    if (value === undefined) {
      value = this.#editor.names.unique(`${name}_dq`);
      this.#addPair(name, name, value);
      this.#dequantized.set(name, value);
    }
    return value;
  }

  /** Returns the name of the quantized value. */
  #addPair(tensorName: string, from: string, to: string): string {
    const { dtype, scale, zeroPoint } = this.#plan.tensors[tensorName]!;
    const parameters = this.#parameters(tensorName, dtype, [scale], zeroPoint, null);
    const quantized = this.#editor.names.unique(`${tensorName}_q`);
    this.#editor.add(
      this.#node('QuantizeLinear', `${tensorName}_Q`, [from, ...parameters], quantized),
      this.#node('DequantizeLinear', `${tensorName}_DQ`, [quantized, ...parameters], to),
    );
    return quantized;
  }

  #quantizeNode(planned: PlannedNode, node: Node): void {
    const inputs = this.#inputsOf(node);
    for (const [i, value] of Object.entries(planned.activations ?? {})) inputs[Number(i)] = this.#dequantizedValue(value);
    for (const [i, constant] of Object.entries(planned.constants ?? {})) inputs[Number(i)] = this.#constant(node.inputs[Number(i)]!, constant);
    if (planned.depthwise) this.#writeDepthwise(node, planned.depthwise);
    if (planned.biasAdd?.as === 'int32') {
      const add = this.#byName.get(planned.biasAdd.name)!;
      const { input, constant } = planned.biasAdd;
      this.#inputsOf(add)[input] = this.#constant(add.inputs[input]!, constant);
    }
    if (planned.pairBefore) this.#pairBefore(planned.pairBefore);
  }

  #writeDepthwise(node: Node, { channels, weight, bias }: PlannedDepthwise): void {
    const form = depthwiseForm(indexOf(this.#graph), node, channels)!;
    this.#forms.set(node, { opType: 'Conv', attributes: form.attributes });
    const inputs = this.#inputsOf(node);
    inputs.splice(1, Infinity, this.#store(`${node.name}_weight`, form.weight, weight));
    if (bias) inputs.push(this.#store(`${node.name}_bias`, form.bias!, bias));
  }

  /** A Q/DQ pair with the activation's own parameters before it: what they clip, the activation would clip too. */
  #pairBefore(activationName: string): void {
    const activation = this.#byName.get(activationName)!;
    const activationOutput = activation.outputs[0]!;
    const input = activation.inputs[0]!;
    const value = this.#editor.names.unique(`${input}_dq`);
    this.#addPair(activationOutput, input, value);
    this.#inputsOf(activation)[0] = value;
  }

  readonly #constants = new Map<string, string>();

  /** Stores a constant as integers, once for each way of doing so, and returns the value after its DQ. */
  #constant(name: string, planned: PlannedConstant): string {
    const key = JSON.stringify([name, planned]);
    const known = this.#constants.get(key);
    if (known !== undefined) return known;
    const value = this.#store(name, indexOf(this.#graph).constant(name)!, planned);
    this.#constants.set(key, value);
    return value;
  }

  /** Stores a tensor as integers and returns the value after its DQ. */
  #store(name: string, tensor: Tensor, planned: PlannedConstant): string {
    const scales = this.#plan.scales[planned.scales]!;
    const stored = this.#editor.addInitializer(`${name}_q`, storeConstant(tensor, planned, scales));
    const parameters = this.#parameters(name, planned.dtype, scales, planned.zeroPoint, planned.axis);
    const value = this.#editor.names.unique(`${name}_dq`);
    this.#editor.add(this.#node('DequantizeLinear', `${name}_DQ`, [stored, ...parameters], value, planned.axis));
    return value;
  }

  /** Names of the scale and zero point, as scalars or as vectors of one value a channel. */
  #parameters(hint: string, dtype: QuantizedType | 'int32', scales: readonly number[], zeroPoint: number, axis: number | null): [string, string] {
    const dims = axis === null ? [] : [scales.length];
    const scale = this.#editor.addInitializer(`${hint}_s`, tensorFromArray('float32', dims, Float32Array.from(scales)));
    const count = axis === null ? undefined : scales.length;
    const key = [dtype, zeroPoint, count ?? 'scalar'].join('_');
    let zeros = this.#zeroPoints.get(key);
    if (zeros === undefined) {
      const scalar = integerScalar(dtype, zeroPoint);
      zeros = this.#editor.addInitializer(`zero_point_${key}`, count === undefined ? scalar : repeated(scalar, count));
      this.#zeroPoints.set(key, zeros);
    }
    return [scale, zeros];
  }

  #node(opType: string, name: string, inputs: readonly string[], output: string, axis: number | null = null): Node {
    return createNode({
      name: this.#editor.names.unique(name),
      opType,
      domain: this.#plan.domain,
      inputs,
      outputs: [output],
      attributes: axis === null ? {} : { axis: { kind: 'int', value: axis } },
    });
  }
}

/** How many channels a node with a weight sums over, and along which axis of its input; undefined for nodes whose weight onnxruntime leaves alone. */
function inputChannels(node: Node, weight: Tensor): { readonly axis: number; readonly count: number } | undefined {
  if (node.domain !== '') return undefined;
  const [rows = 1, columns = 1] = weight.dims;
  switch (node.opType) {
    case 'Conv':
      return { axis: 1, count: columns * intAttribute(node, 'group', 1) };
    case 'ConvTranspose':
      return { axis: 1, count: rows };
    case 'Gemm':
      return { axis: intAttribute(node, 'transA', 0) === 0 ? 1 : 0, count: intAttribute(node, 'transB', 0) === 0 ? rows : columns };
    case 'MatMul':
      // With an Add after it, it becomes a Gemm.
      return weight.dims.length === 2 ? { axis: -1, count: rows } : undefined;
    default:
      return undefined;
  }
}

/** The integers of a constant as a plan wants them stored. */
export function storeConstant(tensor: Tensor, { dtype, axis, zeroPoint, limit }: PlannedConstant, scales: readonly number[]): Tensor {
  if (dtype === 'int32') return quantizeBias(tensor, axis, scales);
  if (limit === undefined) return quantizeTensor(tensor, { dtype, scale: scales[0]!, zeroPoint });
  if (dtype === 'int8' || dtype === 'uint8') return { dtype, dims: tensor.dims, storage: integerStorage(tensor, { axis, scales, dtype, limit }) };
  return quantizeWeight(tensor, axis, scales, dtype, limit);
}

function repeated(scalar: Tensor, count: number): Tensor {
  const bytes = scalar.storage.read();
  const all = new Uint8Array(bytes.length * count);
  for (let i = 0; i < count; i++) all.set(bytes, i * bytes.length);
  return { dtype: scalar.dtype, dims: [count], storage: memoryStorage(all) };
}
