import type { NodeTime } from '../evaluation/profile-nodes.js';
import { intAttribute } from '../graph/attributes.js';
import type { Graph, Node } from '../graph/model.js';
import { allNodes } from '../graph/traversal.js';
import type { MedianInterval } from '../metrics/statistics.js';
import { COMPUTE_WITHOUT_KERNEL } from '../quantization/operator-rules.js';
import { isComputeNode } from '../runtime/kernels.js';
import { FASTER, type Preference, type Standing } from './choose-plan.js';
import { ratioText } from './wording.js';

/** What a plan that shows no gain is told by. */
export interface NoGainEvidence {
  readonly plans: readonly (Standing & { readonly label: string })[];
  readonly best: Standing;
  readonly prefer: Preference;
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

/** What integers win nothing by. */
export interface NoGainReason {
  readonly kind: 'preference' | 'budget' | 'noise' | 'dispatch' | 'elsewhere' | 'kernelless' | 'depthwise' | 'kernels';
  /** In words, with the figures of one measurement. */
  readonly text: string;
}

/**
 * Why the chosen plan shows no gain: another one was preferred, the budget, timing that is too noisy to tell, time that goes elsewhere than into
 * products, or kernels that are no faster.
 */
export function reasonOfNoGain({ plans, best, prefer, wantedDb, maxDrop, floatMs, graph, times }: NoGainEvidence): NoGainReason {
  const faster = plans.filter((plan) => plan.integerNodes > 0 && (plan.speedup?.median ?? 0) >= FASTER);
  const keeps = ({ sqnrDb, drop }: Standing) => (maxDrop === undefined ? sqnrDb >= wantedDb : drop !== null && drop <= maxDrop);
  const preferable = faster.filter(keeps);
  if (preferable.length > 0 && prefer !== 'speed') {
    const fastest = preferable.reduce((a, b) => (b.speedup!.median > a.speedup!.median ? b : a));
    return { kind: 'preference', text: `it was chosen for its ${prefer === 'size' ? 'size' : 'integers'} (--prefer ${prefer}), and others are faster: "${fastest.label}" has ${ratioText(fastest.speedup)}` };
  }
  if (best.integerNodes > 0 && (best.speedup?.median ?? 0) >= FASTER) return { kind: 'noise', text: `timing is too noisy to tell: ${ratioText(best.speedup)}` };
  if (faster.length > 0) {
    const quietest = faster.reduce((a, b) => (b.sqnrDb > a.sqnrDb ? b : a));
    // A plan that was given up on other samples kept the budget on these.
    if (preferable.length > 0) return { kind: 'budget', text: 'the error budget: plans on integers that are faster than float missed it on the samples that confirm' };
    const figure = maxDrop === undefined ? `${quietest.sqnrDb.toFixed(1)} dB, and ${wantedDb.toFixed(1)} dB are asked for` : `a drop of ${quietest.drop?.toPrecision(3) ?? 'unknown size'}, and at most ${maxDrop} is allowed`;
    return { kind: 'budget', text: `the error budget: plans on integers that are faster than float have no better than ${figure} on the samples that judge` };
  }
  const byName = new Map([...allNodes(graph)].map((node) => [node.name, node]));
  const timed = times.map(({ names, timeMs }) => ({ node: byName.get(names[0] ?? ''), timeMs }));
  const sum = (those: readonly { readonly timeMs: number }[]) => those.reduce((total, { timeMs }) => total + timeMs, 0);
  const inKernels = sum(timed);
  if (timed.length > 0 && inKernels < MOST * floatMs) return { kind: 'dispatch', text: `dispatch: a run takes ${inMs(floatMs)}, of which only ${inMs(inKernels)} are spent in kernels` };
  const compute = timed.filter(({ node }) => node && isComputeNode(node));
  const inCompute = sum(compute);
  if (timed.length > 0 && inCompute < MOST * inKernels) return { kind: 'elsewhere', text: `time outside the nodes that multiply: they take only ${share(inCompute, inKernels)} of it` };
  const kernelless = compute.filter(({ node }) => node!.opType !== 'LSTM' && node!.opType in COMPUTE_WITHOUT_KERNEL);
  if (kernelless.length > 0 && sum(kernelless) >= MOST * inCompute) {
    const operators = [...new Set(kernelless.map(({ node }) => node!.opType))].join(', ');
    return { kind: 'kernelless', text: `operators without an integer kernel (${operators}), which take ${share(sum(kernelless), inCompute)} of the time of the nodes that multiply` };
  }
  const inDepthwise = sum(compute.filter(({ node }) => isGrouped(node!)));
  if (inDepthwise >= MOST * inCompute && inDepthwise > 0) return { kind: 'depthwise', text: `depthwise convolutions, which take ${share(inDepthwise, inCompute)} of the time of the nodes that multiply, and are no faster on integers` };
  return { kind: 'kernels', text: 'the nodes that multiply are no faster on integers than in float on this machine, conversions at their edges included' };
}

/** A reason with what a second measurement gave: the time of the fastest plan on integers, and the reason that its figures lead to. */
export function afterSecondLook(first: NoGainReason, second: NoGainReason, fastest: { readonly label: string; readonly speedup: MedianInterval | null; readonly again: MedianInterval | null } | undefined): string {
  const reason = second.kind === first.kind ? second.text : `${first.text}; measured again: ${second.text}`;
  return fastest?.again ? `${reason} ("${fastest.label}", the fastest on integers, has ${ratioText(fastest.speedup)} the speed of float, measured again ${ratioText(fastest.again)})` : reason;
}

const isGrouped = (node: Node) => node.opType === 'Conv' && intAttribute(node, 'group', 1) > 1;
const share = (part: number, whole: number) => `${((100 * part) / whole).toFixed(0)} %`;
const inMs = (time: number) => `${time.toPrecision(3)} ms`;
