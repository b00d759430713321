import { floatAttribute, intAttribute } from '../graph/attributes.js';
import { indexOf, soleReader, type GraphIndex } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';
import { dtypeInfo, isFloat, type DType } from '../tensor/dtype.js';
import { numbersOf } from '../tensor/values.js';
import { constantBehind } from './constant-behind.js';
import { floatOutputReason } from './float-output-reason.js';
import { isDequantize, isQuantize } from './kernels.js';

/** What decides about an operator whatever stands around it. */
const BY_OPERATOR: Readonly<Record<string, (node: Node) => string>> = {
  ConvTranspose: neverInteger,
  GRU: neverInteger,
  RNN: neverInteger,
  GroupQueryAttention: neverInteger,
  MatMulBnb4: neverInteger,
  LSTM: () => 'LSTM runs on integers only as DynamicQuantizeLSTM: quantize it with --mode dynamic',
  Attention: ({ domain }) => (domain ? 'Attention runs on integers only as QAttention, which other tools make' : 'Attention has no integer kernel in onnxruntime: its products have, where the model spells it out'),
  MultiHeadAttention: (node) => `${neverInteger(node)}: its products have, where the model spells it out`,
  MatMulNBits: (node) => `its weight is stored as integers, but at accuracy level ${intAttribute(node, 'accuracy_level', 0)} they are multiplied as floats; level 4 multiplies integers`,
};

/** Operators that carry a Q/DQ pair beside them to an integer kernel. */
const FUSED_WITH_PAIRS = new Set(['Conv', 'MatMul', 'Gemm']);

/** Relative difference of scales beyond rounding of float32. */
const BIAS_SCALE_TOLERANCE = 1e-5;

/**
 * In words, why a compute node runs in float and what would change it, from the graph around the node. `outer` are the graphs that a body
 * stands in, the innermost first.
 */
export function floatReason(node: Node, graph: Graph, outer: readonly Graph[] = []): string {
  const index = indexOf(graph);
  const decided = BY_OPERATOR[node.opType]?.(node);
  if (decided) return decided;
  if (node.domain !== '' || !FUSED_WITH_PAIRS.has(node.opType)) {
    return madeByOptimizer(node.opType);
  }
  return (
    elementTypeReason(node, index) ??
    unquantizedReason(node, graph, outer) ??
    integerTypeReason(node, graph) ??
    scalarReason(node, index) ??
    biasReason(node, index) ??
    floatOutputReason(node, index) ??
    signedReason(node, index) ??
    'onnxruntime did not fuse its QuantizeLinear and DequantizeLinear nodes: their types, scales or axes do not fit an integer kernel'
  );
}

/** Why an operator runs in float that onnxruntime's optimizer writes into a model. */
export function madeByOptimizer(opType: string): string {
  return `${opType} is an operator that onnxruntime makes of others, and no Q/DQ fuses with it: quantize the model from before it was optimized`;
}

/** Whether a DequantizeLinear makes a value. */
export function isDequantized(index: GraphIndex, value: string): boolean {
  return dequantizeOf(index, value) !== undefined;
}

function neverInteger({ opType }: Node): string {
  return `${opType} has no integer kernel in onnxruntime`;
}

function dequantizeOf(index: GraphIndex, value: string): Node | undefined {
  const producer = index.producer(value);
  return producer && isDequantize(producer) ? producer : undefined;
}

function elementTypeReason(node: Node, index: GraphIndex): string | undefined {
  const types = node.inputs.slice(0, 2).map((value) => floatTypeOf(index, value));
  const other = types.find((type) => type !== undefined && type !== 'float32');
  return other && `it works on ${other}, and integer kernels stand in for float32 only: convert the model to float32 first`;
}

/** Float type of a value as far as the file tells it: a constant, a declared value, or by the scale of its DequantizeLinear. */
function floatTypeOf(index: GraphIndex, value: string): DType | undefined {
  const dequantize = dequantizeOf(index, value);
  if (dequantize) return index.constant(dequantize.inputs[1] ?? '')?.dtype;
  const declared = index.info(value)?.type;
  const dtype = index.constant(value)?.dtype ?? (declared?.kind === 'tensor' ? declared.dtype : undefined);
  return dtype && isFloat(dtype) ? dtype : undefined;
}

function unquantizedReason(node: Node, graph: Graph, outer: readonly Graph[]): string | undefined {
  const index = indexOf(graph);
  const products = node.inputs.slice(0, 2).filter(Boolean);
  const unquantized = products.filter((value) => !isDequantized(index, value));
  const [value] = unquantized;
  if (value === undefined) return undefined;
  const isWeight = (name: string) => constantBehind(graph, name) !== undefined;
  const outside = unquantized.find((name) => outer.some((graph) => isDequantized(indexOf(graph), name)));
  if (outside !== undefined) return `"${outside}" is dequantized outside of the body that the node stands in, where onnxruntime does not look: Q/DQ must stand inside`;
  if (unquantized.length === products.length) {
    const what = products.some(isWeight) ? 'neither its input nor its weight is quantized' : 'neither of its inputs is quantized';
    return outer.length === 0 ? what : `${what}: it stands in a body: static quantization reaches those of If, --mode dynamic the others too (MatMul and Gemm with constant weights, LSTM)`;
  }
  if (isWeight(value)) return `only its input is quantized: its weight "${value}" is float32`;
  const producer = index.producer(value);
  const from = producer ? `comes from ${producer.opType} in float` : 'is not quantized';
  const weight = products.find((name) => name !== value);
  return `${weight !== undefined && isWeight(weight) ? 'only its weight is quantized' : 'only one of its inputs is quantized'}: its input "${value}" ${from}`;
}

