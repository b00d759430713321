import { indexOf } from '../../src/graph/graph-index.js';
import type { Model, Node } from '../../src/graph/model.js';
import { ruleOf } from '../../src/quantization/operator-rules.js';
import { planStatic, type StaticOptions } from '../../src/quantization/plan-static.js';
import { selectNodes, type SelectedNode, type SelectedValue, type Selection, type ValueTypes } from '../../src/quantization/select.js';
import { applyStaticPlan } from '../../src/quantization/static-qdq.js';
import { GraphBuilder, int, ints, valueInfo } from '../models/graph-builder.js';

/** The same layers in float and in integers, and a model with the same inputs and as many outputs that does nothing. */
export interface LayerModels {
  readonly float: Model;
  readonly integer: Model;
  readonly empty: Model;
  readonly layers: number;
  /** Nodes that multiply on integers, where they are not the layers. */
  readonly integerNodes?: number;
}

/** Equal convolutions, one after another, each with a Relu. */
export interface ConvolutionLayer {
  readonly kernel: number;
  readonly channels: number;
  readonly size: number;
  readonly depthwise?: boolean;
}

/** Equal products side by side: rows × depth by depth × columns. */
export interface ProductLayer {
  /** `float`: float in, float out, each with a Q of its own. `quantized`: all read one quantized value, and give integers. */
  readonly output: 'float' | 'quantized';
  readonly operator: 'MatMul' | 'Gemm';
  readonly rows: number;
  readonly depth: number;
  readonly columns: number;
  readonly count: number;
}

const OPTIONS: StaticOptions = {
  target: 'ort-x64-vnni',
  activationType: 'uint8',
  weightType: 'int8',
  perChannel: true,
  symmetricActivations: false,
  reduceRange: false,
  method: 'fixed',
};
const OPSET = 17;
const CONVOLUTIONS = 6;
const PRODUCTS_WITH_SOFTMAX = 3;

/** A chain of six convolutions with Relu, and one Q/DQ pair at each end. */
export function convolutionChain({ kernel, channels, size, depthwise = false }: ConvolutionLayer): LayerModels {
  const build = new GraphBuilder();
  const groups = depthwise ? channels : 1;
  const fanIn = (channels / groups) * kernel * kernel;
  const pad = Math.floor(kernel / 2);
  let x = 'input';
  for (let i = 0; i < CONVOLUTIONS; i++) {
    const weights = build.normal([channels, channels / groups, kernel, kernel], Math.sqrt(2 / fanIn));
    x = build.add('Conv', [x, weights, build.normal([channels], 0.1)], { kernel_shape: ints(kernel, kernel), pads: ints(pad, pad, pad, pad), group: int(groups) });
    x = build.add('Relu', [x]);
  }
  const shape = [1, channels, size, size];
  const float = build.finish([valueInfo('input', 'float32', shape)], [valueInfo(x, 'float32', shape)], OPSET);
  const integer = quantizeBy(float, selectNodes(float.graph, new Map(), { opset: OPSET }), new Map());
  return { float, integer, empty: emptyModel(float), layers: CONVOLUTIONS };
}

/** A pool, or a batch norm and its Relu, after each of four 1×1 convolutions. */
export interface ChannelwiseLayer {
  readonly operator: 'AveragePool' | 'BatchNormalization';
  readonly channels: number;
  readonly size: number;
}

const CHANNELWISE = 4;

/** Convolutions on integers and what stands between them: as `float` by the runtime's own kernels, as `integer` by depthwise convolutions. */
export function channelwiseBetweenConvolutions({ operator, channels, size }: ChannelwiseLayer): LayerModels {
  const build = new GraphBuilder();
  const convolution = (x: string) => build.add('Conv', [x, build.normal([channels, channels, 1, 1], Math.sqrt(2 / channels))], { kernel_shape: ints(1, 1) });
  const vector = (value: number) => build.normal([channels], 0, value);
  let x = convolution('input');
  for (let i = 0; i < CHANNELWISE; i++) {
    x =
      operator === 'AveragePool'
        ? build.add('AveragePool', [x], { kernel_shape: ints(3, 3), pads: ints(1, 1, 1, 1), count_include_pad: int(1) })
        : build.add('Relu', [build.add('BatchNormalization', [x, vector(1.5), vector(0.5), vector(0.1), vector(2)])]);
    x = convolution(x);
  }
  const shape = [1, channels, size, size];
  const float = build.finish([valueInfo('input', 'float32', shape)], [valueInfo(x, 'float32', shape)], OPSET);
  const types: ValueTypes = new Map(float.graph.nodes.flatMap(({ outputs }) => outputs.map((name) => [name, float.graph.inputs[0]!.type] as const)));
  // Without the number of channels, nothing can be written as a depthwise convolution.
  const quantized = (known: ValueTypes) => quantizeBy(float, selectNodes(float.graph, known, { opset: OPSET }), known);
  return { float: quantized(new Map()), integer: quantized(types), empty: emptyModel(float), layers: CHANNELWISE, integerNodes: 2 * CHANNELWISE + 1 };
}

