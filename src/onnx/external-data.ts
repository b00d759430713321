import { closeSync, existsSync, fstatSync, openSync, readSync, realpathSync, statSync } from 'node:fs';
import { dirname, isAbsolute, join, relative, sep } from 'node:path';
import { QdqError, messageOf } from '../errors.js';
import { DeferredStorage } from '../tensor/deferred-storage.js';
import type { BytePlace, TensorStorage } from '../tensor/tensor.js';
import type { Message } from './messages.js';

/** Finds the side files of one model, and none outside the model's folder. */
export class SideFiles {
  readonly #directory: string | undefined;
  readonly #file: string | undefined;
  readonly #paths = new Map<string, string>();

  /** `directory` is where locations start from; `file` is the model's path, for messages and for models that are links. */
  constructor(directory?: string, file?: string) {
    this.#directory = directory ?? (file === undefined ? undefined : dirname(file));
    this.#file = file;
  }

  /** What it was made with, as plain data. */
  get origin(): { readonly directory: string | undefined; readonly file: string | undefined } {
    return { directory: this.#directory, file: this.#file };
  }

  /** Path of the model file as given, for messages. */
  get modelName(): string {
    return this.#file ?? 'the model';
  }

  /**
   * Absolute path of a side file. Throws QdqError('external-data') where the file is missing, is no regular file, or lies
   * outside the model's folder after links are followed.
   */
  resolve(location: string, tensor: string): string {
    const known = this.#paths.get(location);
    if (known) return known;
    if (this.#directory === undefined) {
      throw new QdqError(
        'external-data',
        `Tensor "${tensor}" is stored in the side file "${location}", but the model was given as bytes without a folder.`,
        'Read the model from its file, or say which folder holds its side files.',
      );
    }
    const path = this.#realPath(join(this.#directory, location), location, tensor);
    if (!this.#roots().some((root) => isInside(root, path))) {
      throw outside(tensor, location, this.modelName, `it is a link to ${path}`);
    }
    if (!statSync(path).isFile()) {
      throw new QdqError('external-data', `${this.modelName}: tensor "${tensor}" expects a file at "${location}", which is none.`);
    }
    this.#paths.set(location, path);
    return path;
  }

  #realPath(path: string, location: string, tensor: string): string {
    try {
      return realpathSync(path);
    } catch (error) {
      throw new QdqError(
        'external-data',
        `${this.modelName}: tensor "${tensor}" is stored in the side file "${location}", which cannot be opened: ${messageOf(error)}`,
        'Side files must lie beside the model; copy them together with it.',
        { cause: error },
      );
    }
  }

