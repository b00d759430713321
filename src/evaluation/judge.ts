import { openData } from '../data/open-data.js';
import type { DataSpec } from '../data/data-spec.js';
import { labelOf, labelsFromFolders, readLabels, type Labels } from '../data/labels.js';
import type { DataSet } from '../data/data-set.js';
import type { ModelInput } from '../data/model-inputs.js';
import { QdqError } from '../errors.js';
import { BaselineOutputs } from './baseline-outputs.js';
import { modelFacts } from './model-facts.js';
import { builtInMetric, metricDrop } from '../metrics/task-metrics.js';
import { loadMetric } from '../metrics/load-metric.js';
import { OutputErrorAccumulator, type OutputError } from '../metrics/output-error.js';
import type { MetricDefinition, MetricResult, TaskMetric } from '../metrics/task-metrics.js';
import type { RuntimeName } from '../runtime/runtime-names.js';
import { openStaged, type StagedModel } from '../runtime/staged-model.js';
import { defineTask, type TaskContext } from '../runtime/task.js';
import type { Tensor } from '../tensor/tensor.js';

/** A model that is compared with a baseline. */
export interface Judged {
  readonly model: StagedModel;
  /** Runs its Q/DQ as written, in float, so that the result does not depend on this machine's kernels. */
  readonly simulate?: boolean;
}

/** What to judge on which data. Plain data. */
export interface JudgeArguments {
  readonly baseline: StagedModel;
  /** Runs the Q/DQ of the baseline as written, in float: what a trained model was trained to say. */
  readonly simulateBaseline?: boolean;
  readonly candidates: readonly Judged[];
  readonly data: DataSpec;
  /** Samples to use, by name; all where absent. */
  readonly only?: readonly string[];
  /** Path of a labels file; the folder names of images serve where it is absent. */
  readonly labels?: string | undefined;
  /** Task metric, built in or a module; needs labels. */
  readonly metric?: string | undefined;
  readonly threads?: number;
  /** Where all of them run; in onnxruntime-node where absent. */
  readonly runtime?: RuntimeName | undefined;
  /** Keeps the baseline's outputs for the next judging on the same samples. */
  readonly keepsBaseline?: boolean;
}

/** How one candidate compares with the baseline. */
export interface Judgement {
  readonly outputs: readonly OutputError[];
  readonly metric: MetricResult | null;
}

/** Judgements of all candidates over the same samples. */
export interface JudgeResult {
  readonly samples: number;
  readonly baselineMetric: MetricResult | null;
  readonly higherIsBetter: boolean;
  readonly candidates: readonly Judgement[];
}

/** The task metric of a candidate beside that of the baseline. */
export interface TaskComparison {
  readonly metric: string;
  readonly baseline: number | null;
  readonly candidate: number | null;
  /** By how much it got worse. */
  readonly drop: number | null;
  /** Labelled items that the figures stand on. */
  readonly samples: number;
}

/** How the task metric of a candidate compares; null without labels. */
export function compareTask({ baselineMetric: before, higherIsBetter }: JudgeResult, { metric: after }: Judgement): TaskComparison | null {
  if (!before || !after) return null;
  return { metric: after.metric, baseline: before.value, candidate: after.value, drop: metricDrop({ higherIsBetter }, before.value, after.value), samples: after.samples };
}

/** Bytes of weights in models that are open at once: beyond, candidates are judged one after another. */
const MAX_OPEN_BYTES = 400e6;

/** Runs a baseline and candidates on the same samples and sums up how far their outputs are apart. */
export const judgeTask = defineTask(import.meta.url, 'judgeTask', judge);

