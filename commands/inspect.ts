import type { Command } from 'commander';
import type { RuntimeName } from '../src/runtime/runtime-names.js';
import type { Context } from './context.js';
import { runtimeOption } from './options.js';
import { perform } from './perform.js';

/** Adds `qdq inspect`. */
export function addInspect(program: Command, context: Context): void {
  program
    .command('inspect')
    .summary('show sizes, types, operators, and what runs on integers')
    .description('Shows the sizes, types and operators of a model, and which of its compute nodes run in integer kernels.')
    .argument('<model>', 'an ONNX file')
    .addOption(runtimeOption())
    .option('--probe', 'also see whether sums of u8 × s8 products are exact on this machine')
    .addHelpText('after', EXAMPLE)
    .action(async (model: string, { probe, runtime }: { readonly probe?: boolean; readonly runtime: RuntimeName }, command: Command) =>
      perform(context, command, {
        inputs: [model],
        run: async (common) => (await import('../src/inspect.js')).inspect({ ...common, model, probe, runtime }),
        describe: async (result, options) => (await import('../src/report/inspect-report.js')).describeInspect(result, options),
      }),
    );
}

const EXAMPLE = `
Example:
  $ qdq inspect model.int8.onnx --json | jq .integer.integerNodes`;
