import { intAttribute, subgraphsOf } from '../graph/attributes.js';
import { capturedValues, indexOf, type GraphIndex } from '../graph/graph-index.js';
import type { Graph, Model, Node } from '../graph/model.js';
import { allNodes } from '../graph/traversal.js';
import { constantNodes } from '../passes/fold-constants.js';
import { dtypeInfo, isQuantizedType } from '../tensor/dtype.js';
import { elementCount, type Tensor } from '../tensor/tensor.js';
import { constantBehind } from './constant-behind.js';
import { fusedGraph, markNodes, type FusedGraph } from './fused-graph.js';
import { floatReason, isDequantized } from './float-reason.js';
import type { RuntimeHost } from './host.js';
import type { FusedNode, FusedReport } from './integer-report.js';
import { computeArithmetic, isBlockProduct, isDequantize, isIntegerKernel, isQuantize } from './kernels.js';
import { describeCpu, runtimeVersion } from './machine.js';
import type { SessionOptions } from './session.js';
import { readStaged, type StagedModel } from './staged-model.js';
import { defineTask } from './task.js';
import { weightBytes } from './weight-bytes.js';

/** Ways to look other than at this machine's own. */
export type CoverageOptions = Pick<SessionOptions, 'fuseInt8'>;

/** What the runtime made of a model. */
export interface KernelCoverage {
  readonly report: FusedReport;
  /** Names of nodes that read from a DequantizeLinear in the fused graph, which integer kernels do not. */
  readonly readDequantized: readonly string[];
  /** Names of nodes that stand beside Q and DQ nodes of the fused graph that convert for no integer kernel. */
  readonly besideDangling: readonly string[];
  /** Outputs of the model's Q and DQ nodes that convert for no integer kernel (see `danglingQdqNodes`). */
  readonly danglingQdq: readonly string[];
}

/** Looks up what each compute node of a model runs as. */
export const coverageTask = defineTask(
  import.meta.url,
  'coverageTask',
  async (args: CoverageOptions & { model: StagedModel; scratchPath: string }): Promise<KernelCoverage> => {
    const model = await readStaged(args.model);
    const fused = await fusedGraph(markNodes(model), args.model.externalDataFolder, args.scratchPath, args);
    return { report: integerReport(model, fused), readDequantized: nodesReadingDequantized(fused), besideDangling: nodesBesideDangling(model, fused), danglingQdq: danglingOutputs(fused) };
  },
);

/** What the runtime makes of a model, without a run: no times and no multiply–accumulates. */
export async function kernelCoverage(host: RuntimeHost, model: StagedModel, options: CoverageOptions = {}): Promise<KernelCoverage> {
  return host.run(coverageTask, { ...options, model, scratchPath: await host.temporaryPath('fused.onnx') });
}

function nodesReadingDequantized(fused: FusedGraph): string[] {
  const readingIn = (graph: Graph): Node[] => {
    const index = indexOf(graph);
    return graph.nodes.flatMap((node) => [...(node.inputs.some((input) => isDequantized(index, input)) ? [node] : []), ...subgraphsOf(node).flatMap(readingIn)]);
  };
  return readingIn(fused.graph).flatMap((node) => fused.marked(node).map(({ name }) => name));
}

/** Nodes before and after dangling Q/DQ, in the fused graph and in the model: nodes that the runtime moves lose their names. */
function nodesBesideDangling({ graph }: Model, fused: FusedGraph): string[] {
  const beside = danglingNodes(fused.graph).flatMap(({ graph: each, nodes }) => pastPairs(each, nodes).flatMap((node) => fused.marked(node)));
  return [...new Set(graphsIn(graph).flatMap((each) => pastPairs(each, beside.filter((node) => each.nodes.includes(node))).map(({ name }) => name)))];
}

