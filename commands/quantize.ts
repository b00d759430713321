import { Option, type Command } from 'commander';
import { RANGE_METHODS, type RangeMethod } from '../src/calibration/choose-range.js';
import { EFFORTS, PREFERENCES, PRESETS, QUANTIZE_DEFAULTS, QUANTIZE_FORMATS, QUANTIZE_MODES, type Effort, type Preference, type PresetName, type QuantizeFormat, type QuantizeMode } from '../src/defaults.js';
import { EXTERNAL_DATA_MODES, type ExternalDataMode } from '../src/onnx/external-data-modes.js';
import { TARGETS, type TargetName } from '../src/quantization/target.js';
import { WEIGHT_ALGORITHMS, type WeightAlgorithm } from '../src/quantization/weight-only-plan.js';
import type { QuantizeOptions } from '../src/quantize.js';
import { QdqError } from '../src/errors.js';
import type { RuntimeName } from '../src/runtime/runtime-names.js';
import type { QuantizedType } from '../src/tensor/affine.js';
import { dtypeInfo } from '../src/tensor/dtype.js';
import type { Context } from './context.js';
import { addDataOptions, dataOptionsOf, type DataFlags } from './data-options.js';
import { collectText, finiteNumber, percentage, freezeOption, positiveInteger, RepeatableOption, runtimeOption, textList } from './options.js';
import { perform } from './perform.js';
import type { Place } from './places.js';

interface QuantizeFlags extends DataFlags {
  readonly output?: string;
  readonly mode: QuantizeMode;
  readonly effort: Effort;
  readonly minSqnr: number;
  readonly prefer: Preference;
  readonly maxDrop?: number;
  readonly labels?: string;
  readonly metric?: string;
  readonly requireSpeedup?: number;
  readonly plan?: string;
  readonly planOut?: string;
  readonly calibration?: string;
  readonly method: 'auto' | RangeMethod;
  readonly percentile: number;
  readonly exact?: boolean;
  readonly target: TargetName;
  readonly activationType?: string;
  readonly weightType?: string;
  readonly blockSize?: number;
  readonly format?: QuantizeFormat;
  readonly algorithm?: WeightAlgorithm;
  readonly accuracyLevel?: string;
  readonly float16?: boolean;
  readonly keepIoTypes: boolean;
  readonly float32Ops?: string[];
  readonly perTensor?: boolean;
  readonly symmetricActivations?: boolean;
  readonly reduceRange?: boolean;
  readonly include?: string[];
  readonly exclude?: string[];
  readonly opTypes?: string[];
  readonly overrides?: string;
  readonly externalData: ExternalDataMode;
  readonly freeze?: Record<string, readonly string[]>;
  readonly dryRun?: boolean;
  readonly verify: boolean;
  readonly depfile?: string;
  readonly preset?: PresetName;
  readonly runtime: RuntimeName;
}

const TYPES = new Map((['uint8', 'int8', 'uint16', 'int16'] as const satisfies readonly QuantizedType[]).map((type) => [dtypeInfo(type).short, type]));
const WEIGHT_TYPES = new Map((['int8', 'uint8', 'int4', 'uint4', 'float16'] as const).map((type) => [dtypeInfo(type).short, type]));

