import { stringAttribute } from '../graph/attributes.js';
import type { Node } from '../graph/model.js';
import { madeByOptimizer } from '../runtime/float-reason.js';

/**
 * What an operator is to a quantizer:
 * - `compute`: multiplies activations by weights or by other activations; quantized for its own sake;
 * - `join`, `unary`: has an integer kernel with scales of its own, quantized only between integer neighbors;
 * - `carrier`: moves elements, so that input and output share one scale and zero point.
 */
export type RuleKind = 'compute' | 'join' | 'unary' | 'carrier';

/** One row of the operator table. */
export interface OperatorRule {
  readonly opType: string;
  readonly kind: RuleKind;
  /** Indexes of the inputs that carry activations, or in a compute node a constant weight; `all` for variadic operators. */
  readonly activations: readonly number[] | 'all';
  /** The integer kernel that onnxruntime's CPU provider runs. */
  readonly kernel: string;
  /** Operator set from which the runtime fuses it. */
  readonly since?: number;
  /** Why this node cannot run on integers; undefined where it can. */
  readonly obstacle?: (node: Node) => string | undefined;
  /** Why the node stays float although there is a kernel: what was measured. */
  readonly slower?: string;
  /** Range of the output where it follows from the operator. */
  readonly outputRange?: readonly [number, number];
}

/** A product hands it floats at no cost. Source: bench/results/kernels.md, "Softmax between products". */
const SOFTMAX_IS_SLOWER = 'QLinearSoftmax takes longer than Softmax in float';

/**
 * The operators that have integer kernels in onnxruntime's CPU provider. Source: measured on one-pattern graphs with onnxruntime 1.30
 * (the kernel table test rebuilds them).
 */
export const OPERATOR_RULES: readonly OperatorRule[] = [
  { opType: 'Conv', kind: 'compute', activations: [0, 1], kernel: 'QLinearConv' },
  { opType: 'MatMul', kind: 'compute', activations: [0, 1], kernel: 'QLinearMatMul, MatMulIntegerToFloat, QGemm' },
  { opType: 'Gemm', kind: 'compute', activations: [0, 1], kernel: 'QGemm' },
  { opType: 'Add', kind: 'join', activations: [0, 1], kernel: 'QLinearAdd' },
  { opType: 'Mul', kind: 'join', activations: [0, 1], kernel: 'QLinearMul' },
  { opType: 'Concat', kind: 'join', activations: 'all', kernel: 'QLinearConcat' },
  { opType: 'Where', kind: 'join', activations: [1, 2], kernel: 'QLinearWhere' },
  { opType: 'Sigmoid', kind: 'unary', activations: [0], kernel: 'QLinearSigmoid' },
  { opType: 'LeakyRelu', kind: 'unary', activations: [0], kernel: 'QLinearLeakyRelu' },
  { opType: 'Softmax', kind: 'unary', activations: [0], kernel: 'QLinearSoftmax', slower: SOFTMAX_IS_SLOWER, outputRange: [0, 1] },
  { opType: 'AveragePool', kind: 'unary', activations: [0], kernel: 'QLinearAveragePool' },
  { opType: 'GlobalAveragePool', kind: 'unary', activations: [0], kernel: 'QLinearGlobalAveragePool' },
  { opType: 'MaxPool', kind: 'carrier', activations: [0], kernel: 'MaxPool', since: 12 },
  {
    opType: 'Resize',
    kind: 'carrier',
    activations: [0],
    kernel: 'Resize',
    obstacle: (node) => (stringAttribute(node, 'mode', 'nearest') === 'nearest' ? undefined : 'Resize interpolates in float'),
  },
  ...['ReduceMax', 'ReduceMin'].map((opType): OperatorRule => ({ opType, kind: 'carrier', activations: [0], kernel: opType, since: 12 })),
  ...['Split', 'Reshape', 'Transpose', 'Flatten', 'Squeeze', 'Unsqueeze', 'Slice', 'Gather', 'GatherElements', 'Expand', 'Tile', 'DepthToSpace'].map(
    (opType): OperatorRule => ({ opType, kind: 'carrier', activations: [0], kernel: opType }),
  ),
];

/** The rule of operators that are written as a depthwise convolution: see as-depthwise.ts. */
export const DEPTHWISE_RULE: Omit<OperatorRule, 'opType'> = { kind: 'unary', activations: [0], kernel: 'QLinearConv' };

const BY_TYPE = new Map(OPERATOR_RULES.map((rule) => [rule.opType, rule]));

/** The rule for a node; undefined where the operator has no integer kernel. */
export function ruleOf(node: Node): OperatorRule | undefined {
  return node.domain === '' ? BY_TYPE.get(node.opType) : undefined;
}

/** Indexes of a node's activation inputs under its rule. */
export function activationInputs(rule: OperatorRule, node: Node): readonly number[] {
  return rule.activations === 'all' ? node.inputs.map((_, i) => i) : rule.activations.filter((i) => node.inputs[i]);
}

/** Operators that multiply and accumulate without a row in the table: why they stay float, and what would change it. */
export const COMPUTE_WITHOUT_KERNEL: Readonly<Record<string, string>> = {
  ConvTranspose: 'ConvTranspose has no integer kernel in onnxruntime',
  LSTM: 'LSTM runs on integers only as DynamicQuantizeLSTM: --mode auto and --mode dynamic make that',
  GRU: 'GRU has no integer kernel in onnxruntime',
  RNN: 'RNN has no integer kernel in onnxruntime',
  Attention: 'Attention is not quantized as one node: its products are, where the model spells it out as MatMul and Softmax',
  MultiHeadAttention: 'MultiHeadAttention has no integer kernel in onnxruntime: its products have, where the model spells it out as MatMul and Softmax',
  ...Object.fromEntries(['FusedConv', 'FusedGemm', 'FusedMatMul', 'NhwcFusedConv'].map((opType) => [opType, madeByOptimizer(opType)])),
  Einsum: 'Einsum has no integer kernel in onnxruntime: MatMul in its place has',
};
