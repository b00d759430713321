import { judgePlans, type TrialJob } from './choose-method.js';
import type { PlannedModel } from './correct-bias.js';
import { nodeNoiseTask } from './evaluation/node-noise.js';
import { profileNodesTask, type NodeTime } from './evaluation/profile-nodes.js';
import { timeTask } from './evaluation/time.js';
import type { Graph, Model, Node } from './graph/model.js';
import { medianRatioInterval, type MedianInterval } from './metrics/statistics.js';
import type { Change } from './passes/pass.js';
import type { Selection } from './quantization/select.js';
import { applyStaticPlan } from './quantization/static-qdq.js';
import { switchableModel } from './quantization/switchable.js';
import { isComputeOperator } from './runtime/kernels.js';
import { stageModel, type StagedModel } from './runtime/staged-model.js';
import { nodesBetterInFloat, nodesWithinNoise, type TimeTable } from './search/fastest-assignment.js';
import { timeTable } from './search/time-table.js';

const MAX_SAMPLES = 4;
const PROFILE_RUNS = 20;
const PROFILE_WARMUP = 4;
const TIMED_RUNS = 60;
const TIMED_WARMUP = 5;
const TIME_BUDGET_MS = 5_000;

/** Runs of the switchable model: beyond this many, nodes that follow each other are measured together. */
const MAX_NOISE_RUNS = 200;

/** How many times float time counts in the assignments that are tried: measured parts do not add up to the whole exactly. */
const FLOAT_BIASES = [1, 1.2, 1.5, 2];

/** Rounds in which the noise that is allowed shrinks because the nodes' noises together came to more than their sum. */
const MAX_TIGHTENINGS = 3;

/** What a plan with fewer integer nodes must win in time to be kept instead of the plan with all of them. */
const MIN_GAIN = 1.01;

/** What is asked of a plan. */
export interface SearchGoal {
  /** SQNR in dB that every output is to have on unseen samples. */
  readonly minSqnrDb: number;
  /** What is asked on top on the samples that decide, which flatter. */
  readonly marginDb: number;
  readonly threads: number;
}

