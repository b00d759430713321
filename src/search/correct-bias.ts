import { channelMeansTask } from '../evaluation/channel-means.js';
import type { Change } from '../passes/pass.js';
import { correctableInputs } from '../quantization/bias-correction.js';
import { stageModel } from '../runtime/staged-model.js';
import type { ChannelMeans, PlannedModel, Planner } from './planner.js';
import { judgeModels, type TrialJob, type TrialRun } from './trials.js';

/** What a correction must win at the worst output to be kept: less is within the noise of the samples. */
const MIN_GAIN_DB = 0.25;

/** A bias correction that was kept. */
export interface KeptCorrection {
  readonly means: ChannelMeans;
  readonly planned: PlannedModel;
  readonly sqnrDb: number;
  readonly change: Change;
}

/**
 * Tries bias correction on a chosen plan: means of the float model's activations over samples, biases moved by the mean error of their
 * rounded weights. Undefined where the error at the model's worst output does not shrink.
 */
export async function tryBiasCorrection(
  job: TrialJob,
  planner: Planner,
  chosen: PlannedModel,
  sqnrDb: number,
  planWithMeans: (means: ChannelMeans) => PlannedModel,
  run: TrialRun,
): Promise<KeptCorrection | undefined> {
  const values = correctableInputs(planner.float, chosen.plan);
  if (values.length === 0) return undefined;
  const staged = await stageModel(job.host, planner.float, 'means.onnx', job.baseline.externalDataFolder);
  const means = await job.host.run(channelMeansTask, { model: staged, values, data: job.data, only: job.samples });
  const planned = planWithMeans(means);
  const names = Object.keys(planned.biases);
  if (names.length === 0) return undefined;
  const [judged] = await judgeModels(job, [planner.quantize(planned).model], run);
  const corrected = judged!.sqnrDb;
  if (!(corrected > sqnrDb + MIN_GAIN_DB)) return undefined;
  const message = `${names.length} biases were moved by the mean error of their rounded weights: ${sqnrDb.toFixed(1)} → ${corrected.toFixed(1)} dB`;
  return { means, planned, sqnrDb: corrected, change: { pass: 'bias-correction', names, message } };
}
