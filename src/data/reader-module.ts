import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { messageOf, QdqError } from '../errors.js';
import { withFile } from './open-file.js';
import { describeValue, type TensorValue } from './tensor-from-value.js';
import type { ModelInput } from './model-inputs.js';

/** What a reader module yields for one sample: tensors by input name. */
export type ReaderSample = Readonly<Record<string, TensorValue>>;

/** What a reader module yields as a whole. */
export type ReaderSamples = AsyncIterable<ReaderSample> | Iterable<ReaderSample>;

/** The default export of a reader module; a function is called anew for each pass over the data. */
export type Reader = ReaderSamples | ((context: { readonly inputs: readonly ModelInput[] }) => ReaderSamples | Promise<ReaderSamples>);

/** Whether a path names a reader module. */
export function isReaderModule(path: string): boolean {
  return /\.[mc]?[jt]s$/i.test(path);
}

/**
 * The default export of a reader module. Throws QdqError `file-not-found`, or `data-invalid` where it cannot be loaded,
 * exports nothing that can be iterated, or a generator that could be read only once.
 */
export async function importReader(path: string): Promise<Reader> {
  await withFile(path, async () => {});
  const module = await importModule(path);
  const reader = module.default as Reader;
  if (typeof reader !== 'function' && !isIterable(reader)) {
    throw new QdqError(
      'data-invalid',
      `${path}: expected an iterable as the default export, or a function that returns one, received ${describeValue(reader)}`,
      'export default async function* () { yield { inputName: new Float32Array(…) }; }',
    );
  }
  if (typeof reader !== 'function' && Object.is(iteratorOf(reader), reader)) {
    throw new QdqError(
      'data-invalid',
      `${path}: the default export is a generator that can be read only once, but the data is read several times`,
      'export the generator function itself: export default async function* () { … }',
    );
  }
  return reader;
}

/** One pass over what a reader gives. Throws QdqError `data-invalid`, with the position at which the module failed. */
export async function* readSamples(path: string, reader: Reader, inputs: readonly ModelInput[]): AsyncGenerator<ReaderSample> {
  let count = 0;
  const fail = (error: unknown): never => {
    throw new QdqError('data-invalid', `${path}: the reader failed at sample ${count}: ${messageOf(error)}`, undefined, { cause: error });
  };
  const samples = await (typeof reader === 'function' ? callReader(reader, inputs) : Promise.resolve(reader)).catch(fail);
  if (!isIterable(samples)) {
    throw new QdqError('data-invalid', `${path}: the reader function returned ${describeValue(samples)}, expected an iterable`);
  }
  const iterator = iteratorOf(samples);
  const advance = async (): Promise<IteratorResult<ReaderSample, unknown>> => iterator.next();
  try {
    for (;;) {
      const next = await advance().catch(fail);
      if (next.done) return;
      yield next.value;
      count++;
    }
  } finally {
    await iterator.return?.();
  }
}

async function importModule(path: string): Promise<{ default?: unknown }> {
  try {
    return (await import(pathToFileURL(resolve(path)).href)) as { default?: unknown };
  } catch (cause) {
    throw new QdqError('data-invalid', `${path}: the reader module cannot be loaded: ${messageOf(cause)}`, undefined, { cause });
  }
}

async function callReader(reader: Exclude<Reader, ReaderSamples>, inputs: readonly ModelInput[]): Promise<ReaderSamples> {
  return reader({ inputs });
}

function iteratorOf(samples: ReaderSamples): AsyncIterator<ReaderSample> | Iterator<ReaderSample> {
  return Symbol.asyncIterator in samples ? samples[Symbol.asyncIterator]() : samples[Symbol.iterator]();
}

function isIterable(value: unknown): value is ReaderSamples {
  return typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || Symbol.iterator in value);
}
