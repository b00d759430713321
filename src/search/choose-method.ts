import type { CalibrationTable } from '../calibration/calibration-table.js';
import type { RangeMethod } from '../calibration/choose-range.js';
import { stageModel } from '../runtime/staged-model.js';
import type { Planner, PlannedModel } from './planner.js';
import type { RangeChoice } from './range-source.js';
import { judgeStaged, type Trial, type TrialJob } from './trials.js';

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
  /** SQNR of the worst output in dB, products added exactly; null where it could not be had. */
  readonly sqnrDb: number | null;
  readonly chosen: boolean;
}

/** A plan that is kept. */
interface ChosenPlan {
  readonly choice: RangeChoice;
  readonly planned: PlannedModel;
  /** SQNR of the worst output in dB. */
  readonly sqnrDb: number;
  readonly trials: readonly MethodTrial[];
}

/**
 * Tries a plan for every way to choose ranges and keeps the one with the least error at the model's worst output, products added exactly. One plan is
 * judged while the next is made.
 */
export async function chooseMethod(job: TrialJob, planner: Planner, ways: readonly RangeChoice[], plan: (choice: RangeChoice) => PlannedModel): Promise<ChosenPlan> {
  const tried: { readonly choice: RangeChoice; readonly planned: PlannedModel; readonly judged: Promise<Trial[]> }[] = [];
  for (const [i, choice] of ways.entries()) {
    const planned = plan(choice);
    const same = tried.find((other) => sameScales(planned, other.planned));
    const judged = same?.judged ?? judgeStaged(job, [await stageModel(job.host, planner.quantize(planned).model, `trial-${i}.onnx`, job.baseline.externalDataFolder)], job.exactRun);
    // It is waited for below; until then nobody hears of a failure.
    judged.catch(() => undefined);
    tried.push({ choice, planned, judged });
  }
  const errors: number[] = [];
  for (const { judged } of tried) errors.push((await judged)[0]!.sqnrDb);
  const best = errors.indexOf(Math.max(...errors));
  const trials = tried.map(({ choice: { method, percentile = null } }, i): MethodTrial => {
    const sqnrDb = errors[i]!;
    return { method, percentile, sqnrDb: Number.isFinite(sqnrDb) ? sqnrDb : null, chosen: i === best };
  });
  const { choice, planned } = tried[best]!;
  return { choice, planned, sqnrDb: errors[best]!, trials };
}

function sameScales({ plan: a }: PlannedModel, { plan: b }: PlannedModel): boolean {
  return a === b || JSON.stringify(a.tensors) === JSON.stringify(b.tensors);
}
