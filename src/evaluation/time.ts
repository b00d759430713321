import { performance } from 'node:perf_hooks';
import { openData } from '../data/open-data.js';
import type { DataSpec } from '../data/data-spec.js';
import type { RuntimeName } from '../runtime/runtime-names.js';
import type { Session } from '../runtime/session.js';
import { openStaged, type StagedModel } from '../runtime/staged-model.js';
import { defineTask, type TaskContext } from '../runtime/task.js';
import type { Tensor } from '../tensor/tensor.js';
import { modelFacts } from './model-facts.js';

/** Samples that runs take turns on. */
const MAX_SAMPLES = 8;

/** Share of a time budget that runs for warming up may take before no more of them follow. */
const MAX_WARMUP_SHARE = 0.25;

/** What to time. Plain data. */
export interface TimeArguments {
  /** Models that take turns, each beginning in turn. */
  readonly models: readonly StagedModel[];
  readonly data: DataSpec;
  /** Samples to use, by name; all where absent. */
  readonly only?: readonly string[];
  /** Timed runs of each model. */
  readonly runs: number;
  /** Runs of each model before those. */
  readonly warmup: number;
  readonly threads: number;
  /** Where they run; in onnxruntime-node where absent. */
  readonly runtime?: RuntimeName | undefined;
  /** Stops early after this long, with no fewer than `leastRuns`: a fifth of the runs where that is absent. */
  readonly budgetMs?: number;
  readonly leastRuns?: number;
}

/** Times of each model in milliseconds, run by run; the i-th of all models were taken one after another on the same sample. */
export const timeTask = defineTask(import.meta.url, 'timeTask', async (args: TimeArguments, context: TaskContext): Promise<number[][]> => {
  const samples = await readSamples(args);
  const sessions: Session[] = [];
  for (const model of args.models) sessions.push(await openStaged(model, sessionOptions(args)));
  const feeds = samples.map((sample) => sessions[0]!.toFeeds(sample));
  const onRun = (done: number) => context.progress({ stage: 'timing', done, total: args.runs, unit: 'runs' });
  const times = await timeInTurn(sessions, feeds, args, onRun);
  await Promise.all(sessions.map((session) => session.release()));
  return times;
});

/** Times of a baseline and of one candidate that took turns with it, in milliseconds, run by run. */
export interface PairedTimes {
  readonly baselineMs: readonly number[];
  readonly candidateMs: readonly number[];
}

/**
 * Times each candidate in turn with the first model, one candidate after another: among many that take turns, each would find the caches full
 * of the others' weights, as it will not where it is used. `runs` and `budgetMs` are of each candidate.
 */
export const timePairsTask = defineTask(import.meta.url, 'timePairsTask', async (args: TimeArguments, context: TaskContext): Promise<PairedTimes[]> => {
  const samples = await readSamples(args);
  const [first, ...candidates] = args.models;
  const baseline = await openStaged(first!, sessionOptions(args));
  const feeds = samples.map((sample) => baseline.toFeeds(sample));
  const pairs: PairedTimes[] = [];
  for (const model of candidates) {
    const candidate = await openStaged(model, sessionOptions(args));
    const [baselineMs, candidateMs] = await timeInTurn([baseline, candidate], feeds, args, () => undefined, context.endsEarly);
    await candidate.release();
    pairs.push({ baselineMs: baselineMs!, candidateMs: candidateMs! });
    context.progress({ stage: 'timing plans', done: pairs.length, total: candidates.length, unit: 'plans' });
  }
  await baseline.release();
  return pairs;
});

type Feeds = ReturnType<Session['toFeeds']>;

/** Threads of a session that waits for its turn would go on spinning, and take half of what the other one takes its time for. */
const sessionOptions = ({ threads, runtime, models }: TimeArguments) => ({ threads, runtime, spinning: models.length === 1 });

async function readSamples({ models, data, only: names }: TimeArguments): Promise<ReadonlyMap<string, Tensor>[]> {
  const { inputs: wanted } = await modelFacts(models[0]!);
  const all = await openData(data, wanted);
  const only = names && new Set(names);
  const samples: ReadonlyMap<string, Tensor>[] = [];
  for await (const { inputs } of all.filter((name, i) => (only ? only.has(name) : i < MAX_SAMPLES))) {
    samples.push(inputs);
    if (samples.length === MAX_SAMPLES) break;
  }
  return samples;
}

async function timeInTurn(
  sessions: readonly Session[],
  feeds: readonly Feeds[],
  { runs, warmup, budgetMs = Infinity, leastRuns = runs / 5 }: Pick<TimeArguments, 'runs' | 'warmup' | 'budgetMs' | 'leastRuns'>,
  onRun: (done: number) => void,
  endsEarly = () => false,
): Promise<number[][]> {
  const times = sessions.map((): number[] => []);
  const begun = performance.now();
  const end = begun + budgetMs;
  for (let run = -warmup; run < runs; run++) {
    const feed = feeds[(run + warmup) % feeds.length]!;
    for (let turn = 0; turn < sessions.length; turn++) {
      // Each begins in its turn: what runs after another one finds its caches in other states.
      const i = (turn + run + warmup) % sessions.length;
      const start = performance.now();
      await sessions[i]!.runRaw(feed);
      if (run >= 0) times[i]!.push(performance.now() - start);
    }
    if (run >= 0) onRun(run + 1);
    // Where runs take long, one is enough to warm up.
    else if (performance.now() - begun > MAX_WARMUP_SHARE * budgetMs) run = -1;
    if (run >= leastRuns && (performance.now() > end || endsEarly())) break;
  }
  return times;
}
