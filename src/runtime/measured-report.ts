import { indexOf } from '../graph/graph-index.js';
import type { Graph, Model, Node } from '../graph/model.js';
import type { MarkedModel } from './fused-graph.js';
import type { IntegerNode, IntegerReport, TimeSplit } from './integer-report.js';
import { computeNodes, type NodeInGraph } from './kernel-coverage.js';
import { computeArithmetic, isComputeOperator, isDequantize } from './kernels.js';
import { multiplyAccumulates } from './multiply-accumulates.js';
import type { ProfiledNode } from './profile.js';

/** What a kernel that ran says about the node that it stands for; `known` is what the report says without it. */
export type JudgeKernel = (kernel: ProfiledNode, known: IntegerNode, found: NodeInGraph) => Pick<IntegerNode, 'runsAs' | 'kernel' | 'reason'>;

/**
 * Adds what a profiled run showed to a report: the kernels that ran, their times, multiply–accumulates and the shares of both. A node that no
 * kernel of the profile stands for stays as it is.
 */
export function withProfile<Report extends IntegerReport>(
  report: Report,
  model: Model,
  marked: MarkedModel,
  profiled: readonly ProfiledNode[],
  runs: number,
  judge: JudgeKernel = besideFusedGraph,
): Report {
  const found = computeNodes(model.graph);
  const kernels = profiledKernels(model.graph, found, marked, profiled);
  const nodes = report.nodes.map((node, i): IntegerNode => {
    const { node: source, graph } = found[i]!;
    const kernel = kernels.get(source);
    if (!kernel) return node;
    return { ...node, ...judge(kernel, node, found[i]!), macs: multiplyAccumulates(source, graph, kernel), timeMs: timeOfRun(kernel, runs) };
  });
  // A profile shows no accuracy level: whether a MatMulNBits multiplies integers, its node in the fused graph knows.
  const proven = new Set(nodes.flatMap(({ runsAs }, i) => (runsAs === 'integer' ? (kernels.get(found[i]!.node) ?? []) : [])));
  const time = splitTime(profiled, (node) => proven.has(node) || ranOnIntegers(node), runs);
  const integerNodes = nodes.filter((node) => node.runsAs === 'integer');
  const isOpen = nodes.some(({ runsAs }) => runsAs === null);
  // What stands in a body may not have run at all.
  const ran = nodes.filter((_, i) => found[i]!.outer.length === 0 || kernels.has(found[i]!.node));
  return {
    ...report,
    integerNodes: isOpen ? null : integerNodes.length,
    macsShare: isOpen ? null : shareOfMacs(ran),
    timeShare: time && (time.computeMs.integer + time.otherIntegerMs) / time.totalMs,
    time,
    nodes,
  };
}

const besideFusedGraph: JudgeKernel = (kernel, { runsAs: fused, kernel: name, reason }) => {
  const runsAs = ranOnIntegers(kernel) ? 'integer' : name === kernel.opType ? fused : 'float';
  return { runsAs, kernel: name, reason: runsAs === 'integer' ? null : (reason ?? `it is an integer kernel in the fused graph, but ran as ${kernel.opType} on floats`) };
};

/** Share of multiply–accumulates in integer kernels; null where some, or all, are not known. */
function shareOfMacs(ran: readonly IntegerNode[]): number | null {
  const sum = (nodes: readonly IntegerNode[]) => nodes.reduce((total, { macs }) => total + (macs ?? NaN), 0);
  const total = sum(ran);
  return total > 0 ? sum(ran.filter(({ runsAs }) => runsAs === 'integer')) / total : null;
}

/** Where the time of one run went; null where no time was measured. */
function splitTime(profiled: readonly ProfiledNode[], isInteger: (node: ProfiledNode) => boolean, runs: number): TimeSplit | null {
  const computeMs = { integer: 0, float: 0 };
  let [totalMs, otherIntegerMs, conversionMs] = [0, 0, 0];
  const others = new Map<string, number>();
  for (const node of profiled) {
    const ms = timeOfRun(node, runs);
    totalMs += ms;
    if (CONVERSIONS.has(node.opType)) conversionMs += ms;
    else if (isComputeOperator(node.opType)) computeMs[isInteger(node) ? 'integer' : 'float'] += ms;
    else if (isInteger(node)) otherIntegerMs += ms;
    else others.set(node.opType, (others.get(node.opType) ?? 0) + ms);
  }
  return totalMs > 0 ? { totalMs, computeMs, otherIntegerMs, conversionMs, otherMs: Object.fromEntries([...others].sort(([, a], [, b]) => b - a)) } : null;
}

const CONVERSIONS: ReadonlySet<string> = new Set(['QuantizeLinear', 'DequantizeLinear', 'DynamicQuantizeLinear']);

/** Median time that a node took in one run of the model, in milliseconds. */
function timeOfRun({ timesMs }: ProfiledNode, runs: number): number {
  if (timesMs.length === 0) return 0;
  const sorted = [...timesMs].sort((a, b) => a - b);
  return sorted[sorted.length >> 1]! * (timesMs.length / runs);
}

/** Whether a node worked on integers: by its operator, or because it moved quantized elements. */
export function ranOnIntegers({ opType, inputs }: ProfiledNode): boolean {
  const kernel = { name: '', opType, domain: '', inputs: [], outputs: [], attributes: new Map() };
  if (computeArithmetic(kernel) === 'integer' || opType.startsWith('QLinear')) return true;
  return /^u?int(8|16)$/.test(inputs[0]?.type ?? '') && !isDequantize(kernel) && !isComputeOperator(opType);
}

/** The kernel that ran for each compute node: by marks, otherwise by the output that layout changes name a kernel after. */
function profiledKernels(graph: Graph, nodes: readonly NodeInGraph[], marked: MarkedModel, profiled: readonly ProfiledNode[]): Map<Node, ProfiledNode> {
  const kernels = new Map<Node, ProfiledNode>();
  const wanted = new Set(nodes.map(({ node }) => node));
  for (const kernel of profiled) {
    if (!isComputeOperator(kernel.opType)) continue;
    const byMark = marked.nodesIn(kernel.name).filter((node) => wanted.has(node));
    const node = byMark[0] ?? computeNodeBehind(graph, kernel.name.replace(/_nchwc.*$/, ''));
    if (node && wanted.has(node)) kernels.set(node, kernel);
  }
  return kernels;
}

/** The compute node that makes a value, activations in between skipped. */
export function computeNodeBehind(graph: Graph, value: string): Node | undefined {
  const index = indexOf(graph);
  for (let node = index.producer(value); node; node = index.producer(node.inputs[0] ?? '')) {
    if (computeArithmetic(node)) return node;
  }
  return undefined;
}
