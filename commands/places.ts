import { stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { QdqError } from '../src/errors.js';
import { AtomicFile } from '../src/onnx/atomic-file.js';

/** Where a command is to write. */
export interface Place {
  /** The option that named it, for messages. */
  readonly option: string;
  readonly path: string;
  /** A folder that takes files, and is made where it is missing. */
  readonly isFolder?: boolean;
}

/**
 * Makes sure, before work begins, that all places can be written and that none of them is a file that is read, or another place. Throws
 * QdqError `file-unwritable` or `usage`.
 */
export async function checkPlaces(places: readonly Place[], inputs: readonly string[]): Promise<void> {
  const seen = new Map<string, string>();
  for (const input of inputs) seen.set(await identityOf(input), input);
  for (const { option, path, isFolder } of places) {
    const identity = await identityOf(path);
    const other = seen.get(identity);
    if (other !== undefined) throw new QdqError('usage', `${option} ${path} would overwrite ${other}`, 'Name another file.');
    seen.set(identity, `what ${option} names`);
    await (isFolder ? checkFolder(option, path) : tryToCreate(path));
  }
}

/** Two names of one file, by links too, have one identity. */
async function identityOf(path: string): Promise<string> {
  const info = await stat(path).catch(() => undefined);
  return info ? `${info.dev}:${info.ino}` : resolve(path);
}

async function checkFolder(option: string, path: string): Promise<void> {
  let existing = resolve(path);
  for (;;) {
    const info = await stat(existing).catch(() => undefined);
    if (info?.isDirectory()) break;
    if (info) throw new QdqError('file-unwritable', `${option} ${path}: ${existing} is a file; expected a folder.`, 'Name a folder, or a file that ends in .npz.');
    existing = dirname(existing);
  }
  await tryToCreate(join(existing, 'output'));
}

/** The only sure test of permissions is to create a file. */
async function tryToCreate(path: string): Promise<void> {
  const file = await AtomicFile.create(path);
  await file.abort();
}