/** Type of the integers that a DequantizeLinear reads. */
function integerTypeOf(index: GraphIndex, value: string): DType {
  const dequantize = dequantizeOf(index, value)!;
  return index.constant(dequantize.inputs[2] ?? '')?.dtype ?? index.constant(dequantize.inputs[0]!)?.dtype ?? 'uint8';
}

function integerTypeReason(node: Node, graph: Graph): string | undefined {
  const index = indexOf(graph);
  const [left = '', right = ''] = node.inputs;
  for (const value of [left, right]) {
    const dtype = integerTypeOf(index, value);
    const what = constantBehind(graph, value) ? 'weight' : 'input';
    if (dtype !== 'uint8' && dtype !== 'int8') return `its ${what} "${value}" is ${dtypeInfo(dtype).short}, and integer kernels multiply 8 bits only`;
    if (intAttribute(dequantizeOf(index, value)!, 'block_size', 0) > 0) return `its ${what} "${value}" has a scale for each block, which only MatMulNBits takes, beside a float activation`;
  }
  const mixed = integerTypeOf(index, left) === 'int8' && integerTypeOf(index, right) === 'uint8' && constantBehind(graph, left) !== undefined;
  return mixed ? `its constant "${left}" on the left is s8 and its input is u8: a kernel takes u8 on the left, or s8 on both sides` : undefined;
}

/** A factor that an integer Gemm does not know. */
function scalarReason(node: Node, index: GraphIndex): string | undefined {
  if (node.opType !== 'Gemm' || !node.inputs[2]) return undefined;
  const factor = (['alpha', 'beta'] as const).find((name) => floatAttribute(node, name, 1) !== 1);
  if (factor) return `its ${factor} is ${floatAttribute(node, factor, 1)} and it has a bias, which an integer Gemm adds unscaled: fold ${factor} into the constants`;
  const [output = ''] = node.outputs;
  const isFloatBias = index.constant(node.inputs[2]) !== undefined;
  if (isFloatBias && !index.uses(output).some((use) => isQuantize(use.node))) {
    return `its bias "${node.inputs[2]}" is float32 and no QuantizeLinear follows: store the bias as int32 behind a DequantizeLinear`;
  }
  return undefined;
}

function biasReason(node: Node, index: GraphIndex): string | undefined {
  const bias = node.opType === 'MatMul' ? '' : (node.inputs[2] ?? '');
  if (!bias || index.constant(bias)) return undefined;
  const dequantize = dequantizeOf(index, bias);
  if (!dequantize) return `its bias "${bias}" is computed: only a constant one fuses`;
  const [scale, input, weight] = [bias, node.inputs[0]!, node.inputs[1]!].map((value) => index.constant(dequantizeOf(index, value)!.inputs[1]!));
  if (!scale || !input || !weight) return undefined;
  const [inputScale = 1] = numbersOf(input);
  const [scales, weightScales] = [numbersOf(scale), numbersOf(weight)];
  const count = Math.max(scales.length, weightScales.length);
  const of = (numbers: ArrayLike<number>, i: number) => numbers[numbers.length === 1 ? 0 : i] ?? NaN;
  const fits = Array.from({ length: count }, (_, i) => of(scales, i) / (inputScale * of(weightScales, i))).every((ratio) => Math.abs(ratio - 1) < BIAS_SCALE_TOLERANCE);
  return fits ? undefined : `its bias "${bias}" has another scale than input scale × weight scale, by which integer kernels read it`;
}

/** On x64 onnxruntime rewrites s8 to u8 before it fuses, and only where Q and DQ have one reader each. */
function signedReason(node: Node, index: GraphIndex): string | undefined {
  const made = soleReader(index, node.outputs[0] ?? '');
  const quantizes = [
    ...node.inputs.slice(0, 2).flatMap((value) => index.producer(dequantizeOf(index, value)?.inputs[0] ?? '') ?? []),
    ...(made ? [made] : []),
  ].filter(isQuantize);
  for (const quantize of quantizes) {
    if (index.constant(quantize.inputs[2] ?? '')?.dtype !== 'int8') continue;
    const dequantized = index.uses(quantize.outputs[0]!).filter((use) => isDequantize(use.node));
    const readers = dequantized.reduce((sum, { node: { outputs } }) => sum + index.uses(outputs[0]!).length + (index.isOutput(outputs[0]!) ? 1 : 0), 0);
    if (readers > 1) return `"${quantize.inputs[0]}" is s8 and has ${readers} readers: on x64 onnxruntime fuses s8 activations that have one reader; u8 fuses everywhere`;
  }
  return undefined;
}
