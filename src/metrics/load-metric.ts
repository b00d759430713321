import { access } from 'node:fs/promises';
import { basename, extname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { messageOf, QdqError } from '../errors.js';
import type { DType } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { builtInMetric, type MetricDefinition, type Outputs, type TaskMetric } from './task-metrics.js';

/** An output as a user's metric receives it. */
export interface MetricOutput {
  readonly type: DType;
  readonly dims: readonly number[];
  /** Plain numbers in row-major order, whatever the type (int64 and bool too); strings for string outputs. Not to be written to. */
  readonly data: Float32Array | Float64Array | readonly string[];
}

/** The score of one sample; the metric is the mean over all samples. */
export type ScoreSample = (outputs: Record<string, MetricOutput>, label: unknown, sample: string) => number;

/** A metric that is more than a mean of scores, such as F1: a fresh state is created for each model. */
export interface MetricFactory {
  /** Default: the module's file name without its extension. */
  readonly name?: string;
  /** Default: true. */
  readonly higherIsBetter?: boolean;
  create(): {
    /** What it returns is not used. */
    add(outputs: Record<string, MetricOutput>, label: unknown, sample: string): unknown;
    result(): number;
  };
}

const FORMS_HINT =
  'Export by default a function (outputs, label, sample) => number, or an object { name?, higherIsBetter?, create() } whose ' +
  'create() returns { add(outputs, label, sample), result() }.';

/**
 * The metric that `spec` names: a built-in one, or the default export of an ES module where `spec` is a path (relative to the
 * working directory). The module exports a `ScoreSample` function, beside which it may export `higherIsBetter = false`,
 * or a `MetricFactory`:
 *
 * ```js
 * // error.mjs: the mean absolute error of a regression
 * export const higherIsBetter = false;
 * export default (outputs, label) => Math.abs(outputs.price.data[0] - label);
 * ```
 *
 * Throws QdqError for unknown names, missing or broken modules and other forms of export; the metric itself throws it
 * where the module's functions throw or return something else than a number.
 */
export async function loadMetric(spec: string): Promise<MetricDefinition> {
  if (!/[/\\]|\.[cm]?js$/.test(spec)) return builtInMetric(spec);
  const path = resolve(spec);
  const module = await importModule(path, spec);
  const exported = module['default'];
  const fallbackName = basename(path, extname(path));
  if (typeof exported === 'function') {
    const score = exported as ScoreSample;
    const higherIsBetter = booleanOf(module['higherIsBetter'], spec);
    return { name: fallbackName, higherIsBetter, create: () => meanMetric(fallbackName, score) };
  }
  if (isFactory(exported)) {
    const name = nameOf(exported.name, fallbackName, spec);
    return { name, higherIsBetter: booleanOf(exported.higherIsBetter, spec), create: () => statefulMetric(name, exported) };
  }
  if (isRecord(exported) && typeof exported['add'] === 'function') {
    throw misuse(spec, 'the default export has add() but no create(), so that all models would share its state');
  }
  throw misuse(spec, `expected a function or an object with create() as default export, received ${kindOf(exported)}`);
}

async function importModule(path: string, spec: string): Promise<Record<string, unknown>> {
  try {
    await access(path);
  } catch (cause) {
    const hint = 'Check the path; it is relative to the working directory.';
    throw new QdqError('file-not-found', `metric ${spec}: there is no file ${path}`, hint, { cause });
  }
  try {
    return (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  } catch (cause) {
    throw new QdqError('file-unreadable', `metric ${spec}: the module does not load: ${messageOf(cause)}`, FORMS_HINT, { cause });
  }
}

function meanMetric(name: string, score: ScoreSample): TaskMetric {
  let sum = 0;
  let samples = 0;
  return {
    add(outputs, label, sample) {
      sum += guarded(name, `on sample "${sample}"`, () => numberOf(score(viewsOf(outputs), label, sample)));
      samples++;
    },
    result: () => ({ metric: name, value: finite(sum / samples), samples }),
  };
}

function statefulMetric(name: string, factory: MetricFactory): TaskMetric {
  const state = guarded(name, 'in create()', () => {
    const created: unknown = factory.create();
    if (isRecord(created) && typeof created['add'] === 'function' && typeof created['result'] === 'function') {
      return created as unknown as ReturnType<MetricFactory['create']>;
    }
    throw new TypeError(`expected an object with add() and result(), received ${kindOf(created)}`);
  });
  let samples = 0;
  return {
    add(outputs, label, sample) {
      guarded(name, `on sample "${sample}"`, () => {
        const returned = state.add(viewsOf(outputs), label, sample);
        if (returned instanceof Promise) throw new TypeError('add() must not be asynchronous');
      });
      samples++;
    },
    result: () => ({
      metric: name,
      value: samples > 0 ? guarded(name, 'in result()', () => finite(numberOf(state.result()))) : null,
      samples,
    }),
  };
}

function viewsOf(outputs: Outputs): Record<string, MetricOutput> {
  return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, viewOf(tensor)]));
}

function viewOf(tensor: Tensor): MetricOutput {
  return { type: tensor.dtype, dims: tensor.dims, data: tensor.dtype === 'string' ? (tensor.strings ?? []) : numbersOf(tensor) };
}

function guarded<T>(name: string, where: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw new QdqError('data-invalid', `metric ${name} failed ${where}: ${messageOf(cause)}`, FORMS_HINT, { cause });
  }
}

function numberOf(value: unknown): number {
  if (typeof value === 'number') return value;
  throw new TypeError(`expected a number, received ${kindOf(value)}`);
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

function booleanOf(value: unknown, spec: string): boolean {
  if (value === undefined) return true;
  if (typeof value === 'boolean') return value;
  throw misuse(spec, `expected true or false as higherIsBetter, received ${kindOf(value)}`);
}

function nameOf(value: unknown, fallback: string, spec: string): string {
  if (value === undefined) return fallback;
  if (typeof value === 'string' && value !== '') return value;
  throw misuse(spec, `expected a text as name, received ${kindOf(value)}`);
}

function misuse(spec: string, problem: string): QdqError {
  return new QdqError('usage', `metric ${spec}: ${problem}`, FORMS_HINT);
}

function isFactory(value: unknown): value is MetricFactory {
  return isRecord(value) && typeof value['create'] === 'function';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value instanceof Promise) return 'a promise';
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'bigint') return `the bigint ${value}n, which Number() turns into a number`;
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
