import { open, realpath, writeFile } from 'node:fs/promises';
import { basename, dirname, join, parse, relative } from 'node:path';
import type { Model } from '../graph/model.js';
import { DeferredStorage } from '../tensor/deferred-storage.js';
import { bytesOf } from '../tensor/tensor.js';
import { ExternalStorage } from './external-data.js';
import { modelParts } from './message-parts.js';
import { patch } from './messages.js';
import { encodeModelMessage, sideFilesOf } from './model-codec.js';
import { storedTensors } from './model-tensors.js';
import { layOut } from './side-file-layout.js';
import { externalFields } from './tensor-codec.js';
import { CLEARED_DATA } from './tensor-data.js';
import { mapTensors } from './tensor-walk.js';
import { writeLayout } from './write-side-file.js';

/** Deferred weights of so many bytes in all are computed into a side file; fewer fit the model file. */
const MIN_SIDE_FILE_BYTES = 64 * 2 ** 20;

/**
 * Writes a model for the runtime to open and throw away: weights that are in side files stay where they are and are referred to, those that are
 * yet to be computed go to a side file beside `path`. Returns the folder that locations are named from, which holds both; undefined, with
 * nothing written, for models without many deferred bytes, and where no folder holds both.
 */
export async function writeReferring(path: string, model: Model): Promise<string | undefined> {
  const message = encodeModelMessage(model);
  const tensors = storedTensors(message, sideFilesOf(model));
  const deferred = tensors.filter(({ storage }) => storage instanceof DeferredStorage);
  if (bytesOf(deferred) < MIN_SIDE_FILE_BYTES) return undefined;
  const folder = await realpath(dirname(path));
  const { root } = parse(folder);
  const external = tensors.flatMap(({ storage }) => (storage instanceof ExternalStorage ? [storage.path] : []));
  if (external.some((file) => parse(file).root !== root)) return undefined;
  const sidePath = join(folder, `${basename(path)}.data`);
  const layout = layOut(deferred);
  const file = await open(sidePath, 'w');
  try {
    // It is thrown away soon, so it need not reach the disk.
    await writeLayout({ write: (bytes) => file.appendFile(bytes), flush: () => Promise.resolve() }, layout);
  } finally {
    await file.close();
  }
  const storages = new Map(tensors.map((tensor) => [tensor.message, tensor.storage]));
  const { parts } = modelParts(
    mapTensors(message, (tensor) => {
      const storage = storages.get(tensor);
      if (storage instanceof ExternalStorage) return patch(tensor, externalFields(storage, relative(root, storage.path), storage.offset));
      if (!(storage instanceof DeferredStorage)) return tensor;
      const offset = layout.offsets.get(storage);
      return patch(tensor, { ...CLEARED_DATA, ...(offset === undefined ? { raw_data: storage.read() } : externalFields(storage, relative(root, sidePath), offset)) });
    }),
  );
  await writeFile(path, parts);
  return root;
}
