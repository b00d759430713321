import type { CalibrationTable } from '../calibration/calibration-table.js';
import type { RangeMethod } from '../calibration/choose-range.js';
import type { Planner, PlannedModel } from './planner.js';
import type { RangeChoice } from './range-source.js';
import { judgeModels, type TrialJob } from './trials.js';

/** Samples on which plans are compared; more change the choice rarely, and each costs a run of every plan. */
const CHOICE_SAMPLES: readonly [number, number] = [2, 16];

/** Elements of activations that such a comparison may pass through: large models decide on fewer samples, so that it ends soon. */
const CHOICE_ELEMENTS = 16e6;

/** The samples that decide, evenly spaced; fewer for models with large activations. The same on every machine. */
export function choiceSamples(table: CalibrationTable, judging: readonly string[]): string[] {
  const elements = Object.values(table.tensors).reduce((sum, { count }) => sum + count, 0) / Math.max(1, table.samples.length);
  const [least, most] = CHOICE_SAMPLES;
  const count = Math.min(judging.length, Math.max(least, Math.min(most, Math.floor(CHOICE_ELEMENTS / Math.max(1, elements)))));
  return Array.from({ length: count }, (_, i) => judging[Math.floor((i * judging.length) / count)]!);
}

/** What a range method gave at the model's outputs. */
export interface MethodTrial {
  readonly method: RangeMethod;
  /** For the method `percentile`: which. */
  readonly percentile: number | null;
  /** SQNR of the worst output in dB, Q/DQ simulated in float; null where it could not be had. */
  readonly sqnrDb: number | null;
  readonly chosen: boolean;
}

/** The plan of a way to choose ranges. */
interface MethodPlan {
  readonly choice: RangeChoice;
  readonly planned: PlannedModel;
}

/** Tries every plan and keeps the one with the least error at the model's worst output. Q/DQ run as float, so that the choice is the same on every machine. */
export async function chooseMethod(job: TrialJob, planner: Planner, plans: readonly MethodPlan[]): Promise<MethodPlan & { sqnrDb: number; trials: MethodTrial[] }> {
  const different = plans.filter((plan, i) => plans.findIndex((other) => sameScales(plan, other)) === i);
  const judged = await judgeModels(job, different.map(({ planned }) => planner.quantize(planned).model), 'simulated');
  const errors = judged.map(({ sqnrDb }) => sqnrDb);
  const best = errors.indexOf(Math.max(...errors));
  const trials = plans.map((plan) => {
    const sqnrDb = errors[different.findIndex((other) => sameScales(plan, other))]!;
    const { method, percentile = null } = plan.choice;
    return { method, percentile, sqnrDb: Number.isFinite(sqnrDb) ? sqnrDb : null, chosen: plan === different[best] };
  });
  return { ...different[best]!, sqnrDb: errors[best]!, trials };
}

function sameScales({ planned: a }: MethodPlan, { planned: b }: MethodPlan): boolean {
  return a === b || JSON.stringify(a.plan.tensors) === JSON.stringify(b.plan.tensors);
}