/** A graph and the bodies inside it. */
function graphsIn(graph: Graph): Graph[] {
  return [graph, ...graph.nodes.flatMap((node) => subgraphsOf(node).flatMap(graphsIn))];
}

/** The nodes themselves, and what stands before and after them where they are Q and DQ, further ones seen through. */
function pastPairs(graph: Graph, nodes: readonly Node[]): Node[] {
  const index = indexOf(graph);
  const seen = new Set<Node>();
  const pending = [...nodes];
  while (pending.length > 0) {
    const node = pending.pop()!;
    if (seen.has(node)) continue;
    seen.add(node);
    if (!isQuantize(node) && !isDequantize(node)) continue;
    pending.push(...node.outputs.flatMap((output) => index.uses(output).map((use) => use.node)), ...node.inputs.flatMap((input) => index.producer(input) ?? []));
  }
  return [...seen];
}

function danglingOutputs(fused: FusedGraph): string[] {
  return danglingQdq(fused.graph).flatMap((node) => fused.marked(node).flatMap((marked) => (isQuantize(marked) || isDequantize(marked) ? marked.outputs : [])));
}

/** Joins a model with what the runtime made of it. */
export function integerReport(model: Model, fused: FusedGraph): FusedReport {
  const kernels = kernelsByNode(model.graph, fused);
  const nodes = computeNodes(model.graph).map((found) => describeNode(found, kernels.get(found.node)));
  return {
    runtime: runtimeVersion(),
    provider: 'cpu',
    cpu: describeCpu(),
    computeNodes: nodes.length,
    integerNodes: nodes.filter((node) => node.runsAs === 'integer').length,
    macsShare: null,
    timeShare: null,
    time: null,
    danglingQdqNodes: danglingQdq(fused.graph).length,
    weightBytes: { ...weightBytes(model.graph), residentInteger: weightBytes(fused.graph).integer },
    nodes,
  };
}

/** A node, and the graph or body that it stands in. */
export interface NodeInGraph {
  readonly node: Node;
  readonly graph: Graph;
  /** Graphs around that body, the innermost first. */
  readonly outer: readonly Graph[];
}

/** Compute nodes of a graph and its bodies, in the order of the report, that do not depend on constants only. */
export function computeNodes(graph: Graph, outer: readonly Graph[] = []): NodeInGraph[] {
  const constant = constantNodes(graph);
  return graph.nodes.flatMap((node) => [
    ...(computeArithmetic(node) && !constant.has(node) ? [{ node, graph, outer }] : []),
    ...subgraphsOf(node).flatMap((body) => computeNodes(body, [graph, ...outer])),
  ]);
}

/** The fused compute node that stands for each compute node: by its mark, otherwise by the values between which it stood. */
function kernelsByNode(graph: Graph, fused: FusedGraph): Map<Node, Node> {
  const kernels = new Map<Node, Node>();
  const unmarked: Node[] = [];
  for (const kernel of allNodes(fused.graph)) {
    if (!computeArithmetic(kernel)) continue;
    const marked = fused.marked(kernel).filter((node) => computeArithmetic(node));
    for (const node of marked) kernels.set(node, kernel);
    if (marked.length === 0) unmarked.push(kernel);
  }
  for (const kernel of unmarked) for (const node of replacedBy(graph, kernel)) if (!kernels.has(node)) kernels.set(node, kernel);
  return kernels;
}

/** Compute nodes from which a fused node's outputs are made without passing through its inputs. */
function replacedBy(graph: Graph, kernel: Node): Node[] {
  const index = indexOf(graph);
  const known = new Set(kernel.inputs);
  const seen = new Set<Node>();
  const pending = [...kernel.outputs];
  while (pending.length > 0) {
    const value = pending.pop()!;
    const producer = known.has(value) ? undefined : index.producer(value);
    if (!producer || seen.has(producer)) continue;
    seen.add(producer);
    pending.push(...producer.inputs);
  }
  return [...seen].filter((node) => computeArithmetic(node));
}

