import { intAttribute } from '../graph/attributes.js';
import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';
import { elementCount, tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { integerStorage } from './integer-storage.js';
import { channelMaxima, scalesFromMaxima, weightLimit } from './weights.js';

/** Elements below which the integers and what turns them back into floats would take no less room. */
const MIN_ELEMENTS = 1024;

const FLOAT = 1;

/** Which axes of a weight have scales of their own, by input index; the others share one. */
type ScaledAxes = (node: Node, rank: number) => Readonly<Record<number, readonly number[] | undefined>>;

const RULES: Readonly<Record<string, ScaledAxes>> = {
  Conv: () => ({ 1: [0] }),
  ConvTranspose: () => ({ 1: [1] }),
  MatMul: (_, rank) => ({ 1: [rank - 1] }),
  Gemm: (node) => ({ 1: [intAttribute(node, 'transB', 0) === 0 ? 1 : 0] }),
  // [directions, gates, inputs]
  LSTM: () => ({ 1: [0, 1], 2: [0, 1] }),
  GRU: () => ({ 1: [0, 1], 2: [0, 1] }),
  RNN: () => ({ 1: [0, 1], 2: [0, 1] }),
  Gather: (node, rank) => (rank === 2 && intAttribute(node, 'axis', 0) === 0 ? { 0: [0] } : {}),
};

/** Nodes of a graph that run in float and have weights to store as integers; nodes in bodies are left alone. */
export function storableNodes(graph: Graph): Node[] {
  return graph.nodes.filter((node) => storableWeights(graph, node).length > 0);
}

/**
 * The graph with the weights of the nodes of these names stored as s8, and turned back into floats by Cast and Mul: unlike DequantizeLinear, which
 * the runtime keeps for its integer kernels, it computes those once, when it loads the model, and then runs what it ran before.
 * Source: core/optimizer/constant_folding.cc of onnxruntime.
 */
export function withStoredWeights(graph: Graph, names: ReadonlySet<string>): Graph {
  const editor = new GraphEditor(graph);
  const stored = new Set<string>();
  for (const node of graph.nodes) {
    if (!names.has(node.name)) continue;
    for (const { value, tensor, axes } of storableWeights(graph, node)) {
      if (stored.has(value)) continue;
      stored.add(value);
      const { integers, scales } = rounded(tensor, axes);
      const float = editor.names.unique(`${value}_float`);
      editor.add(
        createNode({
          name: editor.names.unique(`${value}_Cast`),
          opType: 'Cast',
          inputs: [editor.addInitializer(`${value}_q`, integers)],
          outputs: [float],
          attributes: { to: { kind: 'int', value: FLOAT } },
        }),
        createNode({ name: editor.names.unique(`${value}_Mul`), opType: 'Mul', inputs: [float, editor.addInitializer(`${value}_s`, scales)], outputs: [value] }),
      );
    }
  }
  if (stored.size === 0) return graph;
  const edited = editor.finish();
  return { ...edited, initializers: new Map([...edited.initializers].filter(([name]) => !stored.has(name))) };
}

interface StorableWeight {
  readonly value: string;
  readonly tensor: Tensor;
  readonly axes: readonly number[];
}

function storableWeights(graph: Graph, node: Node): StorableWeight[] {
  const rule = node.domain === '' ? RULES[node.opType] : undefined;
  if (!rule) return [];
  const index = indexOf(graph);
  return node.inputs.flatMap((value, input): StorableWeight[] => {
    const tensor = index.constant(value);
    if (tensor?.dtype !== 'float32' || tensor.dims.length < 2 || index.isOutput(value) || elementCount(tensor.dims) < MIN_ELEMENTS) return [];
    const axes = rule(node, tensor.dims.length)[input];
    return axes && maximaAlong(tensor, axes).every(Number.isFinite) ? [{ value, tensor, axes }] : [];
  });
}

/** The weight with the axes that have scales of their own as one. */
function joined(tensor: Tensor, axes: readonly number[]): { readonly tensor: Tensor; readonly axis: number } {
  if (axes.length === 1) return { tensor, axis: axes[0]! };
  const [first = 1, second = 1, ...rest] = tensor.dims;
  return { tensor: { dtype: tensor.dtype, dims: [first * second, ...rest], storage: tensor.storage }, axis: 0 };
}

function maximaAlong(tensor: Tensor, axes: readonly number[]): Float64Array {
  const flat = joined(tensor, axes);
  return channelMaxima(flat.tensor, flat.axis);
}

function rounded(tensor: Tensor, axes: readonly number[]): { readonly integers: Tensor; readonly scales: Tensor } {
  const limit = weightLimit('int8', false);
  const flat = joined(tensor, axes);
  const scales = scalesFromMaxima(channelMaxima(flat.tensor, flat.axis), limit);
  return {
    integers: { dtype: 'int8', dims: tensor.dims, storage: integerStorage(flat.tensor, { axis: flat.axis, scales, dtype: 'int8', limit }) },
    scales: tensorFromArray('float32', tensor.dims.map((dim, axis) => (axes.includes(axis) ? dim : 1)), Float32Array.from(scales)),
  };
}
