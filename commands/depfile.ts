import { access, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { listFiles, type DataFile } from '../src/data/list-files.js';
import { PREPROCESSOR_CONFIG } from '../src/data/preprocessor-config.js';
import { isReaderModule } from '../src/data/reader-module.js';
import { writeFileAtomic } from '../src/onnx/atomic-file.js';
import { externalStorages } from '../src/onnx/model-tensors.js';
import { readModel } from '../src/onnx/read-model.js';

/** What an output is made from. */
export interface Dependencies {
  readonly model: string;
  /** As given with --data. */
  readonly data: readonly string[] | undefined;
  /** Other files, where they were given. */
  readonly files: readonly (string | undefined)[];
}

/**
 * Writes a Makefile rule `OUTPUT: MODEL data files…`, and an empty rule for each file after the model, so that `make` does not fail where a
 * sample is gone. Throws QdqError `file-unwritable`.
 */
export async function writeDepfile(path: string, output: string, { model, data = [], files }: Dependencies): Promise<void> {
  const sideFiles = externalStorages(await readModel(model)).map((storage) => storage.path);
  const given = files.filter((file) => file !== undefined);
  const lists = await Promise.all(data.map(dataFiles));
  const others = [...new Set([...sideFiles, ...given, ...lists.flat()])];
  await writeFileAtomic(path, makefileRules(output, model, others));
}

/** The text of the rules. */
export function makefileRules(output: string, model: string, others: readonly string[]): string {
  const rule = `${escapeTarget(output)}: ${[model, ...others].map(escape).join(' \\\n  ')}\n`;
  return [rule, ...others.map((file) => `${escapeTarget(file)}:\n`)].join('\n');
}

async function dataFiles(path: string): Promise<string[]> {
  if (path.startsWith('random:')) return [];
  if (isReaderModule(path) || path.endsWith(PREPROCESSOR_CONFIG)) return [path];
  const files = await listFiles(path);
  const lists = await Promise.all(files.map(filesOf));
  return [...lists.flat(), ...(await preprocessorConfigs(files))];
}

async function filesOf({ kind, path }: DataFile): Promise<string[]> {
  if (kind !== 'test-set') return [path];
  const names = await readdir(path);
  return names.filter((name) => /^input_\d+\.pb$/.test(name)).sort().map((name) => join(path, name));
}

/** The files that decide how pictures are prepared where no option does. */
async function preprocessorConfigs(files: readonly DataFile[]): Promise<string[]> {
  const roots = new Set(files.filter(({ kind }) => kind === 'image').map(({ root }) => root));
  const candidates = [...roots].flatMap((root) => [join(root, PREPROCESSOR_CONFIG), join(root, '..', PREPROCESSOR_CONFIG)]);
  const found = await Promise.all(candidates.map((path) => access(path).then(() => [path], () => [])));
  return found.flat();
}

/** As GNU make reads names. Source: its manual, "Rule Syntax" and "What Makefiles Contain". */
function escape(path: string): string {
  return path.replace(/\\(?=\\*[ #:])/g, '\\\\').replace(/[ #:]/g, '\\$&').replaceAll('$', '$$$$');
}

/** Only among targets does % stand for a pattern. */
function escapeTarget(path: string): string {
  return escape(path).replaceAll('%', '\\%');
}
