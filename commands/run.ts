import { Option, type Command } from 'commander';
import { TIMING_DEFAULTS } from '../src/defaults.js';
import type { RuntimeName } from '../src/runtime/runtime-names.js';
import type { Context } from './context.js';
import { addDataOptions, dataOptionsOf, type DataFlags } from './data-options.js';
import { runtimeOption, wholeNumber } from './options.js';
import { perform } from './perform.js';

interface RunFlags extends DataFlags {
  readonly outputs?: string;
  readonly runs: number;
  readonly warmup: number;
  readonly runtime: RuntimeName;
}

/** Adds `qdq run`. */
export function addRun(program: Command, context: Context): void {
  const command = program
    .command('run')
    .summary('run a model on samples: outputs, latency, what runs on integers')
    .description('Runs a model on samples, writes its outputs, times it, and shows which of its nodes run on integers.')
    .argument('<model>', 'an ONNX file')
    .option('--outputs <place>', 'where outputs go: a folder (one .npz a sample) or a .npz file (default: nowhere)')
    .addOption(new Option('--runs <n>', 'timed runs; 0 for none').argParser(wholeNumber).default(TIMING_DEFAULTS.runs))
    .addOption(new Option('--warmup <n>', 'runs before those').argParser(wholeNumber).default(TIMING_DEFAULTS.warmup))
    .addOption(runtimeOption());
  addDataOptions(command);
  command.addHelpText('after', EXAMPLE).action(async (model: string, flags: RunFlags) => {
    const { outputs, runs, warmup, runtime } = flags;
    await perform(context, command, {
      inputs: [model, ...(flags.data ?? [])],
      outputs: outputs === undefined ? [] : [{ option: '--outputs', path: outputs, isFolder: !outputs.endsWith('.npz') }],
      run: async (common) => (await import('../src/run.js')).run({ ...common, ...dataOptionsOf(flags), model, outputs, runs, warmup, runtime }),
      describe: async (result, options) => (await import('../src/report/run-report.js')).describeRun(result, model, options),
    });
  });
}

const EXAMPLE = `
Example:
  $ qdq run model.int8.onnx --data test/ --outputs outputs.npz --threads 1`;