/** Adds `qdq quantize`. */
export function addQuantize(program: Command, context: Context): void {
  const command = program
    .command('quantize')
    .summary('quantize a float model so that it runs on integers')
    .description('Quantizes a float model: places Q/DQ where an integer kernel takes them, writes it, and shows what it then runs as.')
    .argument('<model>', 'a float ONNX file')
    .option('-o, --output <file>', 'the model to write')
    .addOption(new Option('--mode <mode>', 'way into integers; auto: qat where the model carries Q/DQ, static where there is data or a table, otherwise dynamic').choices(QUANTIZE_MODES).default(QUANTIZE_DEFAULTS.mode))
    .addOption(new Option('--format <form>', "qdq: float operators between Q and DQ; qoperator: operators on integers, for older runtimes; contrib: the runtime's own operators for weight-only (default: qdq; weight-only: what the operator set has)").choices(QUANTIZE_FORMATS))
    .addOption(
      new Option('--external-data <when>', 'weights in a side file beside the output; auto: where the input has one, or from 1.5 GB on').choices(EXTERNAL_DATA_MODES).default(QUANTIZE_DEFAULTS.externalData),
    )
    .addOption(new Option('--preset <name>', 'write all files that a program looks for into the folder -o, and show them in one table').choices(PRESETS))
    .addOption(runtimeOption('with --preset, where its files are judged: '))
    .addOption(freezeOption())
    .option('--dry-run', 'print the plan, write nothing')
    .option('--no-verify', 'do not look up what the written model runs as, and do not measure it')
    .option('--depfile <file>', 'write a Makefile rule that names what the output was made from');
  addSearchOptions(command);
  addRangeOptions(command);
  addTypeOptions(command);
  addDataOptions(command);
  command.addHelpText('after', EXAMPLE).action(async (model: string, flags: QuantizeFlags) => {
    if (flags.preset) return performPreset(context, command, model, flags, flags.preset);
    if (flags.runtime === 'web') throw new QdqError('usage', '--runtime web is for --preset: other models are made for onnxruntime-node', 'Judge the result with `qdq compare --runtime web`.');
    const { output, calibration, overrides, plan, planOut, labels, depfile, dryRun } = flags;
    await perform(context, command, {
      inputs: [model, calibration, overrides, plan, labels, ...(flags.data ?? [])],
      outputs: [...place('--output', dryRun ? undefined : output), ...place('--depfile', dryRun ? undefined : depfile), ...place('--plan-out', planOut)],
      run: async (common) => (await import('../src/quantize.js')).quantize({ ...common, ...quantizeOptionsOf(model, flags), earlyStop: context.earlyStop, ...namedOptions(command, flags) }),
      describe: async (result, options) => (await import('../src/report/quantize-report.js')).describeQuantize(result, model, options),
      unmet: async ({ thresholds }) => {
        const { thresholdText } = await import('../src/report/threshold-text.js');
        return thresholds.filter(({ met }) => !met).map((check) => `${thresholdText(check)}; nothing was written`);
      },
      finish: async () => {
        if (depfile === undefined || output === undefined || dryRun) return;
        const { writeDepfile } = await import('./depfile.js');
        await writeDepfile(depfile, output, { model, data: flags.data, files: [calibration, overrides, plan, labels, flags.preprocessor] });
      },
    });
  });
}

async function performPreset(context: Context, command: Command, model: string, flags: QuantizeFlags, preset: PresetName): Promise<void> {
  const { output, overrides, depfile, data = [] } = flags;
  if (output === undefined) throw new QdqError('usage', 'no folder was named for the files of the preset', 'Name it with -o.');
  if (depfile !== undefined) throw new QdqError('usage', '--depfile describes one file, and --preset writes several', 'Leave it out.');
  const { quantizePreset } = await import('../src/quantize-preset.js');
  await perform(context, command, {
    inputs: [model, overrides, ...data],
    outputs: [{ option: '--output', path: output, isFolder: true }],
    run: async (common) => quantizePreset({ ...common, ...quantizeOptionsOf(model, flags), preset, output, runtime: flags.runtime }),
    describe: async (result, options) => (await import('../src/report/preset-report.js')).describePreset(result, options),
  });
}

function addSearchOptions(command: Command): void {
  command
    .optionsGroup('Search, with --data (Ctrl-C once keeps the best so far):')
    .addOption(new Option('--effort <level>', 'normal: look for the fastest plan inside the error budget, as measured on this machine, for about a minute; thorough: measure up to ten times as long').choices(EFFORTS).default(QUANTIZE_DEFAULTS.effort))
    .addOption(new Option('--min-sqnr <db>', 'error budget: signal to noise in dB that every float output is to keep').argParser(finiteNumber).default(QUANTIZE_DEFAULTS.minSqnr))
    .addOption(new Option('--max-drop <x>', "error budget instead: largest drop of the task metric, in the metric's unit").argParser(finiteNumber))
    .option('--labels <file>', 'class indexes by file name, JSON or CSV (default: the names of the folders that images lie in)')
    .option('--metric <name>', 'task metric: top1, top5, or the path of a module (default: top1 where there are labels)')
    .addOption(new Option('--prefer <what>', 'which plan is best inside the budget').choices(PREFERENCES).default(QUANTIZE_DEFAULTS.prefer))
    .addOption(new Option('--require-speedup <x>', 'write nothing and exit with 3 where the result is not x times as fast as float').argParser(finiteNumber))
    .option('--plan-out <file>', 'write what was decided to a file')
    .option('--plan <file>', 'carry out what --plan-out wrote: the same bytes, without measuring');
}

function addRangeOptions(command: Command): void {
  command
    .optionsGroup('Ranges of activations:')
    .option('--calibration <table>', 'a table that qdq calibrate wrote (default: calibrate on --data)')
    .addOption(new Option('--method <name>', 'how ranges are chosen; auto tries all and keeps the best').choices(['auto', ...RANGE_METHODS]).default(QUANTIZE_DEFAULTS.method))
    .addOption(new Option('--percentile <p>', 'percent of the elements inside the range, for the method percentile').argParser(percentage).default(QUANTIZE_DEFAULTS.percentile))
    .option('--exact', 'count every element of every activation (default: for up to 64 samples)')
    .option('--overrides <file>', 'JSON with ranges of values, and nodes to keep in float, or to quantize dynamically or statically');
}

