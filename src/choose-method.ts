import type { CalibrationTable } from './calibration/calibration-table.js';
import { chooseRange, needsEveryElement, RANGE_METHODS, type RangeMethod, type RangeOptions } from './calibration/choose-range.js';
import type { DataSpec } from './data/data-spec.js';
import { judgeTask } from './evaluation/judge.js';
import type { Model } from './graph/model.js';
import type { QuantizationPlan } from './quantization/plan.js';
import type { Range } from './quantization/plan-static.js';
import { applyStaticPlan } from './quantization/static-qdq.js';
import type { RuntimeHost } from './runtime/host.js';
import { stageModel, type StagedModel } from './runtime/staged-model.js';

/** Samples on which methods are compared; more change the choice rarely and cost a run of each method. */
const MAX_CHOICE_SAMPLES = 16;

/** What a range method gave at the model's outputs. */
export interface MethodTrial {
  readonly method: RangeMethod;
  /** SQNR of the worst output in dB, Q/DQ simulated in float; null where it could not be had. */
  readonly sqnrDb: number | null;
  readonly chosen: boolean;
}

/** A plan for one method. */
export interface MethodPlan {
  readonly method: RangeMethod;
  readonly plan: QuantizationPlan;
}

/** The calibrated range of a value under a method. */
export function rangeLookup(table: CalibrationTable, method: RangeMethod, options: RangeOptions, overrides: Readonly<Record<string, Range>>) {
  return (value: string): Range | undefined => {
    const fixed = overrides[value];
    if (fixed) return fixed;
    const record = table.tensors[value];
    if (!record || record.min === null) return undefined;
    const { min, max } = chooseRange(record, method, options);
    return [min, max];
  };
}

/** Methods that a table can serve: a sampled histogram misses the tails that some methods decide by. */
export function usableMethods(table: CalibrationTable): readonly RangeMethod[] {
  return RANGE_METHODS.filter((method) => !(table.sampled && needsEveryElement(method)));
}

/**
 * Tries every plan on the samples named and keeps the one with the least error at the model's worst output. Q/DQ run as float here, so
 * that the choice is the same on every machine.
 */
export async function chooseMethod(
  host: RuntimeHost,
  model: Model,
  baseline: StagedModel,
  plans: readonly MethodPlan[],
  data: DataSpec,
  samples: readonly string[],
  externalDataFolder: string,
): Promise<{ plan: QuantizationPlan; trials: MethodTrial[] }> {
  const different = plans.filter(({ plan }, i) => plans.findIndex((other) => sameScales(plan, other.plan)) === i);
  const candidates = [];
  for (const { method, plan } of different) {
    candidates.push({ model: await stageModel(host, applyStaticPlan(model, plan), `trial-${method}.onnx`, externalDataFolder), simulate: true });
  }
  const { candidates: judged } = await host.run(judgeTask, { baseline, candidates, data, only: samples.slice(0, MAX_CHOICE_SAMPLES) });
  const errors = judged.map(({ outputs }) => outputs.reduce((worst, { sqnrDb }) => Math.min(worst, sqnrDb ?? -Infinity), Infinity));
  const best = errors.indexOf(Math.max(...errors));
  const trials = plans.map(({ method, plan }) => {
    const like = different.findIndex((other) => sameScales(plan, other.plan));
    const sqnrDb = errors[like]!;
    return { method, sqnrDb: Number.isFinite(sqnrDb) ? sqnrDb : null, chosen: method === different[best]!.method };
  });
  return { plan: different[best]!.plan, trials };
}

function sameScales(a: QuantizationPlan, b: QuantizationPlan): boolean {
  return a === b || JSON.stringify(a.tensors) === JSON.stringify(b.tensors);
}
