import { floatAttribute, intAttribute, intsAttribute } from '../graph/attributes.js';
import { indexOf, soleReader } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';
import type { Tensor } from '../tensor/tensor.js';
import { constantIn, scopedNodes, type Scope, type ScopedConstant, type ScopedNode } from './scopes.js';

/** A product or a lookup whose constant matrix can be stored in blocks. */
export interface WeightOnlyNode extends ScopedNode {
  readonly form: 'product' | 'lookup';
  readonly weight: ScopedConstant;
  /** The axis of the weight that blocks go along. */
  readonly depthAxis: 0 | 1;
  /** Whether the runtime fuses a DequantizeLinear of its weight with it. */
  readonly fuses: boolean;
}

/** What becomes of a node: its form, or why its weights stay as they are. */
export type WeightOnlyChoice = WeightOnlyNode | (ScopedNode & { readonly form: null; readonly reason: string });

/** What the user wants to see in blocks. */
export interface WeightOnlySelection {
  /** Why the user keeps a node in float; undefined where it may be quantized. */
  readonly keptFloat: (node: Node) => string | undefined;
  /** Size of the blocks of tables that Gather reads; null where those stay as they are. */
  readonly lookupBlock: number | null;
}

/** Fewer products than the smallest block has elements gain nothing. */
const MIN_DEPTH = 16;

/** Operators whose weights stay float. */
const HEAVY = /Conv|LSTM|GRU|RNN|Attention|MatMul|Gemm/;

/** Decides for each node of a graph and its bodies, in the order of `allNodes`. */
export function selectWeightOnly(graph: Graph, selection: WeightOnlySelection): WeightOnlyChoice[] {
  const chosen = [...scopedNodes({ graph, parent: undefined })].map((scoped) => ({ scoped, choice: chooseWeight(scoped, selection) }));
  const readers = new ReaderCounts();
  for (const { scoped, choice } of chosen) if (typeof choice !== 'string' && choice.form === 'product' && !scoped.scope.parent) readers.add(choice);
  return chosen.map(({ scoped, choice }): WeightOnlyChoice =>
    typeof choice === 'string' ? { ...scoped, form: null, reason: choice } : { ...scoped, ...choice, fuses: choice.form === 'product' && !scoped.scope.parent && readers.of(choice) === 1 && !isKeptApart(scoped) },
  );
}

type Choice = Pick<WeightOnlyNode, 'form' | 'weight' | 'depthAxis'>;

/** How many products of the main graph read a matrix along an axis, and so the same integers; those in bodies have some of their own. */
class ReaderCounts {
  readonly #counts = new Map<Tensor, [number, number]>();

  add({ weight, depthAxis }: Choice): void {
    const counts = this.#counts.get(weight.tensor) ?? [0, 0];
    counts[depthAxis]++;
    this.#counts.set(weight.tensor, counts);
  }

  of({ weight, depthAxis }: Choice): number {
    return this.#counts.get(weight.tensor)?.[depthAxis] ?? 0;
  }
}

function chooseWeight({ node, scope }: ScopedNode, selection: WeightOnlySelection): Choice | string {
  const rule = RULES[node.domain === '' ? node.opType : `${node.domain}.${node.opType}`];
  if (!rule) return HEAVY.test(node.opType) ? `${node.opType} has no kernel for weights in blocks` : `${node.opType} has no weights to store in blocks`;
  if (node.opType === 'Gather' && selection.lookupBlock === null) return 'its table is stored in blocks only on request: --op-types MatMul,Gemm,Gather';
  return selection.keptFloat(node) ?? rule(node, scope, selection);
}

