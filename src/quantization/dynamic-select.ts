import { floatAttribute, intAttribute } from '../graph/attributes.js';
import { indexOf } from '../graph/graph-index.js';
import type { Graph, Model, Node } from '../graph/model.js';
import { constantIn, scopedNodes, type Scope, type ScopedConstant, type ScopedNode } from './scopes.js';
import { MIN_PRODUCT_DEPTH, type ValueTypes } from './select.js';

/** How a node is brought to integers whose activations get their scales at run time. */
export type DynamicForm = 'matmul' | 'gemm' | 'lstm' | 'conv' | 'lookup';

/** A node that can be quantized dynamically, with its constants. */
export interface DynamicNode extends ScopedNode {
  readonly form: DynamicForm;
  /** Constants to store as integers, by input index. */
  readonly weights: ReadonlyMap<number, ScopedConstant>;
  /** MatMul only: the Add that follows, which the runtime takes along as bias. */
  readonly biasAdd?: Node;
}

/** What becomes of a node: its form, or why it stays float, or the node that takes it along. */
export type DynamicChoice = DynamicNode | (ScopedNode & { readonly form: null; readonly reason: string; readonly takenBy?: Node });

/** What the user wants to see quantized dynamically. */
export interface DynamicSelectionOptions {
  /** Why the user keeps a node in float; undefined where it may be quantized. */
  readonly keptFloat: (node: Node) => string | undefined;
  /** Operator types that the user asked for by name; a convolution is quantized only then. */
  readonly opTypes: readonly string[];
}

/** Tables with fewer rows and fewer bytes than these are not worth the DequantizeLinear after the lookup. */
const MIN_TABLE_ROWS = 1000;
const MIN_TABLE_BYTES = 64 * 1024;

const NEVER: Readonly<Record<string, string>> = {
  ConvTranspose: 'ConvTranspose has no integer kernel in onnxruntime',
  GRU: 'GRU has no integer kernel in onnxruntime',
  RNN: 'RNN has no integer kernel in onnxruntime',
};

/** Source: shared measurements on real models, onnxruntime 1.30. */
const CONV_REASON = 'dynamic convolution (ConvInteger) is 4 to 10 times slower than float';

/** What would bring a node to integers that dynamic quantization leaves in float. */
function staticHelp({ parent }: Scope): string {
  return parent === undefined ? 'static quantization (--data) can bring it to integers' : 'static quantization (--data) can do so in bodies too';
}

/** Decides for each node of a graph and its bodies, in the order of `allNodes`. `types` are those of the main graph's values. */
export function selectDynamic(graph: Graph, types: ValueTypes, options: DynamicSelectionOptions): DynamicChoice[] {
  const choices = [...scopedNodes({ graph, parent: undefined })].map((scoped): DynamicChoice => {
    const choice = choose(scoped, types, options);
    return typeof choice === 'string' ? { ...scoped, form: null, reason: choice } : { ...scoped, ...choice };
  });
  const takenBy = new Map(choices.flatMap((choice) => (choice.form && choice.biasAdd ? [[choice.biasAdd, choice.node] as const] : [])));
  return choices.map((choice) => {
    const by = takenBy.get(choice.node);
    return by && choice.form === null ? { ...choice, reason: `taken along by ${by.opType} "${by.name || by.outputs[0]}"`, takenBy: by } : choice;
  });
}

type Choice = Pick<DynamicNode, 'form' | 'weights' | 'biasAdd'>;

function choose({ node, scope }: ScopedNode, types: ValueTypes, options: DynamicSelectionOptions): Choice | string {
  const rule = node.domain === '' ? RULES[node.opType] : undefined;
  if (!rule) return NEVER[node.opType] ?? `${node.opType} is not quantized dynamically`;
  return options.keptFloat(node) ?? rule(node, scope, types, options);
}

