import type { DataSpec } from '../data/data-spec.js';
import { compareTask, judgeTask } from '../evaluation/judge.js';
import type { Model } from '../graph/model.js';
import { worstQuality } from '../metrics/worst-sqnr.js';
import type { RuntimeHost } from '../runtime/host.js';
import { stageModel, type StagedModel } from '../runtime/staged-model.js';

/** What models are tried with. */
export interface TrialJob {
  readonly host: RuntimeHost;
  readonly baseline: StagedModel;
  readonly data: DataSpec;
  /** Names of the samples that judge. */
  readonly samples: readonly string[];
  /** Path of a labels file, and the task metric that is judged by it. */
  readonly labels?: string | undefined;
  readonly metric?: string | undefined;
  /** How sums of products are exact, as they are where the target's kernels add exactly. */
  readonly exactRun: TrialRun;
}

/** What a model gave on the samples that judge. */
export interface Trial {
  /** Quality at the worst output in dB, −∞ where it could not be had. */
  readonly sqnrDb: number;
  /** By how much the task metric got worse; null without labels. */
  readonly drop: number | null;
}

/** How Q/DQ run while a model is judged: `simulated` in float, which takes several times as long as float alone; `here` as this machine's kernels compute them. */
export type TrialRun = 'simulated' | 'here';

/** What each model gives. */
export async function judgeModels(job: TrialJob, models: readonly Model[], run: TrialRun): Promise<Trial[]> {
  const staged = [];
  for (const [i, model] of models.entries()) staged.push(await stageModel(job.host, model, `trial-${i}.onnx`, job.baseline.externalDataFolder));
  return judgeStaged(job, staged, run);
}

/** The same of models that are staged already. */
export async function judgeStaged({ host, baseline, data, samples, labels, metric }: TrialJob, models: readonly StagedModel[], run: TrialRun): Promise<Trial[]> {
  const candidates = models.map((model) => ({ model, simulate: run === 'simulated' }));
  const judged = await host.run(judgeTask, { baseline, candidates, data, only: samples, labels, metric, keepsBaseline: true });
  return judged.candidates.map((judgement) => ({ sqnrDb: worstQuality(judgement.outputs), drop: compareTask(judged, judgement)?.drop ?? null }));
}