  /** A model that is itself a link (as in the Hugging Face cache) may have its side files beside the link's target. */
  #roots(): string[] {
    const roots = [realpathSync(this.#directory ?? '.')];
    if (this.#file !== undefined && existsSync(this.#file)) roots.push(dirname(realpathSync(this.#file)));
    return roots;
  }
}

const storages = new WeakMap<Message<'TensorProto'>, ExternalStorage | DeferredStorage>();

/**
 * Remembers where the bytes of a message are that says they are in a side file: after edits, tensors of several models may stand in one,
 * and deferred ones are in none yet.
 */
export function rememberStorage(message: Message<'TensorProto'>, storage: TensorStorage): void {
  if (storage instanceof ExternalStorage || storage instanceof DeferredStorage) storages.set(message, storage);
}

/** The storage that `rememberStorage` was told of. */
export function rememberedStorage(message: Message<'TensorProto'>): ExternalStorage | DeferredStorage | undefined {
  return storages.get(message);
}

/** Where bytes of a side file are, as plain data that another thread can make a storage of. */
export interface ExternalPlace {
  /** Folder and path that `SideFiles` was made with. */
  readonly directory: string | undefined;
  readonly file: string | undefined;
  readonly tensor: string;
  readonly location: string;
  readonly offset: number;
  readonly byteLength: number;
}

/** Bytes of a tensor in a side file, read on demand. */
export class ExternalStorage implements TensorStorage {
  readonly #files: SideFiles;
  readonly #tensor: string;
  /** Path of the side file as the model names it. */
  readonly location: string;
  /** First byte within the side file. */
  readonly offset: number;
  readonly byteLength: number;

  constructor(files: SideFiles, tensor: string, location: string, offset: number, byteLength: number) {
    this.#files = files;
    this.#tensor = tensor;
    this.location = location;
    this.offset = offset;
    this.byteLength = byteLength;
  }

  /** The storage at a place that `place` told. */
  static at({ directory, file, tensor, location, offset, byteLength }: ExternalPlace): ExternalStorage {
    return new ExternalStorage(new SideFiles(directory, file), tensor, location, offset, byteLength);
  }

  /** Where the bytes are, as plain data. */
  get place(): ExternalPlace {
    return { ...this.#files.origin, tensor: this.#tensor, location: this.location, offset: this.offset, byteLength: this.byteLength };
  }

  /** Absolute path of the side file. Throws as `SideFiles.resolve` does. */
  get path(): string {
    return this.#files.resolve(this.location, this.#tensor);
  }

  /** Throws QdqError('external-data') unless the side file is there and long enough. Reads nothing of it. */
  check(): void {
    const available = statSync(this.path).size;
    if (this.offset + this.byteLength > available) throw this.#tooShort(available);
  }

  read(): Uint8Array {
    return this.readRange(0, this.byteLength);
  }

  readRange(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(Math.max(0, Math.min(length, this.byteLength - offset)));
    this.readInto(offset, bytes);
    return bytes;
  }

  readInto(offset: number, target: Uint8Array): void {
    this.readAllInto([{ offset, target }]);
  }

  readAllInto(places: readonly BytePlace[]): void {
    const descriptor = this.#open();
    try {
      for (const { offset, target } of places) this.#fill(descriptor, this.offset + offset, target);
    } finally {
      closeSync(descriptor);
    }
  }

  #fill(descriptor: number, start: number, bytes: Uint8Array): void {
    let done = 0;
    for (let count = -1; done < bytes.length && count !== 0; done += count) {
      count = readSync(descriptor, bytes, done, bytes.length - done, start + done);
    }
    if (done < bytes.length) throw this.#tooShort(fstatSync(descriptor).size);
  }

  #open(): number {
    const { path } = this;
    try {
      return openSync(path, 'r');
    } catch (error) {
      throw new QdqError(
        'external-data',
        `${this.#files.modelName}: the side file ${path} of tensor "${this.#tensor}" cannot be read: ${messageOf(error)}`,
        'Check its permissions.',
        { cause: error },
      );
    }
  }

  #tooShort(available: number): QdqError {
    return new QdqError(
      'external-data',
      `${this.#files.modelName}: tensor "${this.#tensor}" takes bytes ${this.offset} to ${this.offset + this.byteLength} of ` +
        `"${this.location}", which has only ${available} bytes.`,
      'The side file is truncated or belongs to another model; copy it again.',
    );
  }
}

/**
 * The storage that a tensor's `external_data` entries describe. `expected` is the byte count of its shape and type (undefined
 * where unknown). Throws QdqError('external-data') where the entries are malformed or point outside the model's folder; whether
 * the file is there is seen by `check`.
 */
export function externalStorage(
  message: Message<'TensorProto'>,
  expected: number | undefined,
  tensor: string,
  files: SideFiles,
): ExternalStorage {
  const entries = new Map(message.external_data?.map(({ key, value }) => [key ?? '', value ?? '']));
  const location = entries.get('location');
  const fail = (problem: string) => new QdqError('external-data', `${files.modelName}: tensor "${tensor}" ${problem}`);
  if (!location) throw fail('is stored outside the model, but names no side file (expected an external_data entry "location").');
  if (isAbsolute(location) || /^[a-z]:|^[\\/]/i.test(location)) {
    throw outside(tensor, location, files.modelName, 'it is an absolute path');
  }
  if (location.split(/[\\/]/).includes('..')) throw outside(tensor, location, files.modelName, 'it leads upwards with ".."');
  const number = (key: string): number | undefined => {
    const text = entries.get(key);
    if (text === undefined || text === '') return undefined;
    if (/^\d+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
    throw fail(`has "${text}" as its ${key} in the side file "${location}"; expected a byte count.`);
  };
  const offset = number('offset') ?? 0;
  const length = number('length') ?? expected ?? 0;
  if (expected !== undefined && length !== expected) {
    throw fail(`has ${length} bytes in the side file "${location}"; its type and shape take ${expected}.`);
  }
  return new ExternalStorage(files, tensor, location, offset, length);
}

function outside(tensor: string, location: string, model: string, why: string): QdqError {
  return new QdqError(
    'external-data',
    `${model}: tensor "${tensor}" points to "${location}", outside the model's folder (${why}). It is not read.`,
    'Side files must lie in the folder of the model or below it. Only use models from people you trust.',
  );
}

function isInside(root: string, path: string): boolean {
  const way = relative(root, path);
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}
