import { judgePlans, type TrialJob } from './choose-method.js';
import { channelMeansTask } from './evaluation/channel-means.js';
import type { Model } from './graph/model.js';
import type { Change } from './passes/pass.js';
import { correctableInputs, correctBiases } from './quantization/bias-correction.js';
import type { QuantizationPlan } from './quantization/plan.js';
import { stageModel } from './runtime/staged-model.js';

/** What a correction must win at the worst output to be kept: less is within the noise of the samples. */
const MIN_GAIN_DB = 0.25;

/** A float model and the plan for it. */
export interface PlannedModel {
  readonly model: Model;
  readonly plan: QuantizationPlan;
}

/** Means of the channels of values, by value name. */
export type ChannelMeans = ReadonlyMap<string, ArrayLike<number>>;

/**
 * Tries bias correction on a chosen plan: means of the float model's activations over the samples, biases moved by the mean error of their
 * rounded weights. Returns the corrected model and its plan where the error at the model's worst output shrinks, otherwise undefined.
 */
export async function tryBiasCorrection(
  job: TrialJob,
  chosen: PlannedModel,
  sqnrDb: number,
  planWithMeans: (means: ChannelMeans) => PlannedModel,
): Promise<(PlannedModel & { readonly means: ChannelMeans; readonly change: Change }) | undefined> {
  const values = correctableInputs(chosen.model, chosen.plan);
  if (values.length === 0) return undefined;
  const staged = await stageModel(job.host, chosen.model, 'means.onnx', job.baseline.externalDataFolder);
  const means = await job.host.run(channelMeansTask, { model: staged, values, data: job.data, only: job.samples });
  const { names } = correctBiases(chosen.model, chosen.plan, means);
  const planned = planWithMeans(means);
  const [corrected] = await judgePlans(job, [planned]);
  if (corrected === undefined || !(corrected > sqnrDb + MIN_GAIN_DB)) return undefined;
  const message = `${names.length} biases were moved by the mean error of their rounded weights: ${sqnrDb.toFixed(1)} → ${corrected.toFixed(1)} dB`;
  return { ...planned, means, change: { pass: 'bias-correction', names, message } };
}
