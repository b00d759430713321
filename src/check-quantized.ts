import type { DataSpec } from './data/data-spec.js';
import { QUANTIZE_DEFAULTS, type Effort } from './defaults.js';
import { compareTask, judgeTask, type TaskComparison } from './evaluation/judge.js';
import { timeTask } from './evaluation/time.js';
import type { OutputError } from './metrics/output-error.js';
import { gradedOutputs } from './metrics/worst-sqnr.js';
import { medianRatioInterval, type MedianInterval } from './metrics/statistics.js';
import { modelSize, readModel } from './onnx/read-model.js';
import type { SamplePartition } from './partition-samples.js';
import type { RuntimeHost } from './runtime/host.js';
import { multipliesExactly } from './runtime/machine.js';
import type { RuntimeName } from './runtime/runtime-names.js';
import { stagedFile } from './runtime/staged-model.js';
import { usedThreads, type VerbOptions } from './verb-options.js';

/** Samples that are judged at most: enough for a figure, few enough to end soon. `compare` takes all. */
const MAX_CHECK_SAMPLES = 32;
/** Of models whose runs take long: few runs show the ratio. */
const LEAST_RUNS = 3;
/** Where nothing is searched for, the job is to end soon; the interval says how well the times are known. */
const TIMING = {
  none: { runs: 16, warmup: 2, budgetMs: 500 },
  normal: { runs: 30, warmup: 3, budgetMs: 4_000 },
  thorough: { runs: 30, warmup: 3, budgetMs: 4_000 },
} as const satisfies Record<Effort, { runs: number; warmup: number; budgetMs: number }>;

/** What the quantized model costs and wins against the float one, measured. */
export interface QuantizeCheck {
  readonly samples: number;
  /** Whether the samples gave neither ranges nor choices, but for plans that were given up on them: those are the search's confirmations. */
  readonly heldOut: boolean;
  /** Signal to quantization noise of each output; null where it is undefined. */
  readonly sqnrDb: Readonly<Record<string, number | null>>;
  /** The same with Q/DQ simulated in float: what a machine gets whose kernels add products exactly. Where that is this machine, effort `none` leaves it at that. */
  readonly simulatedSqnrDb: Readonly<Record<string, number | null>>;
  /** Share of positions with the same argmax, by output; null for ranks below 2. */
  readonly agreement: Readonly<Record<string, number | null>>;
  /** Share of equal elements of outputs that are no floats, by output; null for floats. */
  readonly equalShare: Readonly<Record<string, number | null>>;
  /** Float outputs that are all zero in the float model: they are judged by whether they are zero in the quantized one too. */
  readonly allZero: readonly string[];
  /** The task metric of both, and by how much it got worse; null without labels. */
  readonly task: TaskComparison | null;
  /** Outputs of floats, by whose SQNR the model is judged; that of an index says nothing. */
  readonly graded: readonly string[];
  /** Outputs with NaN or infinity, on whichever side. */
  readonly nonFinite: readonly OutputError[];
  /** Outputs that became useless. */
  readonly collapsed: readonly string[];
  /** Time of the float model over that of the quantized one. */
  readonly speedup: number | null;
  /** The same with its 95 % interval. */
  readonly speedupInterval: MedianInterval | null;
  /** Threads that it was timed with; 0: one for each core. */
  readonly threads: number;
  /** Pairs of runs that were timed. */
  readonly runs: number;
  readonly sizeRatio: number;
}

/** Measures error, speed and size of what was written, on held-out samples where there are any. */
export async function checkQuantized(
  host: RuntimeHost,
  options: VerbOptions & { readonly labels?: string | undefined; readonly metric?: string | undefined; readonly effort?: Effort | undefined; readonly checkRuntime?: RuntimeName | undefined },
  paths: { readonly baseline: string; readonly candidate: string; readonly simulateBaseline?: boolean },
  data: DataSpec,
  samples: SamplePartition,
): Promise<QuantizeCheck> {
  const heldOut = samples.heldOut.length > 0;
  const only = (heldOut ? samples.heldOut : samples.all).slice(0, MAX_CHECK_SAMPLES);
  const threads = options.threads ?? 0;
  const baseline = stagedFile(paths.baseline);
  const candidate = stagedFile(paths.candidate);
  const { labels, metric, checkRuntime: runtime, effort = QUANTIZE_DEFAULTS.effort } = options;
  // Simulating takes several times as long as everything else here, and tells nothing new where this machine adds exactly.
  const simulates = effort !== 'none' || multipliesExactly() !== true;
  const judged = await host.run(judgeTask, { baseline, simulateBaseline: paths.simulateBaseline ?? false, candidates: [{ model: candidate }, ...(simulates ? [{ model: candidate, simulate: true }] : [])], data, only, threads, runtime, labels, metric });
  const [baselineMs, candidateMs] = await host.run(timeTask, {
    models: [baseline, candidate],
    data,
    only,
    leastRuns: LEAST_RUNS,
    threads,
    runtime,
    ...TIMING[effort],
  });
  const outputs = judged.candidates[0]!.outputs;
  const speedup = medianRatioInterval(baselineMs!, candidateMs!);
  const size = async (path: string) => modelSize(path, await readModel(path));
  return {
    samples: judged.samples,
    heldOut,
    sqnrDb: Object.fromEntries(outputs.map(({ name, sqnrDb }) => [name, sqnrDb])),
    simulatedSqnrDb: Object.fromEntries(judged.candidates.at(-1)!.outputs.map(({ name, sqnrDb }) => [name, sqnrDb])),
    agreement: Object.fromEntries(outputs.map(({ name, agreement }) => [name, agreement])),
    equalShare: Object.fromEntries(outputs.map(({ name, equalShare }) => [name, equalShare])),
    allZero: outputs.filter(({ allZero, equalShare }) => allZero && equalShare === null).map(({ name }) => name),
    task: compareTask(judged, judged.candidates[0]!),
    graded: gradedOutputs(outputs).map(({ name }) => name),
    nonFinite: outputs.filter(({ nonFinite }) => nonFinite > 0),
    collapsed: outputs.filter(({ collapsed }) => collapsed).map(({ name }) => name),
    speedup: speedup?.median ?? null,
    speedupInterval: speedup,
    threads: await usedThreads(host, { threads, runtime }),
    runs: baselineMs!.length,
    sizeRatio: (await size(paths.candidate)) / (await size(paths.baseline)),
  };
}
