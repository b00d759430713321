import type { TrialJob } from './choose-method.js';
import type { PlannedModel } from './correct-bias.js';
import { profileNodesTask, type NodeTime } from './evaluation/profile-nodes.js';
import { timeTask } from './evaluation/time.js';
import type { Node } from './graph/model.js';
import { medianRatioInterval } from './metrics/statistics.js';
import type { Change } from './passes/pass.js';
import type { QuantizationPlan } from './quantization/plan.js';
import type { Selection } from './quantization/select.js';
import { applyStaticPlan } from './quantization/static-qdq.js';
import { isComputeOperator } from './runtime/kernels.js';
import { stageModel, type StagedModel } from './runtime/staged-model.js';
import { nodesBetterInFloat, type TimeTable } from './search/fastest-assignment.js';
import { timeTable } from './search/time-table.js';

const MAX_SAMPLES = 4;
const PROFILE_RUNS = 20;
const PROFILE_WARMUP = 4;
const TIMED_RUNS = 60;
const TIMED_WARMUP = 5;
const TIME_BUDGET_MS = 5_000;

/** How many times float time counts in the assignments that are tried: measured parts do not add up to the whole exactly. */
const FLOAT_BIASES = [1, 1.2, 1.5, 2];

/** What a plan with fewer integer nodes must win in time to be kept instead of the plan with all of them. */
const MIN_GAIN = 1.01;

/** A plan that was measured against the plan with all nodes on integers. */
export interface SpeedSearch extends PlannedModel {
  readonly change: Change;
}

/** A node that costs more on integers than in float. */
export interface SlowNode {
  readonly name: string;
  readonly opType: string;
  /** Median times of its kernels in one run, conversions at its edges left out. */
  readonly floatMs: number;
  readonly integerMs: number;
}

/**
 * The nodes that cost time on integers: those that a cheapest assignment, conversions at the edges of regions included, would leave in
 * float.
 */
export async function findSlowNodes(job: TrialJob, chosen: PlannedModel, selection: Selection, threads: number): Promise<SlowNode[]> {
  const { times } = await measureTimes(job, chosen, threads);
  return [...nodesBetterInFloat(chosen.model.graph, selection, times)].map((node) => {
    const selected = selection.nodes.get(node)!;
    return { name: node.name, opType: node.opType, floatMs: times.float(selected), integerMs: times.integer(selected) };
  });
}

/**
 * Looks for nodes that are slower on integers than in float on this machine, the conversions at the edges of regions included, and leaves
 * them in float where that makes the whole model faster. Undefined where it does not.
 */
export async function searchSpeed(
  job: TrialJob,
  chosen: PlannedModel,
  selection: Selection,
  planWithFloat: (reasons: ReadonlyMap<string, string>) => QuantizationPlan,
  threads: number,
): Promise<SpeedSearch | undefined> {
  const folder = job.baseline.externalDataFolder;
  const { integer, times } = await measureTimes(job, chosen, threads);
  const mixes: { reasons: ReadonlyMap<string, string>; plan: QuantizationPlan; model: StagedModel }[] = [];
  for (const bias of FLOAT_BIASES) {
    const reasons = floatReasons(selection, nodesBetterInFloat(chosen.model.graph, selection, times, bias), times);
    if (reasons.size === 0 || mixes.some((mix) => mix.reasons.size === reasons.size)) continue;
    const plan = planWithFloat(reasons);
    if (!plan.nodes.some(({ opType, decision }) => decision === 'quantized' && isComputeOperator(opType))) continue;
    const model = await stageModel(job.host, applyStaticPlan(chosen.model, plan), `search-mixed-${mixes.length}.onnx`, folder);
    mixes.push({ reasons, plan, model });
  }
  if (mixes.length === 0) return undefined;
  const [integerMs, ...mixedMs] = await job.host.run(timeTask, {
    models: [integer, ...mixes.map(({ model }) => model)],
    data: job.data,
    only: job.samples.slice(0, MAX_SAMPLES),
    runs: TIMED_RUNS,
    warmup: TIMED_WARMUP,
    threads,
    budgetMs: TIME_BUDGET_MS,
  });
  const gains = mixedMs.map((times) => medianRatioInterval(integerMs!, times));
  const best = gains.reduce((at, gain, i) => ((gain?.median ?? 0) > (gains[at]?.median ?? 0) ? i : at), 0);
  const gain = gains[best];
  if (!gain || gain.low < 1 || gain.median < MIN_GAIN) return undefined;
  const { plan, reasons } = mixes[best]!;
  const names = [...reasons.keys()];
  const message = `${names.length} nodes stay in float because that is faster here: ${gain.median.toFixed(2)} times the speed of all on integers [${gain.low.toFixed(2)}, ${gain.high.toFixed(2)}]`;
  return { model: chosen.model, plan, change: { pass: 'search', names, message } };
}

function floatReasons(selection: Selection, nodes: ReadonlySet<Node>, times: TimeTable): Map<string, string> {
  const reasons = new Map<string, string>();
  for (const node of nodes) {
    const selected = selection.nodes.get(node)!;
    reasons.set(node.name, `it costs more on integers here: ${inMs(times.integer(selected))} and conversions at its edges, against ${inMs(times.float(selected))} in float`);
  }
  return reasons;
}

/** Profiles the float model and the planned one. */
async function measureTimes(job: TrialJob, { model, plan }: PlannedModel, threads: number): Promise<{ integer: StagedModel; times: TimeTable }> {
  const folder = job.baseline.externalDataFolder;
  const float = await stageModel(job.host, model, 'search-float.onnx', folder);
  const integer = await stageModel(job.host, applyStaticPlan(model, plan), 'search-integer.onnx', folder);
  return { integer, times: timeTable(model.graph, await profile(job, float, threads), await profile(job, integer, threads)) };
}

async function profile(job: TrialJob, model: StagedModel, threads: number): Promise<NodeTime[]> {
  return job.host.run(profileNodesTask, {
    model,
    data: job.data,
    only: job.samples.slice(0, MAX_SAMPLES),
    threads,
    runs: PROFILE_RUNS,
    warmup: PROFILE_WARMUP,
    scratchPrefix: await job.host.temporaryPath('search-profile'),
  });
}

const inMs = (time: number) => `${time.toPrecision(3)} ms`;
