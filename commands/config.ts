import { readFile } from 'node:fs/promises';
import { CommanderError, type Command, type Option } from 'commander';
import { messageOf, QdqError } from '../src/errors.js';
import { RepeatableOption } from './options.js';

/** Options that say where options come from, or that nothing runs. */
const NOT_IN_CONFIG = new Set(['config', 'help', 'version']);

/**
 * Gives a command the options of a config file that its command line left open. Options of other commands are passed over, so that one
 * file serves all. Throws QdqError `file-not-found`, or `usage` for names and values that no command knows.
 */
export async function applyConfig(command: Command, path: string): Promise<void> {
  const values = await readConfig(path);
  for (const [name, value] of Object.entries(values)) {
    const owner = [command, command.parent].find((candidate) => candidate && optionOf(candidate, name));
    if (!owner) {
      if (!isKnown(command, name)) throw new QdqError('usage', `${path}: unknown option "${name}"`, `Names are the long options without dashes; see qdq ${command.name()} --help.`);
      continue;
    }
    const option = optionOf(owner, name)!;
    const key = option.attributeName();
    if (owner.getOptionValueSource(key) === 'cli') continue;
    owner.setOptionValueWithSource(key, valueOf(option, value, `${path}: "${name}"`), 'config');
  }
}

async function readConfig(path: string): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new QdqError('file-not-found', `${path} cannot be read: ${messageOf(cause)}`, 'Check the path given to --config.', { cause });
  }
  let values: unknown;
  try {
    values = JSON.parse(text);
  } catch (cause) {
    throw new QdqError('usage', `${path} is not JSON: ${messageOf(cause)}`, FORM, { cause });
  }
  if (typeof values !== 'object' || values === null || Array.isArray(values)) throw new QdqError('usage', `${path}: expected a JSON object`, FORM);
  return values as Record<string, unknown>;
}

const FORM = 'Expected long options without dashes, such as { "data": ["calibration/"], "method": "mse", "per-tensor": true }.';

function optionOf(command: Command, name: string): Option | undefined {
  return NOT_IN_CONFIG.has(name) ? undefined : command.options.find((option) => option.long === `--${name}`);
}

function isKnown(command: Command, name: string): boolean {
  return command.parent?.commands.some((other) => optionOf(other, name)) ?? false;
}

function valueOf(option: Option, value: unknown, where: string): unknown {
  if (option.isBoolean() || option.negate) {
    if (typeof value !== 'boolean') throw misfit(where, 'true or false', value);
    return option.negate ? !value : value;
  }
  const repeatable = option.variadic || option instanceof RepeatableOption;
  const list: unknown[] = repeatable && Array.isArray(value) ? value : [value];
  if (!list.every((item) => typeof item === 'string' || typeof item === 'number')) {
    throw misfit(where, repeatable ? 'a text, a number, or a list of them' : 'a text or a number', value);
  }
  if (!option.parseArg) return option.variadic ? list.map(String) : String(value);
  const parse = option.parseArg;
  try {
    return list.reduce<unknown>((before, item) => parse(String(item), before), undefined);
  } catch (error) {
    if (error instanceof CommanderError) throw new QdqError('usage', `${where} is ${JSON.stringify(value)}. ${error.message}`);
    throw error;
  }
}

function misfit(where: string, expected: string, value: unknown): QdqError {
  return new QdqError('usage', `${where}: expected ${expected}, received ${JSON.stringify(value)}`, FORM);
}
