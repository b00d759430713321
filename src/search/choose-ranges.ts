import { rangeNoiseTask } from '../evaluation/range-noise.js';
import { rangeProbe } from '../quantization/range-probe.js';
import { stageModel } from '../runtime/staged-model.js';
import type { AffineParameters } from '../tensor/affine.js';
import { leftOut, type Choices, type PlannedModel, type Planner } from './planner.js';
import { rangeLabel, usableChoices, type RangeChoice, type RangeSource } from './range-source.js';
import type { TrialJob } from './trials.js';

/** Shares of elements that a range may keep, in percent. */
export const PERCENTILES = [99.9, 99.99, 99.999, 99.9999] as const;

const MAX_SAMPLES = 4;

/** How much less noise a tensor must make with a range of its own, and the share of all noise that it must have made. */
const MIN_RATIO = 1.5;
const MIN_SHARE = 0.01;

/**
 * Ranges tensor by tensor: those that, rounding nothing else, put less noise on the model's outputs than the one method for all. Empty where
 * none does.
 */
export async function chooseRanges(
  job: TrialJob,
  planner: Planner,
  ranges: RangeSource,
  { choices, planned }: { readonly choices: Choices; readonly planned: PlannedModel },
  { threads, budgetMs }: { readonly threads: number; readonly budgetMs: number },
): Promise<Map<string, RangeChoice>> {
  const { float } = planner.of(choices);
  const selection = planner.of(choices).select(leftOut(choices));
  const probe = rangeProbe(float, planned.plan, selection);
  const options = usableChoices(ranges.table, PERCENTILES).filter((choice) => rangeLabel(choice) !== rangeLabel(choices.range));
  const tensorsOf = new Map([choices.range, ...options].map((range) => [range, planner.plan(ranges, { ...choices, range }).plan.tensors]));
  const groups = probe.groups.map((group) => {
    const tried: { range: RangeChoice; parameters: AffineParameters }[] = [];
    for (const [range, tensors] of tensorsOf) {
      const { dtype, scale, zeroPoint } = tensors[group.group]!;
      if (!tried.some(({ parameters }) => parameters.scale === scale && parameters.zeroPoint === zeroPoint)) tried.push({ range, parameters: { dtype, scale, zeroPoint } });
    }
    return { ...group, tried };
  });
  const folder = job.baseline.externalDataFolder;
  const noises = await job.host.run(rangeNoiseTask, {
    model: await stageModel(job.host, float, 'range-float.onnx', folder),
    probe: await stageModel(job.host, probe.model, 'range-probe.onnx', folder),
    groups: groups.map(({ tried, condition, scale, zeroPoint }) => ({ condition, scale, zeroPoint, candidates: tried.map(({ parameters }) => parameters) })),
    data: job.data,
    only: job.samples.slice(0, MAX_SAMPLES),
    threads,
    budgetMs,
  });
  const total = noises.reduce((sum, [noise]) => sum + (Number.isNaN(noise) ? 0 : noise!), 0);
  const chosen = new Map<string, RangeChoice>();
  for (const [i, { group, tried }] of groups.entries()) {
    const own = noises[i]!;
    const best = own.reduce((a, noise, c) => (noise < own[a]! ? c : a), 0);
    if (best === 0 || Number.isNaN(own[0]) || own[best]! * MIN_RATIO > own[0]! || own[0]! < MIN_SHARE * total) continue;
    for (const value of selection.values.values()) if (value.group === group) chosen.set(value.name, tried[best]!.range);
  }
  return chosen;
}
