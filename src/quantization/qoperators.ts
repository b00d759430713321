import type { Attribute, Node } from '../graph/model.js';

/** A float operator and its form on integers. */
export interface QOperatorRow {
  readonly opType: string;
  readonly quantized: string;
  readonly domain: string;
  /** Float inputs that come as integers, each with a scale and a zero point behind it. */
  readonly operands: number | 'all';
  /** Where the output's scale and zero point stand: before or behind the operands. */
  readonly outputFirst?: boolean;
  /** Inputs of the float operator that stand before the operands as they are. */
  readonly leading?: number;
}

/**
 * Operators on integers that QDQ models are lowered to and lifted from. Source: the operator documents of ONNX (QLinearConv, QLinearMatMul) and of
 * onnxruntime's contrib operators (the others, docs/ContribOperators.md).
 */
export const QOPERATORS: readonly QOperatorRow[] = [
  { opType: 'Conv', quantized: 'QLinearConv', domain: '', operands: 2 },
  { opType: 'MatMul', quantized: 'QLinearMatMul', domain: '', operands: 2 },
  { opType: 'Gemm', quantized: 'QGemm', domain: 'com.microsoft', operands: 2 },
  ...['Add', 'Mul'].map((opType): QOperatorRow => ({ opType, quantized: `QLinear${opType}`, domain: 'com.microsoft', operands: 2 })),
  ...['Sigmoid', 'LeakyRelu', 'Softmax', 'AveragePool', 'GlobalAveragePool'].map(
    (opType): QOperatorRow => ({ opType, quantized: `QLinear${opType}`, domain: 'com.microsoft', operands: 1 }),
  ),
  { opType: 'Concat', quantized: 'QLinearConcat', domain: 'com.microsoft', operands: 'all', outputFirst: true },
  { opType: 'Where', quantized: 'QLinearWhere', domain: 'com.microsoft', operands: 2, leading: 1 },
];

/** Operator set from which Softmax works along one axis. */
const AXIS_SOFTMAX = 13;

/** Attributes of the form on integers. */
export function loweredAttributes(node: Node, opset: number): Map<string, Attribute> {
  const attributes = new Map(node.attributes);
  if (node.opType === 'Softmax') {
    attributes.set('opset', { kind: 'int', value: opset });
    if (!attributes.has('axis')) attributes.set('axis', { kind: 'int', value: opset >= AXIS_SOFTMAX ? -1 : 1 });
  }
  // What the form on integers adds nothing to, or does not know.
  if (node.opType === 'Gemm') attributes.delete('beta');
  return attributes;
}

/** Attributes of the float form; undefined where it cannot say the same. */
export function liftedAttributes(node: Node, opset: number): Map<string, Attribute> | undefined {
  const attributes = new Map(node.attributes);
  const number = (name: string, fallback: number) => {
    const attribute = attributes.get(name);
    return attribute?.kind === 'int' || attribute?.kind === 'float' ? Number(attribute.value) : fallback;
  };
  if (number('channels_last', 0) !== 0 || (node.opType === 'QGemm' && number('alpha', 1) !== 1)) return undefined;
  if (node.opType === 'QLinearSoftmax' && number('opset', 0) >= AXIS_SOFTMAX !== opset >= AXIS_SOFTMAX) return undefined;
  for (const name of ['channels_last', ...(node.opType === 'QLinearSoftmax' ? ['opset'] : [])]) attributes.delete(name);
  return attributes;
}