function addTypeOptions(command: Command): void {
  command
    .optionsGroup('Types and nodes:')
    .addOption(new Option('--target <name>', 'machine that the model is for').choices(Object.keys(TARGETS)).default(QUANTIZE_DEFAULTS.target))
    .addOption(new Option('--activation-type <type>', "type of activations (default: the target's)").choices([...TYPES.keys()]))
    .addOption(new Option('--weight-type <type>', "type of weights (default: the target's; weight-only: u4)").choices([...WEIGHT_TYPES.keys()]))
    .addOption(new Option('--block-size <n>', 'weight-only: elements that share a scale (default: 32 for 4 bits, a channel for 8)').argParser(positiveInteger))
    .addOption(new Option('--algorithm <name>', 'weight-only, blocks: rtn rounds to nearest, hqq fits scales and zero points to the weights, gptq makes up for errors by the inputs in --data (default: rtn)').choices(WEIGHT_ALGORITHMS))
    .addOption(new Option('--accuracy-level <n>', 'weight-only, contrib: 4 multiplies integers, 0 floats (default: 4)').choices(['0', '4']))
    .option('--float16', 'weight-only: float16 for what stays float (--weight-type f16: for everything)')
    .option('--no-keep-io-types', 'float16: inputs and outputs too')
    .addOption(new RepeatableOption('--float32-ops <list>', 'float16: operators that stay float32, as in Softmax,Pow').argParser(textList))
    .option('--per-tensor', 'one scale for each weight (default: one for each channel)')
    .option('--symmetric-activations', 'ranges of activations equal on both sides of zero')
    .option('--reduce-range', "weights in 7 bits (default: the target's)")
    .addOption(new RepeatableOption('--include <glob>', 'quantize only nodes with such names; repeatable').argParser(collectText))
    .addOption(new RepeatableOption('--exclude <glob>', 'leave nodes with such names in float; repeatable').argParser(collectText))
    .addOption(new RepeatableOption('--op-types <list>', 'quantize only these operators, as in Conv,Gemm').argParser(textList));
}

function quantizeOptionsOf(model: string, flags: QuantizeFlags): QuantizeOptions {
  const { output, mode, format, calibration, method, exact, perTensor, symmetricActivations, reduceRange } = flags;
  const { minSqnr, maxDrop, labels, metric, prefer, requireSpeedup, plan, planOut, include, exclude, opTypes, overrides, externalData, dryRun, verify } = flags;
  return {
    ...dataOptionsOf(flags),
    ...{ model, output, mode, format, calibration, method, exact, perTensor, symmetricActivations, reduceRange },
    ...{ minSqnr, maxDrop, labels, metric, prefer, requireSpeedup, plan, planOut, include, exclude, opTypes, overrides, externalData, dryRun, verify },
    freeze: flags.freeze,
    activationType: TYPES.get(flags.activationType ?? ''),
    weightType: WEIGHT_TYPES.get(flags.weightType ?? ''),
    ...{ blockSize: flags.blockSize, algorithm: flags.algorithm, float16: flags.float16, keepIoTypes: flags.keepIoTypes, float32Ops: flags.float32Ops, accuracyLevel: flags.accuracyLevel === undefined ? undefined : Number(flags.accuracyLevel) },
  };
}

/** Options that mean more when the user names them than as defaults. */
function namedOptions(command: Command, { target, percentile, effort }: QuantizeFlags): Pick<QuantizeOptions, 'target' | 'percentile' | 'effort'> {
  const isNamed = (option: string) => command.getOptionValueSource(option) !== 'default';
  return {
    target: isNamed('target') ? target : undefined,
    percentile: isNamed('percentile') ? percentile : undefined,
    effort: isNamed('effort') ? effort : undefined,
  };
}

function place(option: string, path: string | undefined): Place[] {
  return path === undefined ? [] : [{ option, path }];
}

const EXAMPLE = `
Targets:
${Object.entries(TARGETS).map(([name, { description }]) => `  ${name.padEnd(14)}${description}`).join('\n')}

Examples:
  $ qdq quantize model.onnx --data calibration/ -o model.int8.onnx
  $ qdq quantize model.onnx --calibration model.ranges.json --dry-run
  $ qdq quantize model.onnx --data calibration/ --plan-out model.plan.json -o model.int8.onnx
  $ qdq quantize model.onnx --plan model.plan.json -o model.int8.onnx
  $ qdq quantize model.onnx --mode weight-only --weight-type u4 -o model.q4.onnx
  $ qdq quantize model.onnx --preset transformers.js --data samples/ -o onnx/`;