const RULES: Readonly<Record<string, (node: Node, scope: Scope, types: ValueTypes, options: DynamicSelectionOptions) => Choice | string>> = {
  MatMul(node, scope, types) {
    const weight = floatWeight(scope, node, 1);
    if (!constantIn(scope, node.inputs[1]!)) {
      return constantIn(scope, node.inputs[0]!) ? 'its constant is the first factor, not the second' : `both its factors are computed at run time; ${staticHelp(scope)}`;
    }
    if (typeof weight === 'string') return weight;
    const { dims } = weight.tensor;
    if (dims.length < 2) return `its weight "${weight.name}" is a vector`;
    const add = biasAddAfter(node, scope, types, dims);
    if (typeof add === 'string') return add;
    return tooShallow(dims.at(-2)!) ?? { form: 'matmul', weights: new Map([[1, weight]]), ...(add ? { biasAdd: add } : {}) };
  },
  Gemm(node, scope) {
    const weight = floatWeight(scope, node, 1);
    if (typeof weight === 'string') return weight;
    if (weight.tensor.dims.length !== 2) return `its weight "${weight.name}" is no matrix`;
    if (intAttribute(node, 'transA', 0) !== 0) return 'Gemm with transA has no integer kernel';
    if (floatAttribute(node, 'alpha', 1) !== 1) return 'Gemm with alpha has no integer kernel';
    if (node.inputs[2] && floatAttribute(node, 'beta', 1) !== 1) return 'Gemm with beta has no integer kernel';
    const depth = weight.tensor.dims[intAttribute(node, 'transB', 0) === 0 ? 0 : 1]!;
    return tooShallow(depth) ?? { form: 'gemm', weights: new Map([[1, weight]]) };
  },
  LSTM(node, scope) {
    const weights = [floatWeight(scope, node, 1), floatWeight(scope, node, 2)] as const;
    const obstacle = weights.find((weight) => typeof weight === 'string');
    if (obstacle) return obstacle;
    const odd = weights.find((weight) => typeof weight !== 'string' && weight.tensor.dims.length !== 3);
    if (odd) return `its weight "${(odd as ScopedConstant).name}" has not three dimensions`;
    if (intAttribute(node, 'layout', 0) !== 0) return 'DynamicQuantizeLSTM takes the sequence first (layout 0)';
    return { form: 'lstm', weights: new Map(weights.map((weight, i) => [i + 1, weight as ScopedConstant])) };
  },
  Conv(node, scope, _types, { opTypes }) {
    if (!opTypes.includes('Conv')) return `${CONV_REASON}; ${staticHelp(scope)}, --op-types Conv forces it`;
    const weight = floatWeight(scope, node, 1);
    if (typeof weight === 'string') return weight;
    if (weight.tensor.dims.length < 3) return `its weight "${weight.name}" has fewer than three dimensions`;
    const bias = node.inputs[2];
    if (bias && constantIn(scope, bias)?.tensor.dtype !== 'float32') return `its bias "${bias}" is not a float32 constant`;
    return { form: 'conv', weights: new Map([[1, weight]]) };
  },
  Gather(node, scope) {
    const table = floatWeight(scope, node, 0);
    if (typeof table === 'string') return 'it looks up no constant float table';
    const { dims, storage } = table.tensor;
    if (dims.length !== 2 || intAttribute(node, 'axis', 0) !== 0) return 'it does not look up rows of a matrix';
    if (constantIn(scope, node.inputs[1]!)) return 'it depends on constants only';
    if (dims[0]! < MIN_TABLE_ROWS && storage.byteLength < MIN_TABLE_BYTES) return `its table of ${dims[0]} rows is too small to gain from integers`;
    return { form: 'lookup', weights: new Map([[0, table]]) };
  },
};

function floatWeight(scope: Scope, node: Node, input: number): ScopedConstant | string {
  const name = node.inputs[input] ?? '';
  const constant = constantIn(scope, name);
  if (!constant) return `its weight "${name}" is computed at run time`;
  return constant.tensor.dtype === 'float32' ? constant : `its weight "${name}" is ${constant.tensor.dtype}, not float32`;
}

function tooShallow(depth: number): string | undefined {
  return depth < MIN_PRODUCT_DEPTH ? `it adds up only ${depth} products, which is slower in integers than in float (below ${MIN_PRODUCT_DEPTH})` : undefined;
}

/**
 * The Add after a product that the runtime takes along as bias, or why the product must stay float: the runtime does so without a look at
 * the constant's length and rank, and one that is no bias would make the model fail or change its shape.
 * Source: core/optimizer/matmul_integer_to_float.cc of onnxruntime, CheckBiasShape.
 */
function biasAddAfter(node: Node, scope: Scope, types: ValueTypes, weightDims: readonly number[]): Node | string | undefined {
  const output = node.outputs[0]!;
  const index = indexOf(scope.graph);
  const [use, ...others] = index.uses(output);
  if (!use || others.length > 0 || use.node.opType !== 'Add' || index.isOutput(output)) return undefined;
  const dims = constantIn(scope, use.node.inputs[1 - use.input] ?? '')?.tensor.dims;
  if (!dims || dims.length === 0 || dims.at(-1) === 1 || dims.slice(0, -1).some((dim) => dim !== 1)) return undefined;
  if (dims.at(-1) !== weightDims.at(-1)) return 'the runtime would take the Add after it for a bias, which it is not';
  const type = types.get(node.inputs[0]!);
  const rank = Math.max((type?.kind === 'tensor' ? type.shape?.length : undefined) ?? 1, weightDims.length);
  return dims.length <= rank ? use.node : 'the runtime would take the Add after it for a bias, but it may add dimensions';
}

/** DynamicQuantizeLinear came with operator set 11; LSTM goes without it. */
const DYNAMIC_OPSET = 11;

/** Why a node of a model that could not be raised far enough stays in float. */
export function tooOldFor(node: Node, { opsets }: Model): string | undefined {
  const opset = opsets.get('') ?? 1;
  if (opset >= DYNAMIC_OPSET || node.opType === 'LSTM') return undefined;
  return `the model stays at operator set ${opset}, and dynamic quantization needs ${DYNAMIC_OPSET}`;
}