function describeNode({ node, graph, outer }: NodeInGraph, kernel: Node | undefined): FusedNode {
  const runsAs = (kernel && computeArithmetic(kernel)) ?? 'float';
  return {
    name: node.name || node.outputs[0] || '',
    opType: node.opType,
    runsAs,
    kernel: kernel?.opType ?? node.opType,
    weights: describeWeights(node, graph),
    macs: null,
    timeMs: null,
    reason: runsAs === 'integer' ? null : floatReason(node, graph, outer),
  };
}

/** The stored type of the largest constant behind a compute node's inputs, and the type that loading gives it where that is another. */
export function describeWeights(node: Node, graph: Graph): string | null {
  if (isBlockProduct(node)) return `u${intAttribute(node, 'bits', 4)} in blocks`;
  const index = indexOf(graph);
  let text: string | null = null;
  let largest = -1;
  node.inputs.forEach((input, i) => {
    const found = constantBehind(graph, input);
    if (!found || found.tensor.dims.length < 2 || found.tensor.storage.byteLength <= largest) return;
    const { tensor, dequantize, quantize } = found;
    largest = tensor.storage.byteLength;
    // MatMulIntegerToFloat takes both scales behind both operands.
    const next = node.inputs[node.opType === 'MatMulIntegerToFloat' ? i + 2 : i + 1] ?? '';
    const scale = dequantize ? index.constant(dequantize.inputs[1]!) : (dynamicScale(index, node, i) ?? quantizedOperatorScale(index.constant(next), tensor));
    const isLstm = node.opType === 'DynamicQuantizeLSTM';
    const granularity = !scale ? '' : !isLstm && isBlocked(scale) ? ' in blocks' : elementCount(scale.dims) > (isLstm ? scale.dims[0]! : 1) ? ' per channel' : ' per tensor';
    const stored = dtypeInfo(tensor.dtype).short;
    const loaded = quantize && (index.constant(quantize.inputs[2] ?? '')?.dtype ?? 'uint8');
    text = loaded ? `${stored}, ${dtypeInfo(loaded).short}${granularity} when loaded` : stored + granularity;
  });
  return text;
}

/** DynamicQuantizeLSTM takes the scales of W and R as inputs 8 and 10; the product after MatMulInteger or ConvInteger is scaled by a Mul of both scales. */
function dynamicScale(index: GraphIndex, node: Node, input: number): Tensor | undefined {
  if (node.opType === 'DynamicQuantizeLSTM') return index.constant(node.inputs[input === 1 ? 8 : 10] ?? '');
  if (!/^(MatMul|Conv)Integer$/.test(node.opType)) return undefined;
  const readers = (value: string | undefined, opType: string) => index.uses(value ?? '').flatMap((use) => (use.node.opType === opType ? [use.node] : []));
  const [scaled] = readers(readers(node.outputs[0], 'Cast')[0]?.outputs[0], 'Mul');
  const factors = scaled?.inputs.flatMap((value) => index.producer(value) ?? []).find(({ opType }) => opType === 'Mul');
  return factors?.inputs.map((value) => index.constant(value)).find((tensor) => tensor?.dtype === 'float32');
}

/** One scale a block of channels has several dimensions of more than one element. */
function isBlocked({ dims }: Tensor): boolean {
  return dims.filter((dim) => dim > 1).length > 1;
}

/** In QLinearConv and its like the scale is the input after the integer weight. */
function quantizedOperatorScale(next: Tensor | undefined, weight: Tensor): Tensor | undefined {
  return next?.dtype === 'float32' && isQuantizedType(weight.dtype) ? next : undefined;
}

/**
 * Q and DQ nodes of a graph and its bodies that convert for no integer kernel: a Q from which only DQ nodes are reached, a DQ that no integer kernel feeds, and a DQ
 * together with the Q that undo it.
 * Between a float operator and an integer kernel one of them is needed, and does not count; nor does the DQ after a lookup in a table of
 * integers, which is how such tables are stored. A Q that a body reads counts there, where its DQ stands. `outside` are values that integer kernels
 * make in the graphs around.
 */
