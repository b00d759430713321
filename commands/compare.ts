import { basename } from 'node:path';
import { Option, type Command } from 'commander';
import type { CompareResult } from '../src/compare.js';
import { TIMING_DEFAULTS } from '../src/defaults.js';
import type { RuntimeName } from '../src/runtime/runtime-names.js';
import type { Context } from './context.js';
import { addDataOptions, dataOptionsOf, type DataFlags } from './data-options.js';
import { finiteNumber, runtimeOption, share, wholeNumber } from './options.js';
import { perform } from './perform.js';

interface CompareFlags extends DataFlags {
  readonly labels?: string;
  readonly metric?: string;
  readonly runs: number;
  readonly warmup: number;
  readonly runtime: RuntimeName;
  readonly minSqnr?: number;
  readonly minAgreement?: number;
  readonly maxDrop?: number;
  readonly minSpeedup?: number;
  readonly minInteger?: number;
  readonly maxSize?: number;
}

/** Adds `qdq compare`. */
export function addCompare(program: Command, context: Context): void {
  const command = program
    .command('compare')
    .summary('compare models with a baseline: error, accuracy, speed, size')
    .description('Compares models with a baseline on the same samples: error of each output, task accuracy, speed by interleaved runs, size, and what runs on integers.')
    .argument('<baseline>', 'an ONNX file, usually the float model')
    .argument('<candidate...>', 'the ONNX files to compare with it')
    .option('--labels <file>', 'class indexes by file name, JSON or CSV (default: the names of the folders that images lie in)')
    .option('--metric <name>', 'task metric: top1, top5, or the path of a module (default: top1 where there are labels)')
    .addOption(new Option('--runs <n>', 'timed runs of each model').argParser(wholeNumber).default(TIMING_DEFAULTS.runs))
    .addOption(new Option('--warmup <n>', 'runs of each model before those').argParser(wholeNumber).default(TIMING_DEFAULTS.warmup))
    .addOption(runtimeOption())
    .optionsGroup('Thresholds (exit code 3 where one is not met):')
    .addOption(new Option('--min-sqnr <dB>', 'least SQNR of the worst output').argParser(finiteNumber))
    .addOption(new Option('--min-agreement <share>', 'least share 0 to 1 of equal argmax, of the worst output').argParser(share))
    .addOption(new Option('--max-drop <x>', "largest drop of the task metric, in the metric's unit").argParser(finiteNumber))
    .addOption(new Option('--min-speedup <ratio>', 'least speed-up: time of the baseline over that of the candidate').argParser(finiteNumber))
    .addOption(new Option('--min-integer <share>', 'least share 0 to 1 of compute nodes on integers').argParser(share))
    .addOption(new Option('--max-size <ratio>', 'largest file size over that of the baseline').argParser(finiteNumber));
  addDataOptions(command);
  command.addHelpText('after', EXAMPLE).action(async (baseline: string, candidates: string[], flags: CompareFlags) => {
    const { labels, metric, runs, warmup, runtime, minSqnr, minAgreement, maxDrop, minSpeedup, minInteger, maxSize } = flags;
    const limits = { minSqnr, minAgreement, maxDrop, minSpeedup, minInteger, maxSize };
    await perform(context, command, {
      inputs: [baseline, ...candidates, labels, ...(flags.data ?? [])],
      run: async (common) =>
        (await import('../src/compare.js')).compare({ ...common, ...dataOptionsOf(flags), ...limits, baseline, candidates, labels, metric, runs, warmup, runtime }),
      describe: async (result, options) => (await import('../src/report/compare-report.js')).describeCompare(result, options),
      unmet: unmetThresholds,
    });
  });
}

async function unmetThresholds(result: CompareResult): Promise<string[]> {
  const { thresholdText } = await import('../src/report/threshold-text.js');
  const { comparisonsOf } = await import('../src/compare.js');
  const all = comparisonsOf(result);
  return all.flatMap(({ candidate, thresholds }) =>
    thresholds.filter(({ met }) => !met).map((check) => `${all.length > 1 ? `${basename(candidate.path)}: ` : ''}${thresholdText(check)}`),
  );
}

const EXAMPLE = `
Example:
  $ qdq compare model.onnx model.int8.onnx --data test/ --min-sqnr 20 --max-drop 0.01`;
