import { QdqError } from '../errors.js';
import type { OpenFile } from './open-file.js';

/** One file in a zip archive, as the archive's directory describes it. */
export interface ZipEntry {
  readonly name: string;
  readonly compression: 'stored' | 'deflated';
  readonly compressedSize: number;
  readonly size: number;
  readonly crc32: number;
  /** Where the entry's own header is. */
  readonly headerOffset: number;
}

const END = 0x06054b50;
const END_64 = 0x06064b50;
const LOCATOR_64 = 0x07064b50;
const ENTRY = 0x02014b50;
const LOCAL = 0x04034b50;

/** The end record, its longest comment, and the locator of the 64-bit record before it. */
const TAIL_LENGTH = 22 + 65535 + 20;

/**
 * The entries of a zip archive. Sizes are as declared: a reader must not trust them.
 * Source: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12 to 4.3.16 and 4.5.3. Throws QdqError `data-invalid`.
 */
export async function readZipDirectory(file: OpenFile): Promise<ZipEntry[]> {
  const { offset, length, count } = await locateDirectory(file);
  const bytes = await file.read(offset, length);
  const entries: ZipEntry[] = [];
  for (let at = 0; entries.length < count; ) {
    if (at + 46 > bytes.length || bytes.readUInt32LE(at) !== ENTRY) throw damaged(file);
    const nameLength = bytes.readUInt16LE(at + 28);
    const extraLength = bytes.readUInt16LE(at + 30);
    const end = at + 46 + nameLength + extraLength + bytes.readUInt16LE(at + 32);
    if (end > bytes.length) throw damaged(file);
    entries.push(readEntry(file, bytes.subarray(at, end), nameLength, extraLength));
    at = end;
  }
  return entries;
}

/** Where the data of an entry starts. */
export async function zipDataOffset(file: OpenFile, entry: ZipEntry): Promise<number> {
  const header = await file.read(entry.headerOffset, 30);
  if (header.readUInt32LE(0) !== LOCAL) throw damaged(file);
  return entry.headerOffset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
}

async function locateDirectory(file: OpenFile): Promise<{ offset: number; length: number; count: number }> {
  const tailStart = Math.max(0, file.size - TAIL_LENGTH);
  const tail = await file.read(tailStart, file.size - tailStart);
  let at = tail.length - 22;
  while (at >= 0 && tail.readUInt32LE(at) !== END) at--;
  if (at < 0) throw new QdqError('data-invalid', `${file.path}: is not a complete npz (zip) file`, 'write it again with np.savez');
  if (at >= 20 && tail.readUInt32LE(at - 20) === LOCATOR_64) {
    const record = await file.read(Number(tail.readBigUInt64LE(at - 12)), 56);
    if (record.readUInt32LE(0) !== END_64) throw damaged(file);
    const at64 = (field: number): number => Number(record.readBigUInt64LE(field));
    return { count: at64(32), length: at64(40), offset: at64(48) };
  }
  return { count: tail.readUInt16LE(at + 10), length: tail.readUInt32LE(at + 12), offset: tail.readUInt32LE(at + 16) };
}

function readEntry(file: OpenFile, bytes: Buffer, nameLength: number, extraLength: number): ZipEntry {
  const flags = bytes.readUInt16LE(8);
  const method = bytes.readUInt16LE(10);
  const name = bytes.toString(flags & 0x800 ? 'utf8' : 'latin1', 46, 46 + nameLength);
  if (flags & 1) throw new QdqError('data-invalid', `${file.path}: ${name} is encrypted`);
  if (method !== 0 && method !== 8) {
    throw new QdqError('data-invalid', `${file.path}: ${name} has compression method ${method}, expected stored or deflated`);
  }
  const sizes = { size: bytes.readUInt32LE(24), compressedSize: bytes.readUInt32LE(20), headerOffset: bytes.readUInt32LE(42) };
  const wide = extraField(bytes.subarray(46 + nameLength, 46 + nameLength + extraLength), 1);
  let at = 0;
  for (const key of ['size', 'compressedSize', 'headerOffset'] as const) {
    if (sizes[key] !== 0xffffffff) continue;
    if (!wide || at + 8 > wide.length) throw damaged(file);
    sizes[key] = Number(wide.readBigUInt64LE(at));
    at += 8;
  }
  return { name, compression: method ? 'deflated' : 'stored', crc32: bytes.readUInt32LE(16), ...sizes };
}

function extraField(bytes: Buffer, id: number): Buffer | undefined {
  for (let at = 0; at + 4 <= bytes.length; ) {
    const end = at + 4 + bytes.readUInt16LE(at + 2);
    if (bytes.readUInt16LE(at) === id) return bytes.subarray(at + 4, end);
    at = end;
  }
  return undefined;
}

function damaged(file: OpenFile): QdqError {
  return new QdqError('data-invalid', `${file.path}: the npz (zip) file is damaged`, 'write it again with np.savez');
}