function danglingNodes(graph: Graph, outside: ReadonlySet<string> = new Set()): { readonly graph: Graph; readonly nodes: readonly Node[] }[] {
  const index = indexOf(graph);
  const useful = new Set<Node>();
  const reach = (start: Node, next: (node: Node) => readonly Node[], stop: (node: Node) => boolean): boolean => {
    const pending = [...next(start)];
    const seen = new Set<Node>();
    while (pending.length > 0) {
      const node = pending.pop()!;
      if (isIntegerKernel(node)) return true;
      if (stop(node) || seen.has(node)) continue;
      seen.add(node);
      pending.push(...next(node));
    }
    return false;
  };
  const readers = (node: Node) => node.outputs.flatMap((output) => index.uses(output).map((use) => use.node));
  const producers = (node: Node) => node.inputs.flatMap((input) => index.producer(input) ?? []);
  const isReadInside = ({ outputs }: Node) => index.uses(outputs[0]!).some(({ input }) => input < 0);
  for (const node of graph.nodes) {
    if (isQuantize(node) && (isReadInside(node) || reach(node, readers, isDequantize))) useful.add(node);
    if (isDequantize(node) && (outside.has(node.inputs[0]!) || reach(node, producers, isQuantize) || isLookup(index, node))) useful.add(node);
  }
  const all = graph.nodes.filter((node) => isQuantize(node) || isDequantize(node));
  for (const node of all) {
    if (!isDequantize(node) || !isUndone(index, node)) continue;
    useful.delete(node);
    readers(node).forEach((quantize) => useful.delete(quantize));
  }
  const isMadeByKernel = (value: string) => {
    const producer = index.producer(value);
    return producer ? isIntegerKernel(producer) || reach(producer, producers, isQuantize) : outside.has(value);
  };
  const inside = graph.nodes.flatMap(subgraphsOf).flatMap((body) => danglingNodes(body, new Set([...capturedValues(body)].filter(isMadeByKernel))));
  return [{ graph, nodes: all.filter((node) => !useful.has(node)) }, ...inside];
}

function danglingQdq(graph: Graph): Node[] {
  return danglingNodes(graph).flatMap(({ nodes }) => nodes);
}

/** Whether all that reads a DequantizeLinear quantizes again with the same parameters. */
function isUndone(index: GraphIndex, dequantize: Node): boolean {
  const [output = ''] = dequantize.outputs;
  const uses = index.uses(output);
  return uses.length > 0 && !index.isOutput(output) && uses.every(({ node }) => isQuantize(node) && [1, 2].every((i) => isSameConstant(index, node.inputs[i], dequantize.inputs[i])));
}

function isSameConstant(index: GraphIndex, a: string | undefined, b: string | undefined): boolean {
  if (a === b) return true;
  const [first, second] = [a, b].map((name) => index.constant(name ?? ''));
  return first?.dtype === second?.dtype && first !== undefined && second !== undefined && Buffer.from(first.storage.read()).equals(second.storage.read());
}

/** Whether what is dequantized was looked up in a table of integers, seen through what moves it. */
function isLookup(index: GraphIndex, dequantize: Node): boolean {
  for (let node = index.producer(dequantize.inputs[0]!); node; node = index.producer(node.inputs[0]!)) {
    if (node.opType === 'Gather' && isQuantizedType(index.constant(node.inputs[0]!)?.dtype ?? 'unknown')) return true;
    if (!MOVES.has(node.opType)) return false;
  }
  return false;
}

/** Operators that move integers without a look at them. */
const MOVES: ReadonlySet<string> = new Set(['Transpose', 'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten', 'Slice', 'Gather', 'Expand']);
