import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { QuantizeCheck } from './check-quantized.js';
import type { PresetName } from './defaults.js';
import { QdqError } from './errors.js';
import type { Model } from './graph/model.js';
import { allNodes } from './graph/traversal.js';
import { modelSize, readModel } from './onnx/read-model.js';
import type { Warning } from './progress.js';
import { quantize, type QuantizeOptions } from './quantize.js';
import type { RuntimeName } from './runtime/runtime-names.js';
import type { RuntimeOptions } from './verb-options.js';

/** Options of `quantizePreset`: those of `quantize` that fit every file, with a folder as output. */
export interface PresetOptions extends Omit<QuantizeOptions, 'output' | 'checkRuntime'>, RuntimeOptions {
  readonly preset: PresetName;
  /** Folder of the files, made where it is missing. */
  readonly output: string;
}

/** One file of a preset. */
export interface PresetVariant {
  /** What comes between the model's name and ".onnx". */
  readonly suffix: string;
  /** In words, what it is. */
  readonly form: string;
  /** null where it was not written. */
  readonly output: { readonly path: string; readonly sizeBytes: number; readonly sha256: string } | null;
  /** Its error, speed and size against the float model. */
  readonly check: QuantizeCheck | null;
  /** Why it was not written; null where it was. */
  readonly reason: string | null;
}

/** What `quantizePreset` returns, and prints with --json. */
export interface PresetResult {
  readonly schema: 'qdq.preset/1';
  readonly preset: PresetName;
  readonly model: { readonly path: string; readonly sizeBytes: number };
  /** Where the files were judged. */
  readonly runtime: RuntimeName;
  readonly variants: readonly PresetVariant[];
  readonly warnings: readonly Warning[];
}

interface Recipe {
  readonly suffix: string;
  readonly form: string;
  readonly options: Partial<QuantizeOptions>;
}

/** Operators that dynamic quantization reaches, convolutions aside. */
const PRODUCTS = ['MatMul', 'Gemm', 'LSTM', 'Gather'];
const CONVOLUTIONS = [...PRODUCTS, 'Conv'];
const FOUR_BITS = { mode: 'weight-only', weightType: 'int4', format: 'contrib' } as const;

/**
 * The files that transformers.js loads by `dtype`. Its runtime in browsers multiplies convolutions by u8 weights only, so that s8 files keep those in float.
 * Source: src/utils/dtypes.js of transformers.js (version 3); ConvInteger in onnxruntime-web's operator list.
 */
export function transformersJsRecipes(model: Model): readonly Recipe[] {
  const hasConvolutions = [...allNodes(model.graph)].some(({ opType }) => opType === 'Conv');
  const dynamic = (weightType: 'int8' | 'uint8') => ({ mode: 'dynamic', weightType, opTypes: hasConvolutions && weightType === 'uint8' ? CONVOLUTIONS : PRODUCTS }) as const;
  return [
    { suffix: '_fp16', form: 'float16', options: { weightType: 'float16' } },
    { suffix: '_quantized', form: `dynamic, ${hasConvolutions ? 'u8' : 's8'} weights`, options: dynamic(hasConvolutions ? 'uint8' : 'int8') },
    { suffix: '_int8', form: `dynamic, s8 weights${hasConvolutions ? ', convolutions in float' : ''}`, options: dynamic('int8') },
    { suffix: '_uint8', form: 'dynamic, u8 weights', options: dynamic('uint8') },
    { suffix: '_q4', form: 's4 weights in blocks of 32', options: FOUR_BITS },
    { suffix: '_q4f16', form: 's4 weights in blocks of 32, the rest float16', options: { ...FOUR_BITS, float16: true } },
  ];
}

/**
 * Writes all files of a preset into a folder. Each is loaded and judged on the samples in the runtime of choice, random ones where none are given; one that cannot be
 * is not left there, and the result says why.
 */
export async function quantizePreset({ preset, output, runtime = 'node', ...options }: PresetOptions): Promise<PresetResult> {
  refuseOptions(options);
  const model = await readModel(options.model);
  await mkdir(output, { recursive: true });
  const stem = basename(options.model).replace(/\.onnx$/, '');
  const data = options.data && options.data.length > 0 ? options.data : ['random:4'];
  const warnings: Warning[] = [];
  const variants: PresetVariant[] = [];
  for (const recipe of transformersJsRecipes(model)) {
    const path = join(output, `${stem}${recipe.suffix}.onnx`);
    const onWarning = (warning: Warning) => {
      // What is slow or in error the table shows.
      if (['slower', 'timing-noisy', 'error-budget', 'not-held-out'].includes(warning.code)) return;
      const named = { ...warning, message: `${basename(path)}: ${warning.message}` };
      warnings.push(named);
      options.onWarning?.(named);
    };
    variants.push(await writeVariant({ ...options, ...recipe.options, data, output: path, sideFileSuffix: '_data', checkRuntime: runtime, onWarning }, recipe));
  }
  if (variants.every(({ output: written }) => written === null)) throw new QdqError('nothing-to-quantize', `${options.model}: no file of the preset could be written; the first because ${variants[0]!.reason}`, 'See its operators with `qdq inspect`.');
  return { schema: 'qdq.preset/1', preset, model: { path: options.model, sizeBytes: modelSize(options.model, model) }, runtime, variants, warnings };
}

async function writeVariant(options: QuantizeOptions, { suffix, form }: Recipe): Promise<PresetVariant> {
  try {
    const { output, check } = await quantize(options);
    return { suffix, form, output, check, reason: null };
  } catch (error) {
    if (!(error instanceof QdqError) || !['nothing-to-quantize', 'runtime-rejected', 'operator-missing', 'runtime-crashed', 'opset-unsupported'].includes(error.code)) throw error;
    return { suffix, form, output: null, check: null, reason: error.message };
  }
}

/** Options that a file of the preset has its own values for. */
function refuseOptions({ mode, weightType, opTypes, dryRun, verify, format, float16, keepIoTypes, calibration }: Omit<QuantizeOptions, 'output'>): void {
  const given = Object.entries({
    '--mode': mode === 'auto' ? undefined : mode,
    '--weight-type': weightType,
    '--op-types': opTypes,
    '--dry-run': dryRun || undefined,
    '--no-verify': verify === false || undefined,
    '--format': format,
    '--float16': float16,
    '--no-keep-io-types': keepIoTypes === false || undefined,
    '--calibration': calibration,
  }).find(([, value]) => value !== undefined);
  if (given) throw new QdqError('usage', `--preset decides about ${given[0]} for each of its files`, 'Leave it out, or write the one file without --preset.');
}
