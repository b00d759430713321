import { intAttribute } from '../graph/attributes.js';
import type { Node } from '../graph/model.js';

/**
 * Operators of a fused graph that multiply and accumulate, by the arithmetic that onnxruntime's CPU provider does them in.
 * Source: onnxruntime 1.30, operator kernels of the CPU provider; the kernel table test rebuilds the patterns.
 */
const INTEGER_COMPUTE = new Set([
  'QLinearConv',
  'NhwcQLinearConv',
  'QLinearConvTranspose',
  'ConvInteger',
  'QLinearMatMul',
  'MatMulInteger',
  'MatMulIntegerToFloat',
  'DynamicQuantizeMatMul',
  'QGemm',
  'DynamicQuantizeLSTM',
  'QAttention',
]);

const FLOAT_COMPUTE = new Set([
  'Conv',
  'FusedConv',
  'NhwcFusedConv',
  'NhwcConv',
  'ConvTranspose',
  'ConvTransposeWithDynamicPads',
  'MatMul',
  'FusedMatMul',
  'FusedMatMulActivation',
  'TransposeMatMul',
  'Gemm',
  'FusedGemm',
  'GemmFloat8',
  'LSTM',
  'GRU',
  'RNN',
  'Attention',
  'MultiHeadAttention',
  'GroupQueryAttention',
]);

/** Weights stay integers; the arithmetic follows from the accuracy level. */
const BLOCK_WEIGHTS = new Set(['MatMulNBits', 'MatMulBnb4']);

/** MatMulNBits quantizes its activations to int8 at this accuracy level. */
const INTEGER_ACCURACY_LEVEL = 4;

/** In what a compute node multiplies. */
export type Arithmetic = 'integer' | 'float';

/** The arithmetic of a compute node; undefined for nodes that are none. */
export function computeArithmetic(node: Node): Arithmetic | undefined {
  if (INTEGER_COMPUTE.has(node.opType)) return 'integer';
  if (FLOAT_COMPUTE.has(node.opType)) return 'float';
  if (!BLOCK_WEIGHTS.has(node.opType)) return undefined;
  return intAttribute(node, 'accuracy_level', 0) === INTEGER_ACCURACY_LEVEL ? 'integer' : 'float';
}

/** Whether a node reads its weight as blocks of integers. */
export const isBlockProduct = (node: Node) => BLOCK_WEIGHTS.has(node.opType);

/** Whether operators of this type multiply and accumulate. */
export function isComputeOperator(opType: string): boolean {
  return INTEGER_COMPUTE.has(opType) || FLOAT_COMPUTE.has(opType) || BLOCK_WEIGHTS.has(opType);
}

/** The same of a node. */
export const isComputeNode = (node: Node) => isComputeOperator(node.opType);

/** Whether a node of a fused graph works on quantized values with scales: compute nodes, QLinearAdd and its like. */
export function isIntegerKernel(node: Node): boolean {
  return computeArithmetic(node) === 'integer' || node.opType.startsWith('QLinear') || node.opType === 'DynamicQuantizeLinear';
}

export const isQuantize = (node: Node) => node.opType === 'QuantizeLinear';
export const isDequantize = (node: Node) => node.opType === 'DequantizeLinear';
