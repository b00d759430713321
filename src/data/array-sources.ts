import { QdqError } from '../errors.js';
import type { Tensor } from '../tensor/tensor.js';
import type { ArrayEntry } from './array-entry.js';
import { listArrays, readArray, readRow } from './array-file.js';
import type { ModelInput } from './model-inputs.js';
import { withFile } from './open-file.js';
import type { InputTensors, SampleSource } from './sample.js';

/** A `.npz` or `.npy` file as one sample. */
export function arraySource(path: string, name: string, inputs: readonly ModelInput[]): SampleSource {
  return {
    name,
    load: () =>
      withFile(path, async (file) => {
        const tensors = new Map<string, Tensor>();
        for (const entry of await listArrays(file, inputs)) tensors.set(entry.name, await readArray(file, entry));
        return tensors;
      }),
  };
}

/** Holds the decoded arrays of the file that was last read row by row, and of no other. */
export type ArrayCache = (path: string) => Map<string, Promise<Tensor>>;

/** An empty cache, for all the stacked files of a data set together. */
export function createArrayCache(): ArrayCache {
  let last: { path: string; arrays: Map<string, Promise<Tensor>> } | undefined;
  return (path) => (last?.path === path ? last : (last = { path, arrays: new Map() })).arrays;
}

/**
 * A `.npz` or `.npy` file whose arrays carry one sample in each row of axis 0. A row keeps a first dimension of 1, except
 * where the array has one dimension more than the model's input: there the axis is dropped. Scalars belong to every sample.
 * Throws QdqError `data-invalid` where the arrays have different numbers of rows.
 */
export async function stackedSources(
  path: string,
  name: string,
  inputs: readonly ModelInput[],
  cache: ArrayCache,
): Promise<SampleSource[]> {
  const entries = await withFile(path, (file) => listArrays(file, inputs));
  const rows = countRows(path, entries);
  const digits = String(Math.max(0, rows - 1)).length;
  return Array.from({ length: rows }, (_, row) => ({
    name: `${name}#${String(row).padStart(digits, '0')}`,
    load: () => loadRow(path, entries, row, inputs, cache),
  }));
}

function countRows(path: string, entries: readonly ArrayEntry[]): number {
  const stacks = entries.filter(({ header }) => header.dims.length > 0);
  const rows = stacks[0]?.header.dims[0];
  if (rows === undefined) throw new QdqError('data-invalid', `${path}: no array has an axis 0 to carry samples`, 'leave out --stacked');
  const other = stacks.find(({ header }) => header.dims[0] !== rows);
  if (other) {
    const received = `"${stacks[0]!.name}" has ${rows} rows and "${other.name}" ${other.header.dims[0]}`;
    throw new QdqError('data-invalid', `${path}: with --stacked all arrays have one row for each sample, but ${received}`);
  }
  return rows;
}

function loadRow(
  path: string,
  entries: readonly ArrayEntry[],
  row: number,
  inputs: readonly ModelInput[],
  cache: ArrayCache,
): Promise<InputTensors> {
  return withFile(path, async (file) => {
    const tensors = new Map<string, Tensor>();
    for (const entry of entries) {
      const all = () => {
        const arrays = cache(path);
        if (!arrays.has(entry.name)) arrays.set(entry.name, readArray(file, entry));
        return arrays.get(entry.name)!;
      };
      const isStack = entry.header.dims.length > 0;
      tensors.set(entry.name, isStack ? rowTensor(await readRow(file, entry, row, all), entry, inputs) : await all());
    }
    return tensors;
  });
}

function rowTensor(tensor: Tensor, { name, header }: ArrayEntry, inputs: readonly ModelInput[]): Tensor {
  const rank = inputs.find((input) => input.name === name)?.shape?.length;
  return rank === header.dims.length - 1 ? { ...tensor, dims: tensor.dims.slice(1) } : tensor;
}
