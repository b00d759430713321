import { frozenText, type FrozenValues } from '../data/frozen-inputs.js';
import { QdqError } from '../errors.js';
import { mergeRecords, type TensorRecord } from './tensor-record.js';

/** Name and version of the table's form. */
export const TABLE_SCHEMA = 'qdq.table/1';

/** NaN or infinite elements of one tensor in one sample. */
export interface NonFinite {
  readonly tensor: string;
  readonly sample: string;
  readonly nan: number;
  readonly inf: number;
}

/** A sample that went into a table. */
export interface TableSample {
  readonly name: string;
  /** SHA-256 (hex) of what the sample holds. */
  readonly sha256: string;
}

/** The model that a table is of. */
export interface TableModel {
  /** File name without its folder. */
  readonly name: string;
  /** SHA-256 (hex) of the file that the user gave. */
  readonly sha256: string;
  /** Values that inputs were frozen at; absent where none were. */
  readonly frozen?: FrozenValues;
}

/** What calibration found, and what it came from. Holds no time and no absolute path: the same work gives the same table. */
export interface CalibrationTable {
  readonly schema: typeof TABLE_SCHEMA;
  /** Version of qdq. */
  readonly version: string;
  /** The runtime that ran the model, such as "onnxruntime-node 1.30.0". */
  readonly runtime: string;
  readonly model: TableModel;
  /** Whether large activations were counted on a spatial grid only. */
  readonly sampled: boolean;
  /** By name. */
  readonly samples: readonly TableSample[];
  /** By value name. */
  readonly tensors: Readonly<Record<string, TensorRecord>>;
  /** By tensor and sample name; the first eight samples of each tensor. */
  readonly nonFinite: readonly NonFinite[];
}

/** The part of a table that one collecting run gives. */
export type Observations = Pick<CalibrationTable, 'sampled' | 'samples' | 'tensors' | 'nonFinite'>;

const NON_FINITE_SAMPLES = 8;

/** Puts two disjoint collections together: exact, and the same in any order and grouping. */
export function mergeObservations(a: Observations, b: Observations): Observations {
  return sortObservations({
    sampled: a.sampled || b.sampled,
    samples: [...a.samples, ...b.samples],
    tensors: mergeTensors(a.tensors, b.tensors),
    nonFinite: [...a.nonFinite, ...b.nonFinite],
  });
}

/** The records of two disjoint sets of samples, by value name. */
export function mergeTensors(a: Observations['tensors'], b: Observations['tensors']): Observations['tensors'] {
  const tensors = new Map(Object.entries(a));
  for (const [name, record] of Object.entries(b)) {
    const own = tensors.get(name);
    tensors.set(name, own ? mergeRecords(own, record) : record);
  }
  return Object.fromEntries(tensors);
}

/** The observations in the order of the table. */
export function sortObservations({ sampled, samples, tensors, nonFinite }: Observations): Observations {
  const kept = new Map<string, number>();
  return {
    sampled,
    samples: [...samples].sort((a, b) => compare(a.name, b.name) || compare(a.sha256, b.sha256)),
    tensors: Object.fromEntries(Object.entries(tensors).sort(([a], [b]) => compare(a, b))),
    nonFinite: [...nonFinite]
      .sort((a, b) => compare(a.tensor, b.tensor) || compare(a.sample, b.sample))
      .filter(({ tensor }) => {
        const before = kept.get(tensor) ?? 0;
        kept.set(tensor, before + 1);
        return before < NON_FINITE_SAMPLES;
      }),
  };
}

/** Tables of two parts of the data as one. Throws QdqError `table-mismatch` where they are of different models. */
export function mergeTables(a: CalibrationTable, b: CalibrationTable): CalibrationTable {
  requireTableFor(b, a.model);
  return { ...a, ...mergeObservations(a, b) };
}

/** Throws QdqError `table-mismatch` unless the table is of this model, with inputs frozen at the same values: other branches stand in the graph otherwise. */
export function requireTableFor(table: CalibrationTable, model: TableModel): void {
  if (table.model.sha256 === model.sha256) {
    const [expected, received] = [frozenText(model.frozen), frozenText(table.model.frozen)];
    if (expected === received) return;
    throw new QdqError('table-mismatch', `the calibration table was made with ${received}, not with ${expected}`, 'Give qdq calibrate and qdq quantize the same --freeze.');
  }
  throw new QdqError(
    'table-mismatch',
    `the calibration table is of another model: expected SHA-256 ${model.sha256} (${model.name}), ` +
      `received ${table.model.sha256} (${table.model.name})`,
    'Make one for this model: qdq calibrate MODEL --data PATH -o TABLE.',
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
