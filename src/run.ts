import { outputsTask, type WrittenOutput } from './evaluation/outputs.js';
import { proveIn } from './evaluation/prove.js';
import { timeTask } from './evaluation/time.js';
import { TIMING_DEFAULTS } from './defaults.js';
import { statsOf, type Stats } from './metrics/statistics.js';
import type { Warning } from './progress.js';
import type { IntegerReport } from './runtime/integer-report.js';
import { stagedFile } from './runtime/staged-model.js';
import { readModel } from './onnx/read-model.js';
import { requireDataSpec, usedThreads, withHost, type DataOptions, type RuntimeOptions, type VerbOptions } from './verb-options.js';

/** Options of `run`. */
export interface RunOptions extends VerbOptions, DataOptions, RuntimeOptions {
  /** Path of the model. */
  readonly model: string;
  /** Where outputs go: a folder (one .npz a sample), or a .npz file (samples joined along axis 0). */
  readonly outputs?: string | undefined;
  /** Timed runs; 0 for none. */
  readonly runs?: number | undefined;
  readonly warmup?: number | undefined;
}

/** What `run` returns, and prints with --json. */
export interface RunResult {
  readonly schema: 'qdq.run/1';
  readonly samples: number;
  readonly threads: number;
  /** null with no timed runs. */
  readonly latencyMs: Stats | null;
  readonly outputs: readonly WrittenOutput[];
  /** Files written. */
  readonly files: readonly string[];
  readonly integer: IntegerReport;
  readonly warnings: readonly Warning[];
}

/**
 * Runs a model on samples: writes its outputs, times it, and shows which of its nodes run on integers.
 *
 * @example
 * await run({ model: 'model.int8.onnx', data: ['test/'], outputs: 'outputs/' });
 */
export async function run(options: RunOptions): Promise<RunResult> {
  const data = requireDataSpec(options);
  await readModel(options.model);
  const model = stagedFile(options.model);
  const { threads = 0, runtime = 'node' } = options;
  return withHost(options, async (host, warnings) => {
    const { samples, outputs, files } = await host.run(outputsTask, { model, data, threads, runtime, ...(options.outputs === undefined ? {} : { to: options.outputs }) });
    const runs = options.runs ?? TIMING_DEFAULTS.runs;
    const warmup = options.warmup ?? TIMING_DEFAULTS.warmup;
    const times = runs > 0 ? await host.run(timeTask, { models: [model], data, runs, warmup, threads, runtime }) : [[]];
    return {
      schema: 'qdq.run/1',
      samples,
      threads: await usedThreads(host, options),
      latencyMs: statsOf(times[0]!),
      outputs,
      files,
      integer: await proveIn(runtime, host, { model, data, threads }),
      warnings,
    };
  });
}
