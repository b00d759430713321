import { intAttribute } from '../graph/attributes.js';
import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf, soleReader, type GraphIndex, type Use } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';
import { affineAlong } from '../tensor/affine-along.js';
import { bytesOf, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { batchNormAffine } from './fold-into-convolution.js';
import { passResult, type Change, type Pass } from './pass.js';

/** Operators that move elements and change none; the first input is what they move. */
const CARRIERS = new Set(['Reshape', 'Transpose', 'Unsqueeze', 'Squeeze', 'Flatten', 'Identity']);

/** Weights that are rewritten at most, in bytes: those of larger models are read piece by piece, and stay where they are. */
const MAX_REWRITTEN_BYTES = 256 * 2 ** 20;

/** y = scale · x + shift along the last axis; one element where it is the same for all. `x` names the value. */
interface Affine {
  readonly x: string;
  readonly scale: Float64Array;
  readonly shift?: Float64Array;
}

/** Constants of nodes that together make a value scale along with them, and the node that makes the value. */
interface Chain {
  readonly last: Node;
  readonly constants: readonly Use[];
}

/**
 * Folds a multiplication by a constant into the constant matrix and bias of the product (MatMul, Gemm) before it: that of attention through the
 * product of two activations, Transpose and Reshape back to the projection of its queries; one factor a column (LayerScale) and
 * BatchNormalization where they follow the product itself. The runtime folds a factor into a product of floats, not into one of integers.
 */
export const foldIntoProduct: Pass = (model) => {
  const changes: Change[] = [];
  const budget = { bytes: MAX_REWRITTEN_BYTES };
  let graph = model.graph;
  for (;;) {
    const round = foldOnce(graph, budget, changes);
    if (round === graph) return passResult(model, graph, changes);
    graph = round;
  }
};

function foldOnce(graph: Graph, budget: { bytes: number }, changes: Change[]): Graph {
  const index = indexOf(graph);
  const editor = new GraphEditor(graph);
  const folded: string[] = [];
  for (const follower of graph.nodes) {
    const affine = affineOf(index, follower);
    const chain = affine && chainBehind(index, affine);
    // One fold a chain and round: a node that was replaced is not the one that the index knows.
    if (!chain || [chain.last, ...chain.constants.map(({ node }) => node)].some((node) => editor.isReplaced(node))) continue;
    const constants = chain.constants.map(({ node, input }) => index.constant(node.inputs[input]!)!);
    const bytes = bytesOf(constants);
    const scaled = bytes <= budget.bytes && rewritten(chain, constants, affine);
    if (!scaled) continue;
    budget.bytes -= bytes;
    const edited = new Map<Node, Node>([[chain.last, { ...chain.last, outputs: follower.outputs.slice(0, 1) }]]);
    chain.constants.forEach(({ node, input }, i) => {
      const current = edited.get(node) ?? node;
      const name = editor.addInitializer(`${node.inputs[input]}_scaled`, scaled[i]!);
      edited.set(node, { ...current, inputs: current.inputs.map((value, k) => (k === input ? name : value)) });
    });
    for (const [node, by] of edited) editor.replace(node, by);
    editor.replace(follower);
    folded.push(follower.name || follower.outputs[0]!);
  }
  if (folded.length === 0) return graph;
  const message = `${folded.length} multiplications by constants were folded into the products before them`;
  changes.push({ pass: 'fold-into-product', names: folded, message });
  return editor.finish();
}

/** What a node does to the last axis of its only computed input, where it scales it by constants. */
function affineOf(index: GraphIndex, node: Node): Affine | undefined {
  if (node.domain !== '') return undefined;
  if (node.opType === 'BatchNormalization') {
    // Channels are on axis 1, which is the last one of a Gemm's output.
    const x = node.inputs[0]!;
    const channels = index.constant(node.inputs[1] ?? '')?.dims[0];
    const affine = channels !== undefined && index.producer(x)?.opType === 'Gemm' && batchNormAffine(index, node, channels);
    return affine ? { x, ...affine } : undefined;
  }
  if (node.opType !== 'Mul' && node.opType !== 'Div') return undefined;
  const at = node.inputs.findIndex((value) => index.constant(value));
  const x = node.inputs[1 - at];
  const constant = at < 0 || (node.opType === 'Div' && at === 0) ? undefined : index.constant(node.inputs[at]!);
  if (!x || index.constant(x) || constant?.dtype !== 'float32' || !broadcastsAlongLast(index, x, constant)) return undefined;
  const scale = Float64Array.from(numbersOf(constant), (value) => (node.opType === 'Div' ? 1 / value : value));
  return { x, scale };
}

/** Whether a constant widens no value of the rank that `x` surely has: 1, and 2 behind a Gemm. */
function broadcastsAlongLast(index: GraphIndex, x: string, { dims }: Tensor): boolean {
  if (dims.length === 0) return true;
  const producer = index.producer(x);
  if (dims.slice(0, -1).some((dim) => dim !== 1) || dims.length > (producer?.opType === 'Gemm' ? 2 : 1)) return false;
  // Either of these may make a scalar, which one element in a list would widen.
  return producer?.opType !== 'Squeeze' && producer?.opType !== 'Reshape';
}

function chainBehind(index: GraphIndex, { x, scale, shift }: Affine): Chain | undefined {
  const last = index.producer(x);
  const constants = last && constantsBehind(index, x, scale.length === 1 && !shift);
  return constants && { last, constants };
}

/** The constants that scale a value which one node alone reads: a matrix, and what is added to its product. */
function constantsBehind(index: GraphIndex, value: string, isScalar: boolean): readonly Use[] | undefined {
  const node = index.producer(value);
  if (!node || node.domain !== '' || !soleReader(index, value)) return undefined;
  if (node.opType === 'MatMul' || node.opType === 'Gemm') {
    const matrix = index.constant(node.inputs[1]!);
    if (matrix) {
      const uses = node.inputs.flatMap((name, input): Use[] => (input > 0 && name ? [{ node, input }] : []));
      return matrix.dims.length >= 2 && uses.every((use) => isOwnFloats(index, use)) ? uses : undefined;
    }
    if (!isScalar || node.opType === 'Gemm') return undefined;
    return constantsBehind(index, node.inputs[0]!, true) ?? constantsBehind(index, node.inputs[1]!, true);
  }
  if (node.opType === 'Add' || node.opType === 'Sub') {
    const input = node.inputs.findIndex((name) => index.constant(name));
    const others = input >= 0 && isOwnFloats(index, { node, input }) && constantsBehind(index, node.inputs[1 - input]!, isScalar);
    return others ? [...others, { node, input }] : undefined;
  }
  return isScalar && CARRIERS.has(node.opType) ? constantsBehind(index, node.inputs[0]!, true) : undefined;
}

/** Whether a constant holds floats that no other node reads: a copy for one reader would make the file larger. */
function isOwnFloats(index: GraphIndex, { node, input }: Use): boolean {
  const name = node.inputs[input]!;
  return index.constant(name)?.dtype === 'float32' && index.uses(name).length === 1 && !index.isOutput(name);
}

/** The constants after scaling, the shift taken into the one that is added last; undefined where that cannot be, or leaves the range of float32. */
function rewritten({ constants: uses }: Chain, constants: readonly Tensor[], { scale, shift }: Affine): Tensor[] | undefined {
  // Without a bias there is nothing that could take the shift.
  if (shift && constants.length === 1) return undefined;
  const columns = scale.length;
  const results: Tensor[] = [];
  for (const [i, tensor] of constants.entries()) {
    const { node, input } = uses[i]!;
    const isRows = node.opType === 'Gemm' && input === 1 && intAttribute(node, 'transB', 0) !== 0;
    const axis = isRows ? 0 : tensor.dims.length - 1;
    if (columns > 1 && tensor.dims[axis] !== columns) return undefined;
    const folded = affineAlong(tensor, axis, scale, i === constants.length - 1 ? shift : undefined);
    if (!numbersOf(folded).every(Number.isFinite)) return undefined;
    results.push(folded);
  }
  return results;
}
