import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { encodeNpy } from '../../src/data/encode-npy.js';
import { encodeNpz } from '../../src/data/npz.js';
import { listArrays, readArray } from '../../src/data/array-file.js';
import type { ModelInput } from '../../src/data/model-inputs.js';
import { withFile } from '../../src/data/open-file.js';
import type { Sample } from '../../src/data/sample.js';
import { QdqError, type ErrorCode } from '../../src/errors.js';
import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';

/** A model with one input that takes rows of three floats. */
export const ROW_INPUT: readonly ModelInput[] = [{ name: 'x', dtype: 'float32', shape: ['N', 3] }];

/** Path of a committed fixture. */
export function fixture(name: string): string {
  return fileURLToPath(new URL(`../../../test/data/fixtures/${name}`, import.meta.url));
}

/** A folder with these files that is removed after the test. Maps become npz files, tensors npy files. */
export function folderWith(t: TestContext, files: Record<string, string | Uint8Array | Tensor | ReadonlyMap<string, Tensor>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'qdq-data-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content instanceof Map ? encodeNpz(content) : isTensor(content) ? encodeNpy(content) : (content as string | Uint8Array));
  }
  return folder;
}

/** A float32 tensor. */
export function floats(dims: readonly number[], values: readonly number[]): Tensor {
  return tensorFromArray('float32', dims, Float32Array.from(values));
}

/** One row for a model with `ROW_INPUT`. */
export function row(first: number): ReadonlyMap<string, Tensor> {
  return new Map([['x', floats([1, 3], [first, first + 1, first + 2])]]);
}

/** The elements as plain numbers. */
export function valuesOf(tensor: Tensor | undefined): number[] {
  assert.ok(tensor, 'expected a tensor');
  return Array.from(numbersOf(tensor));
}

/** All samples of a data set. */
export async function collect(data: AsyncIterable<Sample>): Promise<Sample[]> {
  const samples: Sample[] = [];
  for await (const sample of data) samples.push(sample);
  return samples;
}

/** All arrays of an npz file, or the one of an npy file as "x". */
export function readArrays(path: string): Promise<Map<string, Tensor>> {
  return withFile(path, async (file) => {
    const arrays = new Map<string, Tensor>();
    for (const entry of await listArrays(file, ROW_INPUT)) arrays.set(entry.name, await readArray(file, entry));
    return arrays;
  });
}

/** Asserts that work fails with a QdqError of this code, whose message, and hint where given, match. */
export async function assertFails(work: () => unknown, code: ErrorCode, message: RegExp, hint?: RegExp): Promise<void> {
  await assert.rejects(
    async () => work(),
    (error: unknown) => {
      assert.ok(error instanceof QdqError, `expected a QdqError, received ${String(error)}`);
      assert.equal(error.code, code);
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /\n/);
      if (hint) assert.match(error.hint ?? '', hint);
      return true;
    },
  );
}

function isTensor(content: object | string): content is Tensor {
  return typeof content === 'object' && 'storage' in content;
}
