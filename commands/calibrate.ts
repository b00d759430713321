import type { Command } from 'commander';
import { QdqError } from '../src/errors.js';
import type { Context } from './context.js';
import { addDataOptions, dataOptionsOf, type DataFlags } from './data-options.js';
import { freezeOption } from './options.js';
import { perform } from './perform.js';

interface CalibrateFlags extends DataFlags {
  readonly output?: string;
  readonly exact?: boolean;
  readonly freeze?: Record<string, readonly string[]>;
}

/** Adds `qdq calibrate`. */
export function addCalibrate(program: Command, context: Context): void {
  const command = program
    .command('calibrate')
    .summary('record the ranges of activations over samples')
    .description('Runs a float model on samples and records the ranges of the values that could be quantized, for qdq quantize --calibration.')
    .argument('<model>', 'a float ONNX file')
    .option('-o, --output <table>', 'the calibration table to write (JSON)')
    .addOption(freezeOption())
    .option('--exact', 'count every element of every activation (default: for up to 64 samples)');
  addDataOptions(command);
  command.addHelpText('after', EXAMPLE).action(async (model: string, flags: CalibrateFlags) => {
    const { output, exact, freeze } = flags;
    if (output === undefined) throw new QdqError('usage', 'no output was named', 'Name the table to write with -o.');
    await perform(context, command, {
      inputs: [model, ...(flags.data ?? [])],
      outputs: [{ option: '--output', path: output }],
      run: async (common) => (await import('../src/calibrate.js')).calibrate({ ...common, ...dataOptionsOf(flags), model, output, exact, freeze }),
      describe: async (result, options) => (await import('../src/report/calibrate-report.js')).describeCalibrate(result, options),
    });
  });
}

const EXAMPLE = `
Example:
  $ qdq calibrate model.onnx --data calibration/ -o model.ranges.json`;