const RULES: Readonly<Record<string, (node: Node, scope: Scope, selection: WeightOnlySelection) => Choice | string>> = {
  MatMul(node, scope) {
    const [, factor = ''] = node.inputs;
    const transposed = transposedConstant(scope, factor);
    return product(node, scope, transposed ?? factor, transposed === undefined ? 0 : 1);
  },
  Gemm(node, scope) {
    if (intAttribute(node, 'transA', 0) !== 0) return 'Gemm with transA has no kernel for weights in blocks';
    if (floatAttribute(node, 'alpha', 1) !== 1) return 'Gemm with alpha has no kernel for weights in blocks';
    if (node.inputs[2] && floatAttribute(node, 'beta', 1) !== 1) return 'Gemm with beta has no kernel for weights in blocks';
    return product(node, scope, node.inputs[1] ?? '', intAttribute(node, 'transB', 0) !== 0 ? 1 : 0);
  },
  Gather(node, scope, { lookupBlock }) {
    const weight = matrixOf(scope, node.inputs[0] ?? '');
    if (typeof weight === 'string') return weight;
    if (intAttribute(node, 'axis', 0) !== 0) return 'it does not look up rows of a matrix';
    if (constantIn(scope, node.inputs[1] ?? '')) return 'it depends on constants only';
    if (weight.tensor.dims[1]! % lookupBlock! !== 0) return `blocks of ${lookupBlock} do not divide the ${weight.tensor.dims[1]} columns of its table`;
    return { form: 'lookup', weight, depthAxis: 1 };
  },
};

/**
 * Whether what follows keeps the runtime from fusing a DequantizeLinear with a product. Behind a Relu or Clip it looks for a QuantizeLinear, and without
 * one leaves the product as it is; a product of matrices becomes a Gemm with the Add after it, which must then add a vector and is looked behind too.
 * Source: core/optimizer/qdq_transformer/selectors_actions/qdq_selectors.cc and matmul_add_fusion.cc of onnxruntime.
 */
function isKeptApart({ node, scope }: ScopedNode): boolean {
  const index = indexOf(scope.graph);
  const isClip = (reader: Node | undefined) => reader !== undefined && /^(Relu|Clip)$/.test(reader.opType) && !index.isOutput(reader.outputs[0]!);
  const reader = soleReader(index, node.outputs[0]!);
  if (isClip(reader)) return true;
  if (node.opType !== 'MatMul' || reader?.opType !== 'Add') return false;
  const type = index.info(node.inputs[0]!)?.type;
  const rank = type?.kind === 'tensor' ? type.shape?.length : undefined;
  if (rank !== undefined && rank !== 2) return false;
  const addend = reader.inputs[reader.inputs[0] === node.outputs[0] ? 1 : 0]!;
  return constantIn(scope, addend)?.tensor.dims.length !== 1 || isClip(soleReader(index, reader.outputs[0]!));
}

function product(node: Node, scope: Scope, name: string, depthAxis: 0 | 1): Choice | string {
  const weight = matrixOf(scope, name);
  if (typeof weight === 'string') return constantIn(scope, node.inputs[0] ?? '') && !constantIn(scope, name) ? 'its constant is the first factor, not the second' : weight;
  return tooShallow(weight.tensor.dims[depthAxis]!) ?? { form: 'product', weight, depthAxis };
}

function matrixOf(scope: Scope, name: string): ScopedConstant | string {
  const constant = constantIn(scope, name);
  if (!constant) return `its weight "${name}" is computed at run time`;
  const { dtype, dims } = constant.tensor;
  if (dtype !== 'float32') return `its weight "${name}" is ${dtype}, not float32`;
  if (dims.length !== 2) return `its weight "${name}" has ${dims.length} dimensions; blocks are cut from matrices`;
  if (dims.some((dim) => dim === 0)) return `its weight "${name}" is empty`;
  return constant;
}

/** The constant behind a Transpose of a matrix, where a value comes from one. */
function transposedConstant(scope: Scope | undefined, value: string): string | undefined {
  if (!scope) return undefined;
  const producer = indexOf(scope.graph).producer(value);
  if (!producer) return transposedConstant(scope.parent, value);
  if (producer.opType !== 'Transpose' || producer.domain !== '') return undefined;
  const [source = ''] = producer.inputs;
  const perm = intsAttribute(producer, 'perm') ?? [1, 0];
  return constantIn(scope, source)?.tensor.dims.length === 2 && perm[0] === 1 && perm[1] === 0 ? source : undefined;
}

function tooShallow(depth: number): string | undefined {
  return depth < MIN_DEPTH ? `it adds up only ${depth} products (below ${MIN_DEPTH}), too few for a block` : undefined;
}
