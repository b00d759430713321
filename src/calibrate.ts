import { basename, dirname } from 'node:path';
import { performance } from 'node:perf_hooks';
import { TABLE_SCHEMA, type CalibrationTable, type NonFinite } from './calibration/calibration-table.js';
import { collectParts } from './calibration/collect.js';
import { writeTable } from './calibration/table-file.js';
import type { DataSpec } from './data/data-spec.js';
import type { FrozenValues } from './data/frozen-inputs.js';
import { freezeModel } from './freeze.js';
import { noteFixedInputs } from './note-fixed-inputs.js';
import { modelDigest, readModel } from './onnx/read-model.js';
import { prepareOpened, type PreparedModel } from './prepare-model.js';
import type { Warning } from './progress.js';
import { selectNodes, valuesToObserve } from './quantization/select.js';
import type { RuntimeHost } from './runtime/host.js';
import { runtimeVersion } from './runtime/machine.js';
import { requireDataSpec, warn, withHost, type DataOptions, type FreezeOptions, type VerbOptions } from './verb-options.js';
import { qdqVersion } from './version.js';

/** Options of `calibrate`. */
export interface CalibrateOptions extends VerbOptions, DataOptions, FreezeOptions {
  /** Path of the float model. */
  readonly model: string;
  /** Path of the table to write; nothing is written where absent. */
  readonly output?: string | undefined;
  /** Count every element of every activation; by default that is done for up to 64 samples. */
  readonly exact?: boolean | undefined;
}

/** What `calibrate` returns, and prints with --json. */
export interface CalibrateResult {
  readonly schema: 'qdq.calibrate/1';
  readonly model: { readonly path: string; readonly sha256: string };
  /** Values that inputs were frozen at, all elements in order; null where none were. */
  readonly frozen: FrozenValues | null;
  readonly samples: number;
  readonly tensors: number;
  /** Whether large activations were counted on a grid instead of element by element. */
  readonly sampled: boolean;
  /** Values that were NaN or infinite, with the samples they came from. */
  readonly nonFinite: readonly NonFinite[];
  readonly durationMs: number;
  /** Time inside the runtime. */
  readonly inferenceMs: number;
  readonly peakRssBytes: number;
  readonly output: string | null;
  readonly warnings: readonly Warning[];
}

/**
 * Runs a float model on samples and records the ranges of the values that a plan could quantize.
 *
 * @example
 * await calibrate({ model: 'model.onnx', data: ['calibration/'], output: 'model.ranges.json' });
 */
export async function calibrate(options: CalibrateOptions): Promise<CalibrateResult> {
  const start = performance.now();
  const data = requireDataSpec(options);
  return withHost(options, async (host, warnings) => {
    const read = await readModel(options.model);
    const { model, frozen } = freezeModel(read, options.freeze);
    const samples: DataSpec = frozen ? { ...data, frozen } : data;
    await noteFixedInputs(host, model, samples, (warning) => warn(options, warnings, warning));
    const sha256 = await modelDigest(options.model, read);
    const prepared = await prepareOpened(host, model, dirname(options.model));
    const [calibrated] = await collectTables(host, options, prepared, sha256, samples, [[]]);
    const { table, inferenceMs, peakRssBytes } = calibrated!;
    const nonFinite = nonFiniteWarning(table.nonFinite);
    if (nonFinite) warn(options, warnings, nonFinite);
    host.throwIfInterrupted();
    if (options.output) await writeTable(options.output, table);
    return {
      schema: 'qdq.calibrate/1',
      model: { path: options.model, sha256 },
      frozen: frozen ?? null,
      samples: table.samples.length,
      tensors: Object.keys(table.tensors).length,
      sampled: table.sampled,
      nonFinite: table.nonFinite,
      durationMs: performance.now() - start,
      inferenceMs,
      peakRssBytes,
      output: options.output ?? null,
      warnings,
    };
  });
}

/** Says how many samples gave NaN or infinity, and where the first was seen; undefined where none did. */
export function nonFiniteWarning(nonFinite: readonly NonFinite[]): Warning | undefined {
  const [first] = nonFinite;
  if (!first) return undefined;
  const samples = new Set(nonFinite.map(({ sample }) => sample)).size;
  return {
    code: 'non-finite',
    message: `${samples} ${samples === 1 ? 'sample gives' : 'samples give'} NaN or infinity, "${first.sample}" at "${first.tensor}" for one; such elements give no ranges`,
    advice: 'Look at these samples, and leave them out if they are damaged.',
  };
}

/**
 * Calibrates a prepared model on parts of `data`, each without the samples of some names: a table for each. With `extremesOnly` they are for the range
 * method `minmax` alone.
 */
export async function collectTables(
  host: RuntimeHost,
  options: Pick<CalibrateOptions, 'model' | 'exact' | 'threads'> & { readonly extremesOnly?: boolean },
  prepared: PreparedModel,
  sha256: string,
  data: DataSpec,
  excludes: readonly (readonly string[])[],
): Promise<{ table: CalibrationTable; inferenceMs: number; peakRssBytes: number }[]> {
  const isFloat32 = (value: string) => {
    const type = prepared.types.get(value);
    return type?.kind === 'tensor' && type.dtype === 'float32';
  };
  const selection = selectNodes(prepared.model.graph, prepared.types, { opset: prepared.model.opsets.get('') ?? 1 });
  const request = {
    model: prepared.model,
    externalDataFolder: dirname(options.model),
    names: valuesToObserve(selection),
    data,
    exact: options.exact ?? ('auto' as const),
    extremesOnly: options.extremesOnly ? isFloat32 : undefined,
    ...(options.threads === undefined ? {} : { threads: options.threads }),
  };
  const parts = await collectParts(host, request, excludes);
  return parts.map(({ durationMs: _, inferenceMs, peakRssBytes, ...observations }) => {
    const source = { version: qdqVersion(), runtime: runtimeVersion(), model: { name: basename(options.model), sha256, ...(data.frozen && { frozen: data.frozen }) } };
    return { table: { schema: TABLE_SCHEMA, ...source, ...observations }, inferenceMs, peakRssBytes };
  });
}
