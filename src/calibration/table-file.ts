import { readFile } from 'node:fs/promises';
import { QdqError, messageOf } from '../errors.js';
import { writeFileAtomic } from '../onnx/atomic-file.js';
import { encodeBins } from './bins-text.js';
import { sortObservations, type CalibrationTable } from './calibration-table.js';
import { parseTable } from './parse-table.js';
import type { TensorRecord } from './tensor-record.js';

/** Writes a table; the same table gives the same bytes. Throws QdqError `file-unwritable`. */
export async function writeTable(path: string, table: CalibrationTable): Promise<void> {
  await writeFileAtomic(path, tableText(table));
}

/** Reads a table. Throws QdqError: `file-not-found`, `file-unreadable`, or `table-invalid` with the field that is wrong. */
export async function readTable(path: string): Promise<CalibrationTable> {
  return parseTable(await readText(path), path);
}

/** The text of a table: JSON with one line for each sample and each tensor. */
export function tableText(table: CalibrationTable): string {
  const { samples, tensors, nonFinite, sampled } = sortObservations(table);
  const lines = [
    ...(['schema', 'version', 'runtime', 'model'] as const).map((key) => `${JSON.stringify(key)}: ${JSON.stringify(table[key])}`),
    `"sampled": ${sampled}`,
    `"samples": ${list(samples.map(({ name, sha256 }) => JSON.stringify({ name, sha256 })))}`,
    `"tensors": {${block(Object.entries(tensors).map(([name, record]) => `${JSON.stringify(name)}: ${recordText(record)}`))}}`,
    `"nonFinite": ${list(nonFinite.map(({ tensor, sample, nan, inf }) => JSON.stringify({ tensor, sample, nan, inf })))}`,
  ];
  return `{\n${lines.join(',\n')}\n}\n`;
}

function recordText({ dtype, dims, samples, count, sampled, bins, ...observed }: TensorRecord): string {
  return JSON.stringify({ dtype, dims, samples, count, sampled, ...observed, bins: encodeBins(bins) });
}

function list(lines: readonly string[]): string {
  return `[${block(lines)}]`;
}

function block(lines: readonly string[]): string {
  return lines.length === 0 ? '' : `\n${lines.join(',\n')}\n`;
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      const hint = 'Make one with: qdq calibrate MODEL --data PATH -o TABLE.';
      throw new QdqError('file-not-found', `${path} does not exist; expected a calibration table`, hint, { cause: error });
    }
    const hint = 'Give the path of a table that qdq calibrate wrote.';
    throw new QdqError('file-unreadable', `${path} cannot be read: ${messageOf(error)}`, hint, { cause: error });
  }
}
