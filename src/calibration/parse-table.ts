import { QdqError, messageOf } from '../errors.js';
import type { FrozenValues } from '../data/frozen-inputs.js';
import { dtypeInfo, type DType } from '../tensor/dtype.js';
import { BIN_COUNT } from './bins.js';
import { decodeBins } from './bins-text.js';
import { TABLE_SCHEMA, type CalibrationTable, type NonFinite, type TableSample } from './calibration-table.js';
import { readObserved } from './observers.js';
import type { TensorRecord } from './tensor-record.js';

type Fields = Readonly<Record<string, unknown>>;

/** Reads the text of a table; `path` is for messages. Throws QdqError `table-invalid`. */
export function parseTable(text: string, path: string): CalibrationTable {
  try {
    return readFields(JSON.parse(text) as unknown);
  } catch (error) {
    throw new QdqError(
      'table-invalid',
      `${path} is not a calibration table: ${messageOf(error)}`,
      'Make it again with: qdq calibrate MODEL --data PATH -o TABLE.',
      { cause: error },
    );
  }
}

function readFields(json: unknown): CalibrationTable {
  const table = fieldsOf(json, 'the file');
  const { schema, version, runtime, model, sampled, samples, tensors, nonFinite } = table;
  if (schema !== TABLE_SCHEMA) throw mismatch('schema', schema, `"${TABLE_SCHEMA}"`);
  const { name, sha256, frozen } = fieldsOf(model, 'model');
  return {
    schema: TABLE_SCHEMA,
    version: textOf(version, 'version'),
    runtime: textOf(runtime, 'runtime'),
    model: { name: textOf(name, 'model.name'), sha256: textOf(sha256, 'model.sha256'), ...(frozen !== undefined && { frozen: readFrozen(frozen) }) },
    sampled: booleanOf(sampled, 'sampled'),
    samples: listOf(samples, 'samples').map(readSample),
    tensors: Object.fromEntries(
      Object.entries(fieldsOf(tensors, 'tensors')).map(([key, record]) => [key, readRecord(record, `tensors.${key}`)]),
    ),
    nonFinite: listOf(nonFinite, 'nonFinite').map(readNonFinite),
  };
}

function readFrozen(value: unknown): FrozenValues {
  const values = Object.entries(fieldsOf(value, 'model.frozen'));
  return Object.fromEntries(values.map(([name, elements]) => [name, listOf(elements, `model.frozen.${name}`).map((element) => textOf(element, `model.frozen.${name}`))]));
}

function readSample(value: unknown, at: number): TableSample {
  const field = `samples[${at}]`;
  const { name, sha256 } = fieldsOf(value, field);
  return { name: textOf(name, `${field}.name`), sha256: textOf(sha256, `${field}.sha256`) };
}

function readNonFinite(value: unknown, at: number): NonFinite {
  const field = `nonFinite[${at}]`;
  const { tensor, sample, nan, inf } = fieldsOf(value, field);
  return {
    tensor: textOf(tensor, `${field}.tensor`),
    sample: textOf(sample, `${field}.sample`),
    nan: countOf(nan, `${field}.nan`),
    inf: countOf(inf, `${field}.inf`),
  };
}

function readRecord(value: unknown, field: string): TensorRecord {
  const record = fieldsOf(value, field);
  const { dtype, dims, samples, count, sampled, bins } = record;
  const observed = readObserved(record);
  if (!observed) throw mismatch(field, value, 'the figures of every observer');
  if (dtypeInfo(dtype as DType).name !== dtype) throw mismatch(`${field}.dtype`, dtype, 'an element type');
  return {
    dtype: dtype as DType,
    dims: dims === null ? null : listOf(dims, `${field}.dims`).map((dim) => (dim === null ? null : countOf(dim, `${field}.dims`))),
    samples: countOf(samples, `${field}.samples`),
    count: countOf(count, `${field}.count`),
    sampled: booleanOf(sampled, `${field}.sampled`),
    ...observed,
    bins: decodeBins(textOf(bins, `${field}.bins`), BIN_COUNT) ?? raise(mismatch(`${field}.bins`, bins, 'encoded bins')),
  };
}

function fieldsOf(value: unknown, field: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw mismatch(field, value, 'an object');
  return value as Fields;
}

function listOf(value: unknown, field: string): readonly unknown[] {
  if (!Array.isArray(value)) throw mismatch(field, value, 'a list');
  return value;
}

function textOf(value: unknown, field: string): string {
  if (typeof value !== 'string') throw mismatch(field, value, 'a text');
  return value;
}

function booleanOf(value: unknown, field: string): boolean {
  if (typeof value !== 'boolean') throw mismatch(field, value, 'true or false');
  return value;
}

function countOf(value: unknown, field: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw mismatch(field, value, 'a count');
  return value as number;
}

function mismatch(field: string, value: unknown, expected: string): TypeError {
  const received = value === undefined ? 'nothing' : JSON.stringify(value).slice(0, 40);
  return new TypeError(`${field}: expected ${expected}, received ${received}`);
}

function raise(error: Error): never {
  throw error;
}
