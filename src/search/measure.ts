import { nodeNoiseTask } from '../evaluation/node-noise.js';
import { profileNodesTask, type NodeTime } from '../evaluation/profile-nodes.js';
import { timePairsTask, type PairedTimes } from '../evaluation/time.js';
import type { Model } from '../graph/model.js';
import { switchableModel } from '../quantization/switchable.js';
import { stageModel, type StagedModel } from '../runtime/staged-model.js';
import type { Planner, PlannedModel } from './planner.js';
import type { TrialJob } from './trials.js';

/** Samples that profiles and timings take turns on. */
const MAX_SAMPLES = 4;
/** Runs of a profile: as many as fit the budget. */
const PROFILE_RUNS: readonly [number, number] = [4, 20];
const PROFILE_WARMUP = 3;
const LEAST_LONG_PROFILE_RUNS = 2;
const PROFILE_BUDGET_MS = 2_000;
const TIMED_RUNS = 60;
/** Long runs vary less, so that few of them show the ratio. */
const LEAST_TIMED_RUNS = 5;
const TIMED_WARMUP = 2;
/** The same for runs that take longer than so many milliseconds. */
const LONG_RUN_MS = 200;
const LEAST_LONG_RUNS = 3;
const LONG_WARMUP = 1;

/** A run of the switchable model takes so many times a run of the float one, roughly. */
const SWITCHABLE_COST = 6;

/** Times of the nodes of a model as it runs here. `floatMs` is the time of one run of the float model. */
export async function profileModel(job: TrialJob, model: Model, floatMs: number, threads: number): Promise<NodeTime[]> {
  const [usual, most] = PROFILE_RUNS;
  const [least, warmup] = floatMs > LONG_RUN_MS ? [LEAST_LONG_PROFILE_RUNS, LONG_WARMUP] : [usual, PROFILE_WARMUP];
  return job.host.run(profileNodesTask, {
    model: await stageModel(job.host, model, 'profiled.onnx', job.baseline.externalDataFolder),
    data: job.data,
    only: job.samples.slice(0, MAX_SAMPLES),
    threads,
    runs: Math.max(least, Math.min(most, Math.floor(PROFILE_BUDGET_MS / floatMs))),
    warmup,
    scratchPrefix: await job.host.temporaryPath('profile'),
  });
}

/** Times of models, each in turn with the job's float model. `budgetMs` is for all of them, `floatMs` the time of one run where it is known. */
export async function timeModels(job: TrialJob, models: readonly StagedModel[], threads: number, budgetMs: number, floatMs = 0): Promise<PairedTimes[]> {
  const { least, warmup } = leastRuns(floatMs);
  const settings = { runs: TIMED_RUNS, leastRuns: least, warmup, threads, budgetMs: budgetMs / models.length };
  return job.host.run(timePairsTask, { models: [job.baseline, ...models], data: job.data, only: job.samples.slice(0, MAX_SAMPLES), ...settings });
}

/** What timing a model takes at least, in milliseconds: it and the float model run in turn, warm-up included. */
export function leastTimingMs(floatMs: number): number {
  const { least, warmup } = leastRuns(floatMs);
  return 2 * (least + warmup) * floatMs;
}

const leastRuns = (floatMs: number) => (floatMs > LONG_RUN_MS ? { least: LEAST_LONG_RUNS, warmup: LONG_WARMUP } : { least: LEAST_TIMED_RUNS, warmup: TIMED_WARMUP });

/** What bounds the measuring of noise. */
export interface NoiseLimits {
  readonly threads: number;
  /** Time of one run of the float model, of which that of other runs follows. */
  readonly floatMs: number;
  readonly budgetMs: number;
  /** Runs at most: beyond this many, nodes that follow each other are measured together. */
  readonly runs: number;
}

/** Noise power of each planned static node alone, relative to the signal at the worst output. Nodes measured together share theirs. */
export async function measureNoise(job: TrialJob, planner: Planner, planned: PlannedModel, limits: NoiseLimits): Promise<Map<string, number>> {
  const { threads, floatMs, budgetMs } = limits;
  const { float } = planner.of(planned);
  const { model: switchable, switches } = switchableModel(float, planned);
  const names = [...switches.keys()];
  const runs = Math.max(8, Math.min(limits.runs, Math.floor(budgetMs / (SWITCHABLE_COST * floatMs))));
  const size = Math.ceil(names.length / runs);
  const groups = Array.from({ length: Math.ceil(names.length / size) }, (_, i) => names.slice(i * size, (i + 1) * size));
  const samples = Math.max(1, Math.min(MAX_SAMPLES, Math.floor(runs / groups.length)));
  const folder = job.baseline.externalDataFolder;
  const powers = await job.host.run(nodeNoiseTask, {
    model: await stageModel(job.host, float, 'noise-float.onnx', folder),
    switchable: await stageModel(job.host, switchable, 'noise-switchable.onnx', folder),
    switches: [...switches.values()],
    groups: groups.map((group) => group.map((name) => switches.get(name)!)),
    data: job.data,
    only: job.samples.slice(0, samples),
    threads,
  });
  return new Map(groups.flatMap((group, i) => group.map((name) => [name, powers[i]! / group.length] as const)));
}
