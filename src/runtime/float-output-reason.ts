import { soleReader, type GraphIndex, type Use } from '../graph/graph-index.js';
import type { Node } from '../graph/model.js';
import { dtypeInfo } from '../tensor/dtype.js';
import { isQuantize } from './kernels.js';

/**
 * In words, what after a compute node keeps it from an integer kernel, its inputs being quantized. A Conv needs Q after it. A product does
 * not, but all of its readers must be Q or none of them, and some readers hide it.
 */
export function floatOutputReason(node: Node, index: GraphIndex): string | undefined {
  const output = node.outputs[0] ?? '';
  const uses = index.uses(output);
  const float = uses.filter((use) => !isQuantize(use.node));
  const isOutput = index.isOutput(output);
  const quantized = uses.length > float.length;
  if (quantized && isOutput) return 'its output is also a graph output in float: let that one pass through QuantizeLinear and DequantizeLinear too';
  if (quantized && float.length > 0) return `its output is also read by ${nameOf(float[0]!)} in float: let every reader go through QuantizeLinear and DequantizeLinear`;
  if (quantized) return uses.map((use) => outputTypeReason(use.node, index)).find((reason) => reason !== undefined);
  const [use] = float;
  if (node.opType !== 'Conv') return use && float.length === 1 && !isOutput ? hidingReason(node, use, index) : undefined;
  if (isOutput) return 'its output is a graph output and does not pass through QuantizeLinear';
  if (!use) return undefined;
  return (
    (isActivation(use.node) && quantizedActivationReason(use.node, index)) ||
    `its output is read by ${nameOf(use)} without QuantizeLinear in between`
  );
}

function outputTypeReason(quantize: Node, index: GraphIndex): string | undefined {
  const dtype = index.constant(quantize.inputs[2] ?? '')?.dtype ?? 'uint8';
  return dtype === 'uint8' || dtype === 'int8' ? undefined : `its output is quantized to ${dtypeInfo(dtype).short}, and integer kernels give 8 bits`;
}

function nameOf({ node, input }: Use): string {
  return input < 0 ? `the body of ${node.opType}` : node.opType;
}

function isActivation({ opType, domain }: Node): boolean {
  return domain === '' && (opType === 'Relu' || opType === 'Clip');
}

function quantizedActivationReason(activation: Node, index: GraphIndex): string | undefined {
  const reader = soleReader(index, activation.outputs[0] ?? '');
  if (!reader || !isQuantize(reader)) return undefined;
  return `${activation.opType} stands between it and QuantizeLinear, whose range does not make it redundant: put a Q/DQ pair before ${activation.opType}, or quantize to the range of ${activation.opType}`;
}

/** What the only reader of a product without Q makes of it before Q/DQ are fused. */
function hidingReason(node: Node, { node: reader, input }: Use, index: GraphIndex): string | undefined {
  if (isActivation(reader)) {
    return `${reader.opType} is all that reads its output, and onnxruntime looks for QuantizeLinear behind that: put a Q/DQ pair after the ${node.opType}`;
  }
  if (node.opType !== 'MatMul' || reader.opType !== 'Add') return undefined;
  const addend = reader.inputs[1 - input] ?? '';
  return index.constant(addend)
    ? `onnxruntime makes one Gemm of it and the Add after it, whose bias "${addend}" is float32: store that as int32 behind a DequantizeLinear, or quantize the output`
    : `onnxruntime makes one Gemm of it and the Add of "${addend}" after it: put a Q/DQ pair between them`;
}
