import { intAttribute } from '../graph/attributes.js';
import type { Graph, Model, Node } from '../graph/model.js';
import { dtypeInfo } from '../tensor/dtype.js';
import { multipliesBlocksAsIntegers } from './block-product-probe.js';
import { constantBehind } from './constant-behind.js';
import { floatReason } from './float-reason.js';
import type { MarkedModel } from './fused-graph.js';
import type { IntegerNode, IntegerReport } from './integer-report.js';
import { computeNodes, describeWeights, type NodeInGraph } from './kernel-coverage.js';
import { isBlockProduct } from './kernels.js';
import { describeCpu } from './machine.js';
import { ranOnIntegers, withProfile, type JudgeKernel } from './measured-report.js';
import type { ProfiledNode } from './profile.js';
import { webFacts } from './web-binding.js';
import { weightBytes } from './weight-bytes.js';

/** The accuracy level that onnxruntime gives a MatMulNBits which it makes of DequantizeLinear and MatMul. */
const FUSED_ACCURACY_LEVEL = 4;

/**
 * What a model ran as in onnxruntime-web, by the profile of its runs alone, as it cannot write its fused graph. Whether a Q/DQ pair is left over
 * and what stays in memory is not known then, nor is what became of a node that no kernel of the profile is named after.
 */
export async function webReport(model: Model, marked: MarkedModel, profiled: readonly ProfiledNode[], runs: number): Promise<IntegerReport> {
  const found = computeNodes(model.graph);
  const report: IntegerReport = {
    ...webFacts(),
    provider: 'wasm',
    cpu: describeCpu(),
    computeNodes: found.length,
    integerNodes: found.length === 0 ? 0 : null,
    macsShare: null,
    timeShare: null,
    time: null,
    danglingQdqNodes: null,
    weightBytes: { ...weightBytes(model.graph), residentInteger: null },
    nodes: found.map(unknownNode),
  };
  const integerBits = await bitsMultipliedAsIntegers(found, profiled);
  const judge: JudgeKernel = (kernel, _, place) => judgeByProfile(kernel, place, integerBits);
  return withProfile(report, model, marked, profiled, runs, judge);
}

function unknownNode({ node, graph }: NodeInGraph): IntegerNode {
  const name = node.name || node.outputs[0] || '';
  const reason = 'no kernel of its name ran: what became of it is not known';
  return { name, opType: node.opType, runsAs: null, kernel: null, weights: describeWeights(node, graph), macs: null, timeMs: null, reason };
}

function judgeByProfile(kernel: ProfiledNode, { node, graph, outer }: NodeInGraph, integerBits: ReadonlySet<number>): Pick<IntegerNode, 'runsAs' | 'kernel' | 'reason'> {
  const { opType } = kernel;
  if (opType === 'MatMulNBits' && levelOf(node) === FUSED_ACCURACY_LEVEL) {
    const bits = bitsOf(node, graph);
    if (integerBits.has(bits)) return { runsAs: 'integer', kernel: opType, reason: null };
    return { runsAs: 'float', kernel: opType, reason: `its weight is stored as integers, but onnxruntime-web has no kernel that multiplies blocks of ${bits} bits as integers: it makes floats of them` };
  }
  return ranOnIntegers(kernel) ? { runsAs: 'integer', kernel: opType, reason: null } : { runsAs: 'float', kernel: opType, reason: floatReason(node, graph, outer) };
}

function levelOf(node: Node): number {
  return isBlockProduct(node) ? intAttribute(node, 'accuracy_level', 0) : FUSED_ACCURACY_LEVEL;
}

/** Bits of the weight of a product that runs as MatMulNBits: by its attribute, or by the type of the weight that it was fused with. */
function bitsOf(node: Node, graph: Graph): number {
  if (isBlockProduct(node)) return intAttribute(node, 'bits', 4);
  const weights = node.inputs.flatMap((input) => constantBehind(graph, input) ?? []).filter(({ dequantize }) => dequantize);
  return weights[0] ? dtypeInfo(weights[0].tensor.dtype).bits : 4;
}

async function bitsMultipliedAsIntegers(found: readonly NodeInGraph[], profiled: readonly ProfiledNode[]): Promise<ReadonlySet<number>> {
  if (!profiled.some(({ opType }) => opType === 'MatMulNBits')) return new Set();
  const integer = new Set<number>();
  for (const bits of new Set(found.map(({ node, graph }) => bitsOf(node, graph)))) {
    if (await multipliesBlocksAsIntegers('web', bits)) integer.add(bits);
  }
  return integer;
}
