import { Command, CommanderError, Option } from 'commander';
import { runtimeVersion } from '../src/runtime/machine.js';
import { qdqVersion } from '../src/version.js';
import { addCalibrate } from './calibrate.js';
import { addCompare } from './compare.js';
import { applyConfig } from './config.js';
import type { CommonFlags, Context } from './context.js';
import { addInspect } from './inspect.js';
import { addCommonOptions } from './options.js';
import { addQuantize } from './quantize.js';
import { addRun } from './run.js';

/** The program with all its commands. The library is loaded by a command's action only, so that help is there at once. */
export function buildProgram(context: Context): Command {
  const program = new Command('qdq')
    .description('Quantizes ONNX models and proves that they then run on integers.')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ outputError: () => undefined })
    .exitOverride()
    .addOption(new Option('-V, --version', 'print the versions of qdq, the runtime and Node'))
    .on('option:version', () => {
      process.stdout.write(`qdq ${qdqVersion()}\n${runtimeVersion()}\nnode ${process.version}\n`);
      throw new CommanderError(0, 'commander.version', '');
    });
  addCommonOptions(program);
  program.hook('preAction', async (_, command) => {
    const { config } = command.optsWithGlobals<CommonFlags>();
    if (config !== undefined) await applyConfig(command, config);
    const { json = false, debug = false, color } = command.optsWithGlobals<CommonFlags>();
    Object.assign(context, { json, debug, noColor: !color } satisfies Partial<Context>);
  });
  addCalibrate(program, context);
  addQuantize(program, context);
  addRun(program, context);
  addCompare(program, context);
  addInspect(program, context);
  program.addHelpText(
    'after',
    `
Examples:
  $ qdq quantize model.onnx --data calibration/ -o model.int8.onnx
  $ qdq compare model.onnx model.int8.onnx --data test/ --min-sqnr 20`,
  );
  return program;
}
