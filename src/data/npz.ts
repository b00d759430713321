import { basename } from 'node:path';
import { inflateRawSync, constants } from 'node:zlib';
import { zipSync } from 'fflate';
import { messageOf, QdqError } from '../errors.js';
import { writeFileAtomic } from '../onnx/atomic-file.js';
import type { Tensor } from '../tensor/tensor.js';
import type { ArrayEntry } from './array-entry.js';
import { crc32 } from './crc32.js';
import { checkNpyLength } from './decode-npy.js';
import { encodeNpy } from './encode-npy.js';
import { NPY_HEADER_LIMIT, parseNpyHeader } from './npy-header.js';
import type { OpenFile } from './open-file.js';
import { readZipDirectory, zipDataOffset, type ZipEntry } from './zip-directory.js';

/** Compressed bytes from which the header of an array is read; each gives at most 1032 bytes. */
const HEADER_PREFIX = 4096;

/** zip stores no time before 1980; a fixed one keeps the bytes the same on each run. */
const MTIME = new Date(1980, 0, 1);

/** Keys and headers of the arrays in an npz file, without their elements. Throws QdqError `data-invalid`. */
export async function listNpz(file: OpenFile): Promise<ArrayEntry[]> {
  const entries = await readZipDirectory(file);
  return Promise.all(entries.filter((entry) => entry.name.endsWith('.npy')).map((entry) => openEntry(file, entry)));
}

/** An uncompressed npz file as NumPy reads it, one array a tensor. The same tensors give the same bytes. */
export function encodeNpz(tensors: ReadonlyMap<string, Tensor>): Uint8Array {
  const files = Object.fromEntries([...tensors].map(([name, tensor]) => [`${name}.npy`, encodeNpy(tensor)]));
  return zipSync(files, { level: 0, mtime: MTIME });
}

/** Writes tensors to an npz file, which appears complete or not at all. Throws QdqError `file-unwritable`. */
export async function writeNpz(path: string, tensors: ReadonlyMap<string, Tensor>): Promise<void> {
  await writeFileAtomic(path, encodeNpz(tensors));
}

async function openEntry(file: OpenFile, entry: ZipEntry): Promise<ArrayEntry> {
  const where = `${file.path}: ${entry.name}`;
  const offset = await zipDataOffset(file, entry);
  const stored = entry.compression === 'stored';
  const prefix = await file.read(offset, Math.min(stored ? NPY_HEADER_LIMIT : HEADER_PREFIX, entry.compressedSize));
  const header = parseNpyHeader(stored ? prefix : inflatePrefix(prefix, where), where);
  // An archive that declares more than its array needs would only cost memory.
  checkNpyLength(header, entry.size, where);
  if (stored) checkNpyLength(header, entry.compressedSize, where);
  return {
    name: entry.name.slice(0, -'.npy'.length),
    header,
    where,
    rawOffset: stored ? offset + header.dataOffset : undefined,
    async readAll(target) {
      const raw = await target.read(offset, entry.compressedSize);
      const bytes = stored ? raw : inflate(raw, entry.size, where);
      if (bytes.length !== entry.size || crc32(bytes) !== entry.crc32) {
        throw new QdqError('data-invalid', `${where} is damaged: its checksum is wrong`, `write ${basename(file.path)} again`);
      }
      return bytes.subarray(header.dataOffset);
    },
  };
}

function inflatePrefix(bytes: Buffer, where: string): Buffer {
  // Without this flag an unfinished end is an error, and here the end is cut off on purpose.
  return inflate(bytes, 1032 * HEADER_PREFIX, where, constants.Z_SYNC_FLUSH);
}

function inflate(bytes: Buffer, size: number, where: string, finishFlush?: number): Buffer {
  try {
    return inflateRawSync(bytes, { maxOutputLength: Math.max(1, size), ...(finishFlush && { finishFlush }) });
  } catch (cause) {
    throw new QdqError('data-invalid', `${where} is damaged: ${messageOf(cause)}`, undefined, { cause });
  }
}