/** Three products on integers with a Softmax after each but the last: in float, and on integers. */
export function softmaxBetweenProducts(shape: readonly number[]): LayerModels {
  const build = new GraphBuilder();
  const width = shape.at(-1)!;
  const product = (x: string) => build.add('MatMul', [x, build.normal([width, width], Math.sqrt(2 / width))]);
  let x = product('input');
  for (let i = 1; i < PRODUCTS_WITH_SOFTMAX; i++) x = product(build.add('Softmax', [x]));
  const float = build.finish([valueInfo('input', 'float32', shape)], [valueInfo(x, 'float32', shape)], OPSET);
  const quantized = (takesSlower: boolean) => quantizeBy(float, selectNodes(float.graph, new Map(), { opset: OPSET, takesSlower }), new Map());
  return { float: quantized(false), integer: quantized(true), empty: emptyModel(float), layers: PRODUCTS_WITH_SOFTMAX };
}

/** Products whose number of terms does not matter to the selection made here, as it would to qdq's own. */
export function products({ output, operator, rows, depth, columns, count }: ProductLayer): LayerModels {
  const build = new GraphBuilder();
  const inputs = Array.from({ length: output === 'float' ? count : 1 }, (_, i) => `input${i}`);
  const outputs = Array.from({ length: count }, (_, i) => {
    const operands = [inputs[i % inputs.length]!, build.normal([depth, columns], 1 / Math.sqrt(depth))];
    return build.add(operator, operator === 'Gemm' ? [...operands, build.normal([columns], 0.1)] : operands);
  });
  const float = build.finish(
    inputs.map((name) => valueInfo(name, 'float32', [rows, depth])),
    outputs.map((name) => valueInfo(name, 'float32', [rows, columns])),
    OPSET,
  );
  const types: ValueTypes = new Map([...float.graph.inputs, ...float.graph.outputs].map(({ name, type }) => [name, type]));
  const integer = quantizeBy(float, selectAll(float.graph.nodes, output === 'quantized'), types);
  return { float, integer: output === 'quantized' ? withIntegerOutputs(integer) : integer, empty: emptyModel(float), layers: count };
}

function quantizeBy(model: Model, selection: Selection, types: ValueTypes): Model {
  return applyStaticPlan(model, planStatic(model, selection, types, () => [-4, 4], OPTIONS));
}

function selectAll(nodes: readonly Node[], quantizesOutput: boolean): Selection {
  const selected = new Map<Node, SelectedNode>();
  const values = new Map<string, SelectedValue>();
  const addValue = (name: string) => values.set(name, { name, group: name, carried: false, fixedRange: undefined });
  for (const node of nodes) {
    selected.set(node, {
      node,
      rule: ruleOf(node)!,
      activations: [0],
      constants: [],
      weight: 1,
      depthwise: undefined,
      biasAdd: undefined,
      absorbed: undefined,
      ends: node.outputs,
      quantizesOutput,
    });
    addValue(node.inputs[0]!);
    if (quantizesOutput) addValue(node.outputs[0]!);
  }
  return { nodes: selected, values, floatReasons: new Map() };
}

/** Leaves out the DQ before each output, as if what follows read integers. */
function withIntegerOutputs(model: Model): Model {
  const index = indexOf(model.graph);
  const last = new Set(model.graph.outputs.map(({ name }) => index.producer(name)!));
  const outputs = model.graph.outputs.map(({ name, type }) => {
    const shape = type.kind === 'tensor' ? (type.shape ?? []) : [];
    return valueInfo(index.producer(name)!.inputs[0]!, 'uint8', shape);
  });
  return { ...model, graph: { ...model.graph, nodes: model.graph.nodes.filter((node) => !last.has(node)), outputs } };
}

function emptyModel({ graph }: Model): Model {
  const build = new GraphBuilder();
  const outputs = graph.outputs.map((_, i) => build.add('Shape', [graph.inputs[i % graph.inputs.length]!.name]));
  const rank = graph.inputs[0]!.type.kind === 'tensor' ? graph.inputs[0]!.type.shape!.length : 0;
  return build.finish(graph.inputs, outputs.map((name) => valueInfo(name, 'int64', [rank])), OPSET);
}
