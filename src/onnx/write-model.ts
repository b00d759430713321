import { createHash } from 'node:crypto';
import { realpathSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { QdqError } from '../errors.js';
import type { Model } from '../graph/model.js';
import { bytesOf, type TensorStorage } from '../tensor/tensor.js';
import { AtomicFile, TemporaryFolder } from './atomic-file.js';
import { ExternalStorage } from './external-data.js';
import type { ExternalDataMode } from './external-data-modes.js';
import { modelParts, type MessageParts } from './message-parts.js';
import { patch, type Message } from './messages.js';
import { encodeModelMessage, encodeModelParts, sideFilesOf } from './model-codec.js';
import { isExternal, storedTensors, type StoredTensor } from './model-tensors.js';
import { layOut, type Layout } from './side-file-layout.js';
import { externalFields } from './tensor-codec.js';
import { CLEARED_DATA } from './tensor-data.js';
import { mapTensors } from './tensor-walk.js';
import { writeLayout } from './write-side-file.js';

/** Weights beyond this go to a side file: well below protobuf's 2 GiB, at which the runtime refuses a file. */
const SINGLE_FILE_BYTES = 1.5e9;
const MAX_FILE_BYTES = 2 ** 31 - 1;

type ModelMessage = Message<'ModelProto'>;
type TensorMessage = Message<'TensorProto'>;

const NO_SIDE_FILE: Layout = { parts: [], offsets: new Map(), sizeBytes: 0 };

/** How `writeModel` places weights. */
export interface WriteOptions {
  /**
   * `auto`: in a side file where the model had one or its weights take 1.5 GB and more, otherwise in the model file. `always`: in a
   * side file. `never`: in the model file. Tensors below 1 KiB are always in the model file.
   */
  readonly externalData?: ExternalDataMode | undefined;
  /** What the name of a side file adds to that of the model file (default: .data). */
  readonly sideFileSuffix?: string | undefined;
  /** Told after each chunk of a side file how many bytes are on their way, and how many there are. */
  readonly onBytes?: ((done: number, total: number) => void) | undefined;
}

/** What was written. */
export interface WrittenModel {
  /** Bytes of all files. */
  readonly sizeBytes: number;
  /** SHA-256 of the model file, in hex; side files are not part of it. */
  readonly sha256: string;
  /** Paths: the model file, then its side file where there is one. */
  readonly files: readonly string[];
}

/** A model that is written and can be read, and is not in its place yet. */
export interface ModelAside {
  /** Where it can be read until then. */
  readonly temporaryPath: string;
  /** What will be written, under the paths that it will have. */
  readonly written: WrittenModel;
  /** Puts it in its place. Throws QdqError('file-unwritable'), and then nothing is left behind. */
  readonly commit: () => Promise<WrittenModel>;
  /** Removes it. After `commit` it does nothing. */
  readonly abort: () => Promise<void>;
}

/**
 * Writes a model, its weights to `<name>.data` beside it where they do not belong in the file. The files appear complete or not at
 * all. Side files are copied in chunks. Throws QdqError('file-unwritable') where the system refuses, the file would be too large,
 * or a side file of the source would be overwritten; `external-data` where one cannot be read.
 */
export async function writeModel(path: string, model: Model, options: WriteOptions = {}): Promise<WrittenModel> {
  return (await writeModelAside(path, model, options)).commit();
}

/** The same up to the last step: the model can be looked at first, and put in its place or given up afterwards. */
export async function writeModelAside(path: string, model: Model, options: WriteOptions = {}): Promise<ModelAside> {
  const message = encodeModelMessage(model);
  const tensors = storedTensors(message, sideFilesOf(model));
  const weightBytes = bytesOf(tensors);
  const sources = tensors.flatMap(({ storage }) => (storage instanceof ExternalStorage ? [storage.path] : []));
  const hasSideFile = tensors.some((tensor) => isExternal(tensor.message));
  const sidePath = sideFileOf(path, options.sideFileSuffix);
  refuseSources([path, sidePath], sources);
  const mode = options.externalData ?? 'auto';
  if (mode === 'always' || (mode === 'auto' && (hasSideFile || weightBytes >= SINGLE_FILE_BYTES))) {
    const layout = layOut(tensors);
    return writeFiles(path, modelParts(withLayout(message, tensors, layout, basename(sidePath))), layout, sidePath, options.onBytes);
  }
  if (weightBytes > MAX_FILE_BYTES) throw tooLarge(path, weightBytes);
  return writeFiles(path, hasSideFile ? modelParts(withWeightsInside(message, tensors)) : encodeModelParts(model), NO_SIDE_FILE, sidePath);
}

async function writeFiles(path: string, model: MessageParts, layout: Layout, sidePath: string, onBytes?: WriteOptions['onBytes']): Promise<ModelAside> {
  if (model.sizeBytes > MAX_FILE_BYTES) throw tooLarge(path, model.sizeBytes);
  const sizeBytes = model.sizeBytes + layout.sizeBytes;
  const folder = await TemporaryFolder.beside(path, sizeBytes);
  const files: AtomicFile[] = [];
  const create = async (target: string) => {
    const file = await AtomicFile.create(target, sizeBytes, folder);
    files.push(file);
    return file;
  };
  const abort = async () => {
    for (const file of files) await file.abort();
    await folder.remove();
  };
  try {
    const modelFile = await create(path);
    const sideFile = layout.sizeBytes > 0 ? await create(sidePath) : undefined;
    if (sideFile) await writeLayout(sideFile, layout, onBytes);
    const hash = createHash('sha256');
    for (const part of model.parts) {
      hash.update(part);
      await modelFile.write(part);
    }
    for (const file of files) await file.finish();
    const written = { sizeBytes, sha256: hash.digest('hex'), files: sideFile ? [path, sidePath] : [path] };
    const commit = () => putInPlace(modelFile, sideFile).finally(abort).then(() => written);
    return { temporaryPath: modelFile.temporaryPath, written, commit, abort };
  } catch (error) {
    await abort();
    throw error;
  }
}

async function putInPlace(modelFile: AtomicFile, sideFile: AtomicFile | undefined): Promise<void> {
  if (!sideFile) return modelFile.commit();
  // Weights first: a model file never stands there without them, nor an older one beside weights that are not its own.
  await rm(realPathOf(modelFile.path), { force: true });
  await sideFile.commit();
  await modelFile.commit().catch(async (error: unknown) => {
    await rm(sideFile.path, { force: true });
    throw error;
  });
}

/** The message with each tensor's elements in `raw_data` or at its place of the side file. */
function withLayout(
  message: ModelMessage,
  tensors: readonly StoredTensor[],
  layout: Layout,
  location: string,
): ModelMessage {
  return mapStored(message, tensors, (tensor, storage) => {
    const offset = layout.offsets.get(storage);
    if (offset !== undefined) return { ...CLEARED_DATA, ...externalFields(storage, location, offset) };
    return isExternal(tensor) ? { ...CLEARED_DATA, raw_data: storage.read() } : {};
  });
}

function withWeightsInside(message: ModelMessage, tensors: readonly StoredTensor[]): ModelMessage {
  return mapStored(message, tensors, (tensor, storage) => (isExternal(tensor) ? { ...CLEARED_DATA, raw_data: storage.read() } : {}));
}

function mapStored(
  message: ModelMessage,
  tensors: readonly StoredTensor[],
  fields: (tensor: TensorMessage, storage: TensorStorage) => Partial<TensorMessage>,
): ModelMessage {
  const storages = new Map(tensors.map((tensor) => [tensor.message, tensor.storage]));
  return mapTensors(message, (tensor) => {
    const storage = storages.get(tensor);
    return storage ? patch(tensor, fields(tensor, storage)) : tensor;
  });
}

function sideFileOf(path: string, suffix = '.data'): string {
  return join(dirname(path), `${basename(path)}${suffix}`);
}

function refuseSources(targets: readonly string[], sources: readonly string[]): void {
  for (const target of targets) {
    if (!sources.includes(realPathOf(target))) continue;
    throw new QdqError(
      'file-unwritable',
      `Cannot write ${targets[0]}: ${target} holds weights of the model that is read.`,
      'Choose another name or folder for the output.',
    );
  }
}

function realPathOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}

function tooLarge(path: string, sizeBytes: number): QdqError {
  return new QdqError(
    'file-unwritable',
    `Cannot write ${path} as one file: ${sizeBytes} bytes of weights are more than the ${MAX_FILE_BYTES} that an ONNX file holds.`,
    'Let the weights go to a side file beside it: --external-data auto or always.',
  );
}
