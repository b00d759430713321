import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, extname, join, relative, resolve, sep } from 'node:path';
import { QdqError } from '../errors.js';
import { readError } from './open-file.js';

/** Kinds of data that a path can hold. */
export type DataKind = 'array' | 'image' | 'test-set';

/** A file, or the folder of a test set, that gives samples. */
export interface DataFile {
  readonly kind: DataKind;
  readonly path: string;
  /** Path below the data folder with `/`, or the base name of a file given by itself. */
  readonly name: string;
  /** The folder that was given, or the one that holds the given file. */
  readonly root: string;
}

const KINDS: Readonly<Record<string, DataKind>> = {
  '.npz': 'array',
  '.npy': 'array',
  '.png': 'image',
  '.jpg': 'image',
  '.jpeg': 'image',
  '.webp': 'image',
  '.gif': 'image',
  '.tif': 'image',
  '.tiff': 'image',
  '.avif': 'image',
};

const LOOKED_FOR = 'expected .npz, .npy, images (.png .jpg .jpeg .webp .gif .tif .tiff .avif) or test_data_set_*/input_0.pb';

/**
 * The data files at a path: the file itself, or all below a folder, hidden ones left out, sorted by name.
 * Throws QdqError `file-not-found`, `file-unreadable`, `data-empty` for a folder without any, `data-invalid` for another kind of file.
 */
export async function listFiles(path: string): Promise<DataFile[]> {
  const info = await stat(path).catch((error: unknown) => {
    throw readError(path, error);
  });
  if (!info.isDirectory()) {
    const kind = KINDS[extname(path).toLowerCase()];
    if (!kind) {
      throw new QdqError('data-invalid', `${path}: not a kind of data that qdq reads, ${LOOKED_FOR}, or a reader module (.mjs, .js)`);
    }
    return [{ kind, path, name: basename(path), root: resolve(path, '..') }];
  }
  const files: DataFile[] = [];
  await collect(path, { root: path, files, visited: new Set() });
  if (!files.length) throw new QdqError('data-empty', `${path}: the folder holds no samples, ${LOOKED_FOR}`);
  return files.sort((a, b) => (a.name < b.name ? -1 : 1));
}

interface Walk {
  readonly root: string;
  readonly files: DataFile[];
  /** Real paths of folders, since links can lead back up. */
  readonly visited: Set<string>;
}

async function collect(folder: string, walk: Walk): Promise<void> {
  const real = await realpath(folder);
  if (walk.visited.has(real)) return;
  walk.visited.add(real);
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    throw readError(folder, error);
  });
  const add = (kind: DataKind, path: string): void => {
    const name = relative(walk.root, path).split(sep).join('/') || basename(resolve(path));
    walk.files.push({ kind, path, name, root: walk.root });
  };
  if (entries.some(({ name }) => name === 'input_0.pb')) { add('test-set', folder); return; }
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.name.startsWith('.')) continue;
    const path = join(folder, entry.name);
    const isFolder = entry.isSymbolicLink() ? await stat(path).then((info) => info.isDirectory(), () => undefined) : entry.isDirectory();
    if (isFolder) await collect(path, walk);
    const kind = KINDS[extname(entry.name).toLowerCase()];
    if (isFolder === false && kind) add(kind, path);
  }
}
