import { QdqError } from '../errors.js';
import { bindInputs } from './bind-inputs.js';
import type { DataSpec, DataWarning } from './data-spec.js';
import type { ModelInput } from './model-inputs.js';
import { createSample, type Sample, type SampleSource } from './sample.js';
import { checkLimit, limitNames, splitNames } from './split.js';

/** Samples in the order of their names, bound to the model's inputs, read one by one while iterating, as often as wanted. */
export interface DataSet extends AsyncIterable<Sample> {
  /** Number of samples; undefined where only reading tells. */
  readonly total: number | undefined;
  /** What was decided about the data without being told, for the report. */
  readonly notes: readonly string[];
  readonly warnings: readonly DataWarning[];
  /** The names in order. Reader modules are run through once for it. */
  names(): Promise<readonly string[]>;
  /** The samples whose name `keep` accepts; the others are not read. */
  filter(keep: (name: string, index: number) => boolean): DataSet;
}

/** What a data set tells beside its samples. */
export type DataRemarks = Pick<DataSet, 'notes' | 'warnings'>;

/** A data set over sources that are known by name. */
export function listedDataSet(sources: readonly SampleSource[], inputs: readonly ModelInput[], remarks: DataRemarks): DataSet {
  const names = sources.map(({ name }) => name);
  return {
    ...remarks,
    total: sources.length,
    names: async () => names,
    filter: (keep) => listedDataSet(sources.filter(({ name }, i) => keep(name, i)), inputs, remarks),
    async *[Symbol.asyncIterator]() {
      for (const { name, load } of sources) yield createSample(name, bindInputs(await load(), inputs, name));
    },
  };
}

/** The part of a data set that `split` and `limit` leave. Throws QdqError `usage`, or `data-empty` where nothing is left. */
export async function selectSamples(data: DataSet, { split, limit }: Pick<DataSpec, 'split' | 'limit'>): Promise<DataSet> {
  if (limit !== undefined) checkLimit(limit);
  const names = await data.names();
  const part = split === undefined ? names : splitNames(names, split);
  const kept = new Set(limit === undefined ? part : limitNames(part, limit));
  if (!kept.size) {
    throw new QdqError('data-empty', `--split ${split} leaves none of ${names.length} samples`, 'give more samples, or another split');
  }
  return kept.size === names.length ? data : data.filter((name) => kept.has(name));
}
