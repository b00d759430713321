import type { CalibrationTable } from './calibration/calibration-table.js';
import { chooseRange, needsEveryElement, RANGE_METHODS, type RangeMethod, type RangeOptions } from './calibration/choose-range.js';
import type { DataSpec } from './data/data-spec.js';
import { judgeTask } from './evaluation/judge.js';
import { QdqError } from './errors.js';
import type { Model } from './graph/model.js';
import { worstSqnrDb } from './metrics/worst-sqnr.js';
import type { QuantizationPlan } from './quantization/plan.js';
import type { Range } from './quantization/plan-static.js';
import { applyStaticPlan } from './quantization/static-qdq.js';
import type { RuntimeHost } from './runtime/host.js';
import { stageModel, type StagedModel } from './runtime/staged-model.js';

/** Samples on which plans are compared; more change the choice rarely, and each costs a run of every plan. */
const CHOICE_SAMPLES: readonly [number, number] = [2, 16];

/** Elements of activations that such a comparison may pass through: large models decide on fewer samples, so that it ends soon. */
const CHOICE_ELEMENTS = 16e6;

/** The samples that decide, evenly spaced; fewer for models with large activations. The same on every machine. */
export function choiceSamples(table: CalibrationTable, deciding: readonly string[]): string[] {
  const elements = Object.values(table.tensors).reduce((sum, { count }) => sum + count, 0) / Math.max(1, table.samples.length);
  const [least, most] = CHOICE_SAMPLES;
  const count = Math.min(deciding.length, Math.max(least, Math.min(most, Math.floor(CHOICE_ELEMENTS / Math.max(1, elements)))));
  return Array.from({ length: count }, (_, i) => deciding[Math.floor((i * deciding.length) / count)]!);
}

/** What a range method gave at the model's outputs. */
export interface MethodTrial {
  readonly method: RangeMethod;
  /** SQNR of the worst output in dB, Q/DQ simulated in float; null where it could not be had. */
  readonly sqnrDb: number | null;
  readonly chosen: boolean;
}

/** What plans are tried with. */
export interface TrialJob {
  readonly host: RuntimeHost;
  readonly baseline: StagedModel;
  readonly data: DataSpec;
  /** Names of the samples that may decide. */
  readonly samples: readonly string[];
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
    if (!record) return undefined;
    if (record.min === null && record.dtype === 'float32') throw noFiniteElement(value, table);
    const { min, max } = chooseRange(record, method, options);
    return [min, max];
  };
}

function noFiniteElement(value: string, table: CalibrationTable): QdqError {
  const [seen] = table.nonFinite.filter(({ tensor }) => tensor === value);
  return new QdqError(
    'data-invalid',
    `calibration saw no finite number at "${value}"${seen ? `: sample "${seen.sample}" made it NaN or infinite` : ''}`,
    'Look at the samples named by `qdq calibrate` for NaN, and leave them out.',
  );
}

/** Methods that a table can serve: a sampled histogram misses the tails that some methods decide by. */
export function usableMethods(table: CalibrationTable): readonly RangeMethod[] {
  return RANGE_METHODS.filter((method) => !(table.sampled && needsEveryElement(method)));
}

/**
 * SQNR in dB at the worst output for each plan, −∞ where it could not be had. Q/DQ run as float, so that a choice by it is the same on
 * every machine.
 */
export async function judgePlans(job: TrialJob, plans: readonly { readonly model: Model; readonly plan: QuantizationPlan }[]): Promise<number[]> {
  const { host, baseline, data, samples } = job;
  const candidates = [];
  for (const [i, { model, plan }] of plans.entries()) {
    candidates.push({ model: await stageModel(host, applyStaticPlan(model, plan), `trial-${i}.onnx`, baseline.externalDataFolder), simulate: true });
  }
  const { candidates: judged } = await host.run(judgeTask, { baseline, candidates, data, only: samples });
  return judged.map(({ outputs }) => worstSqnrDb(outputs));
}

/** Tries every plan and keeps the one with the least error at the model's worst output. */
export async function chooseMethod(
  job: TrialJob,
  model: Model,
  plans: readonly MethodPlan[],
): Promise<{ method: RangeMethod; plan: QuantizationPlan; sqnrDb: number; trials: MethodTrial[] }> {
  const different = plans.filter(({ plan }, i) => plans.findIndex((other) => sameScales(plan, other.plan)) === i);
  const errors = await judgePlans(job, different.map(({ plan }) => ({ model, plan })));
  const best = errors.indexOf(Math.max(...errors));
  const trials = plans.map(({ method, plan }) => {
    const like = different.findIndex((other) => sameScales(plan, other.plan));
    const sqnrDb = errors[like]!;
    return { method, sqnrDb: Number.isFinite(sqnrDb) ? sqnrDb : null, chosen: method === different[best]!.method };
  });
  return { ...different[best]!, sqnrDb: errors[best]!, trials };
}

function sameScales(a: QuantizationPlan, b: QuantizationPlan): boolean {
  return a === b || JSON.stringify(a.tensors) === JSON.stringify(b.tensors);
}
