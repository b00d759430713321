import type { OutputError } from './metrics/output-error.js';
import { medianRatioInterval, statsOf, type MedianInterval, type Stats } from './metrics/statistics.js';
import { checkThresholds, type ThresholdCheck, type ThresholdLimits } from './metrics/thresholds.js';
import { compareTask, judgeTask, type JudgeResult, type TaskComparison } from './evaluation/judge.js';
import { proveIn } from './evaluation/prove.js';
import { timeTask } from './evaluation/time.js';
import { TIMING_DEFAULTS } from './defaults.js';
import { QdqError } from './errors.js';
import { nonFiniteOutputs } from './non-finite-outputs.js';
import { modelSize, readModel } from './onnx/read-model.js';
import type { Warning } from './progress.js';
import type { IntegerReport } from './runtime/integer-report.js';
import { stagedFile } from './runtime/staged-model.js';
import { requireDataSpec, usedThreads, warn, withHost, type DataOptions, type RuntimeOptions, type VerbOptions } from './verb-options.js';

/** Options of `compare`. */
export interface CompareOptions extends VerbOptions, DataOptions, RuntimeOptions, ThresholdLimits {
  /** Path of the baseline, usually the fp32 model. */
  readonly baseline: string;
  /** Paths of the models to compare with it. */
  readonly candidates: readonly string[];
  /** Path of a labels file. */
  readonly labels?: string | undefined;
  /** Task metric: "top1", "top5", or the path of a module. */
  readonly metric?: string | undefined;
  /** Timed runs of each model. */
  readonly runs?: number | undefined;
  /** Runs of each model before those. */
  readonly warmup?: number | undefined;
}

/** Samples below which figures say little. */
const FEW_SAMPLES = 8;

/** How one candidate compares with the baseline. */
export interface Comparison {
  readonly candidate: { readonly path: string; readonly sizeBytes: number };
  readonly outputs: readonly OutputError[];
  readonly task: TaskComparison | null;
  readonly latency: { readonly threads: number; readonly runs: number; readonly baselineMs: Stats | null; readonly candidateMs: Stats | null; readonly speedup: MedianInterval | null };
  readonly sizeRatio: number;
  readonly integer: IntegerReport;
  readonly thresholds: readonly ThresholdCheck[];
  readonly warnings: readonly Warning[];
}

/** What `compare` returns, and prints with --json. With one candidate its fields stand at the top; with several, in `candidates`. */
export type CompareResult = CompareHead & (Comparison | { readonly candidates: readonly Comparison[] });

interface CompareHead {
  readonly schema: 'qdq.compare/1';
  readonly baseline: { readonly path: string; readonly sizeBytes: number };
  readonly samples: number;
}

/**
 * Compares models with a baseline on the same samples: error of each output, task accuracy where there are labels, speed by interleaved
 * runs, size, and what runs on integers.
 *
 * @example
 * await compare({ baseline: 'model.onnx', candidates: ['model.int8.onnx'], data: ['test/'], minSqnr: 20 });
 */
export async function compare(options: CompareOptions): Promise<CompareResult> {
  const data = requireDataSpec(options);
  if (options.candidates.length === 0) throw new QdqError('usage', 'no candidate was named', 'Name the models to compare after the baseline.');
  const paths = [options.baseline, ...options.candidates];
  const sizes: number[] = [];
  for (const path of paths) sizes.push(modelSize(path, await readModel(path)));
  return withHost(options, async (host, shared) => {
    const [baseline, ...candidates] = paths.map(stagedFile);
    const { labels, metric, runtime = 'node', threads = 0 } = options;
    const judged = await host.run(judgeTask, {
      baseline: baseline!,
      candidates: candidates.map((model) => ({ model })),
      data,
      threads,
      runtime,
      labels,
      metric,
    });
    const { runs, warmup } = { runs: options.runs ?? TIMING_DEFAULTS.runs, warmup: options.warmup ?? TIMING_DEFAULTS.warmup };
    const times = await host.run(timeTask, { models: [baseline!, ...candidates], data, runs, warmup, threads, runtime });
    const used = { ...options, threads: await usedThreads(host, options) };
    const comparisons: Comparison[] = [];
    for (const [i, model] of candidates.entries()) {
      const integer = await proveIn(runtime, host, { model, data, threads });
      comparisons.push(describeCandidate(used, shared, judged, i, { path: paths[i + 1]!, sizeBytes: sizes[i + 1]! }, sizes[0]!, times[0]!, times[i + 1]!, integer));
    }
    const head: CompareHead = { schema: 'qdq.compare/1', baseline: { path: options.baseline, sizeBytes: sizes[0]! }, samples: judged.samples };
    return comparisons.length === 1 ? { ...head, ...comparisons[0]! } : { ...head, candidates: comparisons };
  });
}

/** The comparisons of a result, however many candidates there were. */
export function comparisonsOf(result: CompareResult): readonly Comparison[] {
  return 'candidates' in result ? result.candidates : [result];
}

function describeCandidate(
  options: CompareOptions,
  shared: readonly Warning[],
  judged: JudgeResult,
  index: number,
  candidate: Comparison['candidate'],
  baselineBytes: number,
  baselineMs: readonly number[],
  candidateMs: readonly number[],
  integer: IntegerReport,
): Comparison {
  const judgement = judged.candidates[index]!;
  const { outputs } = judgement;
  const task = compareTask(judged, judgement);
  const speedup = medianRatioInterval(baselineMs, candidateMs);
  const sizeRatio = candidate.sizeBytes / baselineBytes;
  const warnings: Warning[] = [...shared];
  const add = (code: string, message: string, advice: string) => warn(options, warnings, { code, message, advice });
  if (judged.samples < FEW_SAMPLES) {
    add('few-samples', `the figures come from ${judged.samples} samples only`, `Give at least ${FEW_SAMPLES}, better a hundred and more.`);
  }
  for (const { code, message, advice } of nonFiniteOutputs(outputs, candidate.path)) add(code, message, advice);
  for (const { name, collapsed } of outputs) {
    if (collapsed) add('collapsed-output', `${candidate.path}: output "${name}" is useless`, 'Leave the nodes before it in float with --exclude, or try another --method.');
  }
  if (speedup && speedup.median < 1) {
    add('slower', `${candidate.path} runs at ${speedup.median.toFixed(2)} times the speed of the baseline`, 'See with `qdq run` where its time goes, and leave small layers in float with --exclude.');
  }
  return {
    candidate,
    outputs,
    task,
    latency: { threads: options.threads ?? 0, runs: baselineMs.length, baselineMs: statsOf(baselineMs), candidateMs: statsOf(candidateMs), speedup },
    sizeRatio,
    integer,
    thresholds: checkThresholds(options, { outputs, drop: task?.drop ?? null, speedup, integer, sizeRatio }),
    warnings,
  };
}
