import { createHash } from 'node:crypto';
import { createReadStream, statSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { QdqError, messageOf } from '../errors.js';
import type { Model } from '../graph/model.js';
import { decodeModel } from './model-codec.js';
import { externalStorages } from './model-tensors.js';

const DIGEST_CHUNK_BYTES = 2 ** 20;

/** Protobuf messages, and so ONNX files, end at 2 GiB. */
const MAX_FILE_BYTES = 2 ** 31 - 1;

/**
 * Reads a model file. Weights in side files are not read, but their files are checked to be there and long enough. Throws
 * QdqError: `file-not-found`, `file-unreadable`, and those of `decodeModel`. `directory` is where side files are, if not beside it.
 */
export async function readModel(path: string, options: { readonly directory?: string } = {}): Promise<Model> {
  const bytes = await readBytes(path);
  const model = decodeModel(bytes, { file: path, ...options });
  for (const storage of externalStorages(model)) storage.check();
  return model;
}

/**
 * SHA-256 of a model in hex: of the model file alone where it has no side files, otherwise of the digests of all its files, so that models of
 * one structure and other weights are told apart.
 */
export async function modelDigest(path: string, model: Model): Promise<string> {
  const own = await fileDigest(path);
  const sides = [...new Set(externalStorages(model).map((storage) => storage.path))].sort();
  if (sides.length === 0) return own;
  const hash = createHash('sha256').update(own);
  for (const side of sides) hash.update(await fileDigest(side));
  return hash.digest('hex');
}

async function fileDigest(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: DIGEST_CHUNK_BYTES })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** Bytes on disk of a model file and its side files. Throws where one of them is gone. */
export function modelSize(path: string, model: Model): number {
  const files = new Set([path, ...externalStorages(model).map((storage) => storage.path)]);
  return [...files].reduce((sum, file) => sum + statSync(file).size, 0);
}

async function readBytes(path: string): Promise<Uint8Array> {
  try {
    const info = await stat(path);
    if (info.isDirectory()) {
      throw new QdqError('file-unreadable', `${path} is a folder; expected an ONNX file.`, 'Give the path of the .onnx file in it.');
    }
    if (info.size > MAX_FILE_BYTES) {
      throw new QdqError(
        'file-unreadable',
        `${path} has ${info.size} bytes; an ONNX file has at most ${MAX_FILE_BYTES}.`,
        'Save the model with its weights in a side file (external data).',
      );
    }
    return await readFile(path);
  } catch (error) {
    if (error instanceof QdqError) throw error;
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new QdqError('file-not-found', `${path} does not exist; expected an ONNX file.`, 'Check the path.', { cause: error });
    }
    throw new QdqError('file-unreadable', `${path} cannot be read: ${messageOf(error)}`, 'Check its permissions.', { cause: error });
  }
}
