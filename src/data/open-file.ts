import { open } from 'node:fs/promises';
import { messageOf, QdqError } from '../errors.js';

/** A file open for reading at any place. */
export interface OpenFile {
  readonly path: string;
  readonly size: number;
  /** Exactly `length` bytes from `offset`; throws QdqError `data-invalid` where the file ends before. */
  read(offset: number, length: number): Promise<Buffer>;
}

/** The largest piece read in one call, below the 2 GiB that the system call takes. */
const CHUNK = 2 ** 30;

/** Runs `use` with the file open, and closes it. Throws QdqError `file-not-found` or `file-unreadable`. */
export async function withFile<T>(path: string, use: (file: OpenFile) => Promise<T>): Promise<T> {
  const handle = await open(path).catch((error: unknown) => {
    throw readError(path, error);
  });
  try {
    const { size } = await handle.stat();
    const read = async (offset: number, length: number): Promise<Buffer> => {
      if (offset < 0 || length < 0 || offset + length > size) {
        throw new QdqError('data-invalid', `${path}: the file ends early: expected ${offset + length} bytes, received ${size}`);
      }
      const bytes = Buffer.allocUnsafeSlow(length);
      for (let done = 0; done < length; ) {
        const { bytesRead } = await handle.read(bytes, done, Math.min(CHUNK, length - done), offset + done);
        if (!bytesRead) throw new QdqError('file-unreadable', `${path}: the file became shorter while being read`);
        done += bytesRead;
      }
      return bytes;
    };
    return await use({ path, size, read });
  } catch (error) {
    throw error instanceof QdqError ? error : readError(path, error);
  } finally {
    await handle.close();
  }
}

/** The error for a path that cannot be read. */
export function readError(path: string, cause: unknown): QdqError {
  const { code } = cause as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new QdqError('file-not-found', `${path}: no such file or folder`, undefined, { cause });
  }
  return new QdqError('file-unreadable', `${path}: cannot be read: ${messageOf(cause)}`, undefined, { cause });
}