/** A plan found by measurement. */
export interface SearchedPlan extends PlannedModel {
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

interface Mix {
  readonly reasons: ReadonlyMap<string, string>;
  readonly planned: PlannedModel;
  readonly sqnrDb: number;
}

/**
 * Looks for the fastest plan inside an error budget: which nodes run on integers and which stay in float, weighing the time that each wins or
 * costs on this machine, conversions at the edges of regions included, and, where the plan with all nodes on integers is too noisy, the noise
 * that each puts on the outputs. Undefined where the plan with all nodes is best.
 */
export async function searchPlan(
  job: TrialJob,
  float: Model,
  chosen: PlannedModel,
  selection: Selection,
  planWithFloat: (reasons: ReadonlyMap<string, string>) => PlannedModel,
  goal: SearchGoal,
): Promise<SearchedPlan | undefined> {
  const { integer, times } = await measureTimes(job, chosen, goal.threads);
  const [sqnrDb = -Infinity] = await judgePlans(job, [chosen]);
  const wanted = goal.minSqnrDb + goal.marginDb;
  const noise = sqnrDb < wanted ? await measureNoise(job, float, chosen, goal.threads) : undefined;
  const mixes = await findMixes(job, float.graph, selection, planWithFloat, times, noise, wanted);
  if (mixes.length === 0) return undefined;
  const folder = job.baseline.externalDataFolder;
  const staged = [];
  for (const [i, { planned }] of mixes.entries()) staged.push(await stageModel(job.host, applyStaticPlan(planned.model, planned.plan), `search-mix-${i}.onnx`, folder));
  const [integerMs, ...mixedMs] = await job.host.run(timeTask, {
    models: [integer, ...staged],
    data: job.data,
    only: job.samples.slice(0, MAX_SAMPLES),
    runs: TIMED_RUNS,
    warmup: TIMED_WARMUP,
    threads: goal.threads,
    budgetMs: TIME_BUDGET_MS,
  });
  const measured = mixes.map((mix, i) => ({ ...mix, gain: medianRatioInterval(integerMs!, mixedMs[i]!) }));
  return pick(sqnrDb, measured, goal);
}

/** The fastest plan that meets the goal, or the least noisy one where none does; undefined for the plan with all nodes on integers. */
function pick(sqnrDb: number, mixes: readonly (Mix & { readonly gain: MedianInterval | null })[], goal: SearchGoal): SearchedPlan | undefined {
  const wanted = goal.minSqnrDb + goal.marginDb;
  const speed = (mix: { readonly gain: MedianInterval | null }) => mix.gain?.median ?? 0;
  const good = mixes.filter((mix) => mix.sqnrDb >= wanted);
  const best = good.length > 0 ? good.reduce((a, b) => (speed(b) > speed(a) ? b : a)) : mixes.reduce((a, b) => (b.sqnrDb > a.sqnrDb ? b : a));
  const faster = best.gain !== null && best.gain.low >= 1 && best.gain.median >= MIN_GAIN;
  const quieter = sqnrDb < wanted && best.sqnrDb > sqnrDb + 1;
  if (!faster && !quieter) return undefined;
  const names = [...best.reasons.keys()];
  const interval = best.gain ? `${speed(best).toFixed(2)} [${best.gain.low.toFixed(2)}, ${best.gain.high.toFixed(2)}]` : 'an unknown multiple of';
  const message = `${names.length} nodes stay in float, measured on this machine: ${interval} times the speed of all on integers, ${sqnrDb.toFixed(1)} → ${best.sqnrDb.toFixed(1)} dB`;
  return { ...best.planned, change: { pass: 'search', names, message } };
}

async function findMixes(
  job: TrialJob,
  graph: Graph,
  selection: Selection,
  planWithFloat: (reasons: ReadonlyMap<string, string>) => PlannedModel,
  times: TimeTable,
  noise: ReadonlyMap<string, number> | undefined,
  wanted: number,
): Promise<Mix[]> {
  const mixes: Mix[] = [];
  let budgetDb = wanted;
  for (let round = 0; round <= MAX_TIGHTENINGS; round++) {
    const found: Omit<Mix, 'sqnrDb'>[] = [];
    for (const bias of FLOAT_BIASES) {
      const nodes = noise ? nodesWithinNoise(graph, selection, times, noise, 10 ** (-budgetDb / 10), bias) : nodesBetterInFloat(graph, selection, times, bias);
      const reasons = floatReasons(selection, nodes, times, noise);
      if (reasons.size === 0 || [...found, ...mixes].some((mix) => sameKeys(mix.reasons, reasons))) continue;
      const planned = planWithFloat(reasons);
      if (planned.plan.nodes.some(({ opType, decision }) => decision === 'quantized' && isComputeOperator(opType))) found.push({ reasons, planned });
    }
    if (found.length === 0) break;
    const judged = await judgePlans(job, found.map(({ planned }) => planned));
    found.forEach((mix, i) => mixes.push({ ...mix, sqnrDb: judged[i]! }));
    const missing = wanted - Math.max(...judged);
    if (!noise || missing <= 0) break;
    budgetDb += Math.max(missing, 1);
  }
  return mixes;
}

function sameKeys(a: ReadonlyMap<string, unknown>, b: ReadonlyMap<string, unknown>): boolean {
  return a.size === b.size && [...a.keys()].every((key) => b.has(key));
}

function floatReasons(selection: Selection, nodes: ReadonlySet<Node>, times: TimeTable, noise: ReadonlyMap<string, number> | undefined): Map<string, string> {
  const reasons = new Map<string, string>();
  for (const node of nodes) {
    const selected = selection.nodes.get(node)!;
    const [integer, float] = [times.integer(selected), times.float(selected)];
    const alone = noise?.get(node.name);
    const cost = `${inMs(integer)} on integers and conversions at its edges, against ${inMs(float)} in float`;
    reasons.set(node.name, alone ? `measured: ${cost}; alone it leaves ${(-10 * Math.log10(alone)).toFixed(0)} dB` : `measured: ${cost}`);
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

/** Noise power of each planned node alone, relative to the signal at the worst output. Nodes measured together share theirs. */
async function measureNoise(job: TrialJob, float: Model, planned: PlannedModel, threads: number): Promise<Map<string, number>> {
  const { model: switchable, switches } = switchableModel(float, planned);
  const names = [...switches.keys()];
  const size = Math.ceil(names.length / MAX_NOISE_RUNS);
  const groups = Array.from({ length: Math.ceil(names.length / size) }, (_, i) => names.slice(i * size, (i + 1) * size));
  const samples = Math.max(1, Math.min(MAX_SAMPLES, Math.floor(MAX_NOISE_RUNS / groups.length)));
  const folder = job.baseline.externalDataFolder;
  const powers = await job.host.run(nodeNoiseTask, {
    model: await stageModel(job.host, float, 'search-float.onnx', folder),
    switchable: await stageModel(job.host, switchable, 'search-switchable.onnx', folder),
    switches: [...switches.values()],
    groups: groups.map((group) => group.map((name) => switches.get(name)!)),
    data: job.data,
    only: job.samples.slice(0, samples),
    threads,
  });
  return new Map(groups.flatMap((group, i) => group.map((name) => [name, powers[i]! / group.length] as const)));
}

const inMs = (time: number) => `${time.toPrecision(3)} ms`;
