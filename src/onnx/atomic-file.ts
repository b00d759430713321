import { rmSync } from 'node:fs';
import { mkdir, open, realpath, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { QdqError, messageOf } from '../errors.js';
import { removeAbandoned, temporaryFileName } from './temporary-names.js';

/** Temporary files and folders that are in use. */
const live = new Set<string>();

/**
 * A file that appears complete or not at all: bytes go to a temporary file in the same folder, and `commit` puts it in place.
 * Every method throws QdqError('file-unwritable') where the system refuses.
 */
export class AtomicFile {
  readonly path: string;
  /** Where its bytes are until `commit`. */
  readonly temporaryPath: string;
  readonly #target: string;
  readonly #handle: FileHandle;
  readonly #sizeBytes: number | undefined;
  #isOpen = true;

  private constructor(path: string, target: string, temporary: string, handle: FileHandle, sizeBytes: number | undefined) {
    this.path = path;
    this.temporaryPath = temporary;
    this.#target = target;
    this.#handle = handle;
    this.#sizeBytes = sizeBytes;
  }

  /**
   * Starts a file. `sizeBytes`, where known, is what messages say that was needed. A link is followed, not replaced. With a `folder` the temporary
   * file lies there, under the name that the file will have.
   */
  static async create(path: string, sizeBytes?: number, folder?: TemporaryFolder): Promise<AtomicFile> {
    const target = await targetOf(path);
    if (!folder) await removeAbandoned(dirname(target));
    const temporary = folder ? join(folder.path, basename(path)) : join(dirname(target), temporaryFileName());
    live.add(temporary);
    try {
      return new AtomicFile(path, target, temporary, await open(temporary, 'wx'), sizeBytes);
    } catch (error) {
      live.delete(temporary);
      throw unwritable(path, sizeBytes, error);
    }
  }

  /** Appends bytes. */
  async write(bytes: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < bytes.length; ) {
        done += (await this.#handle.write(bytes, done, bytes.length - done)).bytesWritten;
      }
    } catch (error) {
      throw unwritable(this.path, this.#sizeBytes, error);
    }
  }

  /** Sends what was written so far to the disk, so that `commit` need not wait for all of it at once. */
  async flush(): Promise<void> {
    try {
      await this.#handle.datasync();
    } catch (error) {
      throw unwritable(this.path, this.#sizeBytes, error);
    }
  }

  /** Ends the file and flushes it to disk; nothing can be written to it any more. On failure nothing is left behind. */
  async finish(): Promise<void> {
    if (!this.#isOpen) return;
    try {
      await this.#handle.sync();
      await this.#close();
    } catch (error) {
      await this.abort();
      throw unwritable(this.path, this.#sizeBytes, error);
    }
  }

  /** Finishes the file and puts it in place of what was there. On failure nothing is left behind. */
  async commit(): Promise<void> {
    await this.finish();
    try {
      await rename(this.temporaryPath, this.#target);
      live.delete(this.temporaryPath);
    } catch (error) {
      await this.abort();
      throw unwritable(this.path, this.#sizeBytes, error);
    }
  }

  /** Removes the temporary file. After `commit` it does nothing. */
  async abort(): Promise<void> {
    if (!live.has(this.temporaryPath)) return;
    await this.#close().catch(() => undefined);
    await rm(this.temporaryPath, { force: true }).catch(() => undefined);
    live.delete(this.temporaryPath);
  }

  async #close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await this.#handle.close();
  }
}

/** A folder beside a file that is to be written, for what has to lie together before it is put in place. */
export class TemporaryFolder {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Makes one in the folder of `path`; `sizeBytes`, where known, is what messages say that was needed. Throws QdqError('file-unwritable'). */
  static async beside(path: string, sizeBytes?: number): Promise<TemporaryFolder> {
    const parent = dirname(await targetOf(path));
    await removeAbandoned(parent);
    const folder = new TemporaryFolder(join(parent, temporaryFileName()));
    live.add(folder.path);
    try {
      await mkdir(folder.path);
    } catch (error) {
      live.delete(folder.path);
      throw unwritable(path, sizeBytes, error);
    }
    return folder;
  }

  /** Removes it with what is in it. */
  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true }).catch(() => undefined);
    live.delete(this.path);
  }
}

/** Writes a whole file; it appears complete or not at all. Throws QdqError('file-unwritable'). */
export async function writeFileAtomic(path: string, content: Uint8Array | string): Promise<void> {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  const file = await AtomicFile.create(path, bytes.length);
  try {
    await file.write(bytes);
    await file.commit();
  } finally {
    await file.abort();
  }
}

/** Removes, at once, every temporary file and folder in use: for handlers of interrupts. */
export function removeTemporaryFiles(): void {
  for (const path of live) {
    try {
      rmSync(path, { recursive: true, force: true });
    } catch {
      // The process is ending; a file that cannot be removed must not hide why.
    }
  }
  live.clear();
}

/** Replacing a device or a pipe by a file would break it for everybody, so only regular files are replaced. */
async function targetOf(path: string): Promise<string> {
  const existing = await stat(path).catch(() => undefined);
  if (!existing) return path;
  if (existing.isFile()) return realpath(path);
  const what = existing.isDirectory() ? 'a folder' : 'not a regular file';
  throw new QdqError('file-unwritable', `Cannot write ${path}: it is ${what}.`, 'Give the path of a file.');
}

function unwritable(path: string, sizeBytes: number | undefined, cause: unknown): QdqError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  const needed = sizeBytes === undefined ? '' : ` (${sizeBytes} bytes are needed)`;
  const folder = dirname(path);
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new QdqError(
        'file-unwritable',
        `Cannot write ${path}${needed}: the folder ${folder} does not exist.`,
        `Create it first: mkdir -p ${folder}`,
        { cause },
      );
    case 'ENOSPC':
    case 'EDQUOT':
      return new QdqError(
        'file-unwritable',
        `Cannot write ${path}: no space left on its disk${needed}.`,
        'Free some space, or write to another place.',
        { cause },
      );
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new QdqError(
        'file-unwritable',
        `Cannot write ${path}${needed}: no permission to write in ${folder}.`,
        'Write to another place, or change the permissions of the folder.',
        { cause },
      );
    default:
      return new QdqError('file-unwritable', `Cannot write ${basename(path)} in ${folder}${needed}: ${messageOf(cause)}`, undefined, {
        cause,
      });
  }
}
