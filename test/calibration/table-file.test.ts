import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { mergeTables, requireTableFor, TABLE_SCHEMA, type CalibrationTable } from '../../src/calibration/calibration-table.js';
import { readTable, tableText, writeTable } from '../../src/calibration/table-file.js';
import { TensorObserver } from '../../src/calibration/tensor-observer.js';
import type { QdqError } from '../../src/errors.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { noise } from './models.js';

function tableOf(names: readonly string[], sha256 = 'aa'): CalibrationTable {
  const observer = new TensorObserver({ dtype: 'float32', dims: [9_000] });
  for (const name of names) observer.add(tensorFromArray('float32', [9_000], noise(9_000, name.charCodeAt(0))));
  return {
    schema: TABLE_SCHEMA,
    version: '0.1.0',
    runtime: 'onnxruntime-node 1.30.0',
    model: { name: 'model.onnx', sha256 },
    sampled: false,
    samples: names.map((name) => ({ name, sha256: name.repeat(8) })),
    tensors: { 'b "x"': observer.record(), a: new TensorObserver({ dtype: 'int64', dims: [] }).record() },
    nonFinite: names.map((sample) => ({ tensor: 'a', sample, nan: 1, inf: 0 })),
  };
}

test('a table that was written reads back as it was, in one file', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'ranges.json');
  const table = tableOf(['p', 'q']);
  await writeTable(path, table);
  assert.deepEqual(await readTable(path), table);
  assert.deepEqual(await readdir(folder), ['ranges.json']);
  assert.equal(await readFile(path, 'utf8'), tableText(table));
  assert.doesNotThrow(() => JSON.parse(tableText(table)) as unknown);
});

test('shards merge to the bytes of the whole, in any order', () => {
  const whole = tableText(tableOf(['p', 'q', 'r']));
  const [p, q, r] = ['p', 'q', 'r'].map((name) => tableOf([name])) as [CalibrationTable, CalibrationTable, CalibrationTable];
  assert.equal(tableText(mergeTables(mergeTables(p, q), r)), whole);
  assert.equal(tableText(mergeTables(r, mergeTables(q, p))), whole);
});

test('of each tensor, the first eight samples with non-finite values are named', () => {
  const names = ['z', 'y', 'x', 'w', 'v', 'u', 't', 's', 'r', 'q', 'p'];
  const merged = names.map((name) => tableOf([name])).reduce(mergeTables);
  assert.deepEqual(merged.nonFinite.map(({ sample }) => sample), ['p', 'q', 'r', 's', 't', 'u', 'v', 'w']);
});

test('a table of another model is refused', () => {
  const mismatch = (error: QdqError) => error.code === 'table-mismatch' && error.message.includes('bb') && error.message.includes('aa');
  assert.throws(() => mergeTables(tableOf(['p']), tableOf(['q'], 'bb')), mismatch);
  assert.throws(() => requireTableFor(tableOf(['p']), { name: 'other.onnx', sha256: 'bb' }), mismatch);
  requireTableFor(tableOf(['p']), { name: 'renamed.onnx', sha256: 'aa' });
});

test('what is no table is refused with the field that is wrong', async (t) => {
  const folder = temporaryFolder(t);
  const text = tableText(tableOf(['p']));
  const cases: readonly (readonly [string, RegExp])[] = [
    ['', /Unexpected end/],
    [text.slice(0, 500), /JSON|string/],
    ['[1]', /the file: expected an object, received \[1\]/],
    ['{}', /schema: expected "qdq.table\/1", received nothing/],
    [text.replace('qdq.table/1', 'qdq.table/9'), /schema: expected "qdq.table\/1", received "qdq.table\/9"/],
    [text.replace('"sha256":"aa"', '"sha256":7'), /model.sha256: expected a text, received 7/],
    [text.replace('"dtype":"float32"', '"dtype":"float31"'), /tensors.b "x".dtype: expected an element type, received "float31"/],
    [text.replace('"samples":1', '"samples":-1'), /tensors.* expected a count, received -1/],
    [text.replace('"nan":0', '"nan":null'), /the figures of every observer/],
    [text.replace(/"bins":"..../, '"bins":"????'), /bins: expected encoded bins/],
    [text.replace(/"bins":"/, '"bins":"/////w8B'), /bins: expected encoded bins/],
  ];
  for (const [content, message] of cases) {
    const path = join(folder, 'broken.json');
    await writeFile(path, content);
    await assert.rejects(readTable(path), (error: QdqError) => {
      assert.equal(error.code, 'table-invalid');
      assert.match(error.message, message);
      return true;
    });
  }
  await assert.rejects(readTable(join(folder, 'none.json')), { code: 'file-not-found' });
  await assert.rejects(readTable(folder), { code: 'file-unreadable' });
});
