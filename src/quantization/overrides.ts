import { readFile } from 'node:fs/promises';
import { QdqError, messageOf } from '../errors.js';

/** What a user fixes by hand. */
export interface Overrides {
  /** Ranges by value name; they replace what calibration saw. */
  readonly ranges: Readonly<Record<string, readonly [number, number]>>;
  /** Globs of node names that stay in float. */
  readonly float: readonly string[];
  /** Globs of node names that are quantized dynamically in a model whose other nodes are static. */
  readonly dynamic: readonly string[];
  /** Globs of node names that stay static however much the ranges of their activations vary. */
  readonly static: readonly string[];
}

export const NO_OVERRIDES: Overrides = { ranges: {}, float: [], dynamic: [], static: [] };

/**
 * Reads `{ "ranges": { "value": [min, max] }, "float": ["glob"], "dynamic": ["glob"], "static": ["glob"] }`. Throws QdqError `file-not-found`, or `usage` where the content is
 * something else.
 */
export async function readOverrides(path: string): Promise<Overrides> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new QdqError('file-not-found', `${path} cannot be read: ${messageOf(cause)}`, 'Check the path given to --overrides.', { cause });
  }
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw new QdqError('usage', `${path} is not JSON: ${messageOf(cause)}`, FORM, { cause });
  }
  if (!isObject(content)) throw new QdqError('usage', `${path} holds no object`, FORM);
  const { ranges = {}, ...lists } = content;
  const [unknown] = Object.keys(lists).filter((name) => !(LISTS as readonly string[]).includes(name));
  if (unknown !== undefined) throw new QdqError('usage', `${path}: unknown field "${unknown}"`, FORM);
  if (!isObject(ranges) || !Object.values(ranges).every(isRange)) throw new QdqError('usage', `${path}: "ranges" must map value names to [min, max]`, FORM);
  const globs = (name: (typeof LISTS)[number]): readonly string[] => {
    const list = lists[name] ?? [];
    if (!Array.isArray(list) || !list.every((glob) => typeof glob === 'string')) throw new QdqError('usage', `${path}: "${name}" must list node names`, FORM);
    return list;
  };
  return { ranges: ranges as Overrides['ranges'], float: globs('float'), dynamic: globs('dynamic'), static: globs('static') };
}

const LISTS = ['float', 'dynamic', 'static'] as const;

const FORM = 'Expected { "ranges": { "value": [min, max] }, "float": ["node name or glob"] }, and in the same way "dynamic" and "static".';

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isRange(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && value.every(Number.isFinite) && (value[0] as number) <= (value[1] as number);
}
