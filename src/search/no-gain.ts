import type { NodeTime } from '../evaluation/profile-nodes.js';
import { intAttribute } from '../graph/attributes.js';
import type { Graph, Node } from '../graph/model.js';
import { isComputeNode } from '../runtime/kernels.js';
import { FASTER, type Standing } from './choose-plan.js';

/** What is known where no plan with integers won. */
export interface NoGainEvidence {
  readonly plans: readonly Standing[];
  /** What was asked of plans on the samples that judged: dB, or a largest drop of the task metric. */
  readonly wantedDb: number;
  readonly maxDrop: number | undefined;
  /** Time of one run of the float model after clean-up. */
  readonly floatMs: number;
  readonly graph: Graph;
  /** Times of its nodes; empty where they were not measured. */
  readonly times: readonly NodeTime[];
}

/** Share of the time from which on something is the reason. */
const MOST = 0.5;

/** Why integers win nothing, in words: the budget, time that goes elsewhere than into products, or kernels that are no faster. */
export function reasonOfNoGain({ plans, wantedDb, maxDrop, floatMs, graph, times }: NoGainEvidence): string {
  const faster = plans.filter(({ integerNodes, speedup }) => integerNodes > 0 && (speedup?.median ?? 0) >= FASTER);
  if (faster.length > 0) {
    const best = faster.reduce((a, b) => (b.sqnrDb > a.sqnrDb ? b : a));
    const figure = maxDrop === undefined ? `${best.sqnrDb.toFixed(1)} dB, and ${wantedDb.toFixed(1)} dB are asked for` : `a drop of ${best.drop?.toPrecision(3) ?? 'unknown size'}, and at most ${maxDrop} is allowed`;
    return `the error budget: plans on integers that are faster than float have no better than ${figure} on the samples that judge`;
  }
  const byName = new Map(graph.nodes.map((node) => [node.name, node]));
  const timed = times.map(({ names, timeMs }) => ({ node: byName.get(names[0] ?? ''), timeMs }));
  const sum = (those: readonly { readonly timeMs: number }[]) => those.reduce((total, { timeMs }) => total + timeMs, 0);
  const inKernels = sum(timed);
  if (timed.length > 0 && inKernels < MOST * floatMs) return `dispatch: a run takes ${inMs(floatMs)}, of which only ${inMs(inKernels)} are spent in kernels`;
  const compute = timed.filter(({ node }) => node && isComputeNode(node));
  const inCompute = sum(compute);
  if (timed.length > 0 && inCompute < MOST * inKernels) return `time outside the nodes that multiply: they take only ${share(inCompute, inKernels)} of it`;
  const inDepthwise = sum(compute.filter(({ node }) => isGrouped(node!)));
  if (inDepthwise >= MOST * inCompute && inDepthwise > 0) return `depthwise convolutions, which take ${share(inDepthwise, inCompute)} of the time of the nodes that multiply, and are no faster on integers`;
  return 'the nodes that multiply are no faster on integers than in float on this machine, conversions at their edges included';
}

const isGrouped = (node: Node) => node.opType === 'Conv' && intAttribute(node, 'group', 1) > 1;
const share = (part: number, whole: number) => `${((100 * part) / whole).toFixed(0)} %`;
const inMs = (time: number) => `${time.toPrecision(3)} ms`;
