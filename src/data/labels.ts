import { readFile } from 'node:fs/promises';
import { posix } from 'node:path';
import { messageOf, QdqError } from '../errors.js';
import { readError } from './open-file.js';

/** Class indices by sample name. */
export interface Labels {
  /** Where they come from, for messages. */
  readonly source: string;
  /** By path, base name, or either with `#row`. */
  readonly byName: ReadonlyMap<string, number>;
  /** By row of a stacked file, where the labels are a plain list. */
  readonly byRow: readonly number[];
  /** Class names by index, where labels come from folders. */
  readonly classes: readonly string[] | undefined;
}

/**
 * Reads labels from JSON (`{ "file": index }`, `[["file", index]]`, or `[index]` in the order of the rows of stacked data) or from CSV
 * (`file,index`, with or without a header row). Throws QdqError `file-not-found`, `file-unreadable` or `data-invalid`.
 */
export async function readLabels(path: string): Promise<Labels> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw readError(path, error);
  });
  const pairs = /^\s*[[{]/.test(text) ? parseJson(text, path) : await parseCsv(text, path);
  if (!pairs.length) throw new QdqError('data-invalid', `${path}: holds no labels`);
  const byName = new Map<string, number>();
  const byRow: number[] = [];
  for (const [file, value] of pairs) {
    const index = typeof value === 'string' && /^\d+$/.test(value.trim()) ? Number(value) : value;
    if (typeof index !== 'number' || !Number.isSafeInteger(index) || index < 0) {
      const place = file ?? `row ${byRow.length}`;
      throw new QdqError('data-invalid', `${path}: ${place} has the label ${JSON.stringify(value)}, expected a class index`);
    }
    if (file === undefined) byRow.push(index);
    else byName.set(normalize(file), index);
  }
  return { source: path, byName: withBaseNames(byName), byRow, classes: undefined };
}

/** Labels from the first folders of sample names: sorted, they are the classes 0, 1, …. Undefined where a sample is in none. */
export function labelsFromFolders(names: readonly string[]): Labels | undefined {
  if (!names.length || !names.every((name) => name.includes('/'))) return undefined;
  const folderOf = (name: string): string => name.slice(0, name.indexOf('/'));
  const classes = [...new Set(names.map(folderOf))].sort();
  const byName = new Map(names.map((name) => [name, classes.indexOf(folderOf(name))]));
  return { source: 'folder names', byName, byRow: [], classes };
}

/**
 * The class index of a sample: by its name, else by the name without the data folder's path, and for rows of a stack by the row. An
 * extension that only one side has, as in `a.jpg` and `a.jpg.npz` or `a`, does not matter.
 */
export function labelOf(labels: Labels, sampleName: string): number | undefined {
  const name = normalize(sampleName);
  const base = posix.basename(name);
  for (const key of [name, base, stem(name), stem(base)]) {
    const label = labels.byName.get(key);
    if (label !== undefined) return label;
  }
  const row = /#(\d+)$/.exec(name)?.[1];
  return (row === undefined ? undefined : labels.byRow[Number(row)]) ?? undefined;
}

/** How many of the samples have a label. */
export function countLabeled(labels: Labels, names: readonly string[]): number {
  return names.filter((name) => labelOf(labels, name) !== undefined).length;
}

/** The labels also by base name, except where files of the same base name differ in their label. */
function withBaseNames(byName: ReadonlyMap<string, number>): Map<string, number> {
  const all = new Map<string, number>();
  const differing = new Set<string>();
  for (const [name, label] of byName) {
    const base = posix.basename(name);
    if ((all.get(base) ?? label) !== label) differing.add(base);
    all.set(base, label);
  }
  for (const base of differing) all.delete(base);
  return new Map([...all, ...byName]);
}

function parseJson(text: string, path: string): [string | undefined, unknown][] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new QdqError('data-invalid', `${path}: is not JSON: ${messageOf(cause)}`, undefined, { cause });
  }
  if (!Array.isArray(value)) return Object.entries(value as object);
  return value.map((item: unknown) => {
    if (!Array.isArray(item)) return [undefined, item];
    if (item.length !== 2 || typeof item[0] !== 'string') {
      throw new QdqError('data-invalid', `${path}: expected ["file", index], received ${JSON.stringify(item)}`);
    }
    return [item[0], item[1] as unknown];
  });
}

async function parseCsv(text: string, path: string): Promise<[string, unknown][]> {
  const { parse } = await import('csv-parse/sync');
  let rows: string[][];
  try {
    rows = parse(text, { bom: true, skip_empty_lines: true, trim: true, relax_column_count: true });
  } catch (cause) {
    throw new QdqError('data-invalid', `${path}: is not CSV: ${messageOf(cause)}`, undefined, { cause });
  }
  const short = rows.find((row) => row.length < 2);
  if (short) throw new QdqError('data-invalid', `${path}: expected rows "file,index", received ${JSON.stringify(short.join(','))}`);
  const hasHeader = rows.length > 0 && !/^\d+$/.test(rows[0]![1]!);
  return rows.slice(hasHeader ? 1 : 0).map(([file, label]) => [file!, label]);
}

function normalize(name: string): string {
  return name.replaceAll('\\', '/').replace(/^\.\//, '');
}

function stem(name: string): string {
  return name.replace(/\.[^./#]+(?=#\d+$|$)/, '');
}