async function judge(args: JudgeArguments, context: TaskContext): Promise<JudgeResult> {
  const { inputs, constantBytes } = await modelFacts(args.baseline);
  const only = args.only && new Set(args.only);
  const open = async () => {
    const all = await openData(args.data, inputs);
    return { all, data: only ? all.filter((name) => only.has(name)) : all };
  };
  const { all, data } = await open();
  for (const warning of data.warnings) context.warn(warning);
  const names = await data.names();
  const task = await labeledTask(args, await all.names(), () => everyName(args.data, inputs, all));
  const settings = { threads: args.threads ?? 0, runtime: args.runtime, spinning: false };
  const baseline = await BaselineOutputs.open(args.baseline, { ...settings, simulateQdq: args.simulateBaseline ?? false }, args.keepsBaseline ? JSON.stringify([args.data, args.only]) : undefined);
  const judged = args.candidates.map((candidate) => ({ ...candidate, errors: new Map<string, OutputErrorAccumulator>(), metric: task?.definition.create() }));
  const baselineMetric = task?.definition.create();
  const atOnce = Math.max(1, Math.floor(MAX_OPEN_BYTES / Math.max(1, constantBytes)));
  const total = names.length * Math.max(1, Math.ceil(judged.length / atOnce));
  let samples = 0;
  let done = 0;
  for (let first = 0; first < Math.max(1, judged.length); first += atOnce) {
    const together = [];
    for (const candidate of judged.slice(first, first + atOnce)) {
      together.push({ ...candidate, session: await openStaged(candidate.model, { ...settings, simulateQdq: candidate.simulate ?? false }) });
    }
    // What a reader gives, it may give once.
    for await (const sample of first === 0 ? data : (await open()).data) {
      const expected = await baseline.of(sample.name, sample.inputs);
      const label = task && labelOf(task.labels, sample.name);
      if (first === 0) samples++;
      if (first === 0) addToMetric(baselineMetric, expected, label, sample.name);
      for (const { session, errors, metric } of together) {
        const received = await session.run(sample.inputs);
        for (const [name, tensor] of expected) addError(errors, name, tensor, received.get(name), sample.name);
        addToMetric(metric, received, label, sample.name);
      }
      context.progress({ stage: 'judging', done: ++done, total, unit: total > names.length ? 'runs' : 'samples' });
    }
    await Promise.all(together.map(({ session }) => session.release()));
  }
  await baseline.release();
  return {
    samples,
    baselineMetric: baselineMetric?.result() ?? null,
    higherIsBetter: task?.definition.higherIsBetter ?? true,
    candidates: judged.map(({ errors, metric }) => ({ outputs: [...errors.values()].map((error) => error.result()), metric: metric?.result() ?? null })),
  };
}

function addError(errors: Map<string, OutputErrorAccumulator>, name: string, expected: Tensor, received: Tensor | undefined, sample: string): void {
  if (!received) throw new QdqError('model-invalid', `the candidate has no output "${name}" as the baseline has`, 'Compare models with the same outputs.');
  let error = errors.get(name);
  if (!error) errors.set(name, (error = new OutputErrorAccumulator(name)));
  error.add(expected, received, sample);
}

function addToMetric(metric: TaskMetric | undefined, outputs: ReadonlyMap<string, Tensor>, label: number | undefined, sample: string): void {
  if (metric && label !== undefined) metric.add(Object.fromEntries(outputs), label, sample);
}

/** Names of all samples that there are, those included that `limit` and `split` leave out: folders of theirs are classes too. */
async function everyName({ limit, split, ...spec }: DataSpec, inputs: readonly ModelInput[], chosen: DataSet): Promise<readonly string[]> {
  // What only reading tells is not read for this.
  if ((limit ?? split) === undefined || chosen.total === undefined) return chosen.names();
  return (await openData(spec, inputs)).names();
}

/** Labels and metric where either was asked for, or the samples lie in folders of classes; `every` gives all names that there are. */
async function labeledTask(args: JudgeArguments, names: readonly string[], every: () => Promise<readonly string[]>): Promise<{ labels: Labels; definition: MetricDefinition } | undefined> {
  const labels = args.labels ? await readLabels(args.labels) : labelsFromFolders(await every());
  if (!labels) {
    if (args.metric) throw new QdqError('usage', `--metric ${args.metric} needs labels`, 'Give them with --labels FILE, or put images into one folder a class.');
    return undefined;
  }
  const labeled = names.filter((name) => labelOf(labels, name) !== undefined).length;
  if (labeled === 0) {
    throw new QdqError('data-invalid', `${args.labels ?? 'the folders'}: no label fits any of the ${names.length} samples`, `Labels are keyed by file name, for example "${names[0]}".`);
  }
  return { labels, definition: args.metric ? await loadMetric(args.metric) : builtInMetric('top1') };
}
