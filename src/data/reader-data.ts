import { basename } from 'node:path';
import { QdqError } from '../errors.js';
import type { Tensor } from '../tensor/tensor.js';
import { bindInputs } from './bind-inputs.js';
import { listedDataSet, selectSamples, type DataSet } from './data-set.js';
import type { DataSpec } from './data-spec.js';
import { listInputs, type ModelInput } from './model-inputs.js';
import { importReader, readSamples } from './reader-module.js';
import { createSample, type InputTensors } from './sample.js';
import { checkLimit, splitNames } from './split.js';
import { describeValue, tensorFromValue } from './tensor-from-value.js';

/** A sample of a reader, not yet looked at. */
interface StreamItem {
  readonly name: string;
  readonly value: unknown;
}

type Stream = () => AsyncIterable<StreamItem>;

/** Enough digits that names sort in the order of a stream whose length is not known. */
const NAME_DIGITS = 6;

/**
 * The samples of a user's reader module, named by position. An exported array is listed; anything else is read while iterating,
 * and `limit` takes its first samples. Throws QdqError `usage`, `file-not-found`, `data-empty` or `data-invalid`.
 */
export async function readerData(path: string, inputs: readonly ModelInput[], spec: Pick<DataSpec, 'split' | 'limit'>): Promise<DataSet> {
  const reader = await importReader(path);
  const name = basename(path);
  if (Array.isArray(reader)) {
    const digits = String(Math.max(0, reader.length - 1)).length;
    const sources = reader.map((value: unknown, i) => {
      const item = { name: sampleName(name, i, digits), value };
      return { name: item.name, load: async () => readTensors(item, inputs) };
    });
    if (!sources.length) throw emptyReader(path);
    return selectSamples(listedDataSet(sources, inputs, { notes: [], warnings: [] }), spec);
  }
  const read: Stream = async function* () {
    let count = 0;
    for await (const value of readSamples(path, reader, inputs)) yield { name: sampleName(name, count++, NAME_DIGITS), value };
    if (!count) throw emptyReader(path);
  };
  return streamDataSet(await selectStream(read, path, spec), inputs);
}

async function selectStream(read: Stream, path: string, { split, limit }: Pick<DataSpec, 'split' | 'limit'>): Promise<Stream> {
  if (limit !== undefined) checkLimit(limit);
  let selected = read;
  if (split === 'even' || split === 'odd') {
    selected = nonEmpty(filterStream(read, (_, i) => i % 2 === (split === 'even' ? 0 : 1)), `${path}: --split ${split} leaves no samples`);
  } else if (split !== undefined) {
    const kept = new Set(splitNames(await streamNames(read), split));
    selected = filterStream(read, (name) => kept.has(name));
  }
  return limit === undefined ? selected : takeFirst(selected, limit);
}

function streamDataSet(stream: Stream, inputs: readonly ModelInput[]): DataSet {
  return {
    total: undefined,
    notes: [],
    warnings: [],
    names: () => streamNames(stream),
    filter: (keep) => streamDataSet(filterStream(stream, keep), inputs),
    async *[Symbol.asyncIterator]() {
      for await (const item of stream()) yield createSample(item.name, bindInputs(readTensors(item, inputs), inputs, item.name));
    },
  };
}

async function streamNames(stream: Stream): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of stream()) names.push(name);
  return names;
}

function filterStream(stream: Stream, keep: (name: string, index: number) => boolean): Stream {
  return async function* () {
    let index = 0;
    for await (const item of stream()) if (keep(item.name, index++)) yield item;
  };
}

function takeFirst(stream: Stream, limit: number): Stream {
  return async function* () {
    let count = 0;
    for await (const item of stream()) {
      yield item;
      if (++count === limit) return;
    }
  };
}

function nonEmpty(stream: Stream, message: string): Stream {
  return async function* () {
    let empty = true;
    for await (const item of stream()) {
      empty = false;
      yield item;
    }
    if (empty) throw new QdqError('data-empty', message, 'give more samples, or another split');
  };
}

function readTensors({ name, value }: StreamItem, inputs: readonly ModelInput[]): InputTensors {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || Array.isArray(value)) {
    throw new QdqError(
      'data-invalid',
      `${name}: expected an object { inputName: tensor } with ${listInputs(inputs)}, received ${describeValue(value)}`,
    );
  }
  const tensors = new Map<string, Tensor>();
  for (const [key, field] of Object.entries(value)) {
    tensors.set(key, tensorFromValue(field, inputs.find((input) => input.name === key) ?? { name: key, dtype: 'unknown' }, name));
  }
  return tensors;
}

function sampleName(reader: string, index: number, digits: number): string {
  return `${reader}#${String(index).padStart(digits, '0')}`;
}

function emptyReader(path: string): QdqError {
  return new QdqError('data-empty', `${path}: the reader gives no samples`);
}
