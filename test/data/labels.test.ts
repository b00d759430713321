import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { countLabeled, labelOf, labelsFromFolders, readLabels } from '../../src/data/labels.js';
import { assertFails, folderWith } from './support.js';

test('readLabels reads objects, pairs and CSV with and without a header', async (t) => {
  const folder = folderWith(t, {
    'object.json': '{ "a.png": 3, "dir/b.png": "1" }',
    'pairs.json': '[["a.png", 3], ["dir/b.png", 1]]',
    'plain.csv': 'a.png,3\n"dir/b.png", 1\n',
    'header.csv': '\ufefffile,label\r\na.png,3\r\ndir/b.png,1\r\n\r\n',
  });
  for (const file of ['object.json', 'pairs.json', 'plain.csv', 'header.csv']) {
    const labels = await readLabels(join(folder, file));
    assert.equal(labelOf(labels, 'a.png'), 3, file);
    assert.equal(labelOf(labels, 'dir/b.png'), 1, file);
    assert.equal(labelOf(labels, 'c.png'), undefined, file);
  }
});

test('labelOf matches by name, by base name on either side, and without the extension', async (t) => {
  const labels = await readLabels(join(folderWith(t, { 'l.json': '{ "val/a.png": 1, "b": 2, "x/same.png": 3, "y/same.png": 4, "c.jpg": 5 }' }), 'l.json'));
  assert.equal(labelOf(labels, 'val/a.png'), 1);
  assert.equal(labelOf(labels, 'a.png'), 1);
  assert.equal(labelOf(labels, './other/a.png'), 1);
  assert.equal(labelOf(labels, 'deep/b.npz'), 2);
  assert.equal(labelOf(labels, 'c.jpg.npz'), 5);
  assert.equal(labelOf(labels, 'y/same.png'), 4);
  assert.equal(labelOf(labels, 'same.png'), undefined, 'ambiguous');
});

test('labelOf gives a list to the rows of stacked data', async (t) => {
  const folder = folderWith(t, { 'list.json': '[7, 8, 9]', 'rows.json': '{ "x.npy#2": 1 }' });
  const list = await readLabels(join(folder, 'list.json'));
  assert.deepEqual(['x.npy#0', 'dir/x.npy#02', 'x.npy#3', 'x.npy'].map((name) => labelOf(list, name)), [7, 9, undefined, undefined]);
  assert.equal(labelOf(await readLabels(join(folder, 'rows.json')), 'x.npy#2'), 1);
});

test('labelsFromFolders numbers the sorted folders', () => {
  const names = ['dog/1.png', 'cat/2.png', 'cat/sub/3.png'];
  const labels = labelsFromFolders(names)!;
  assert.deepEqual(labels.classes, ['cat', 'dog']);
  assert.deepEqual(names.map((name) => labelOf(labels, name)), [1, 0, 0]);
  assert.equal(labelsFromFolders([...names, '4.png']), undefined);
  assert.equal(labelsFromFolders([]), undefined);
});

test('countLabeled counts the samples that have a label', async (t) => {
  const labels = await readLabels(join(folderWith(t, { 'l.json': '{ "a": 0, "b": 1 }' }), 'l.json'));
  assert.equal(countLabeled(labels, ['a.npz', 'b.npz', 'c.npz']), 2);
});

test('readLabels refuses what is not a class index', async (t) => {
  const folder = folderWith(t, {
    'name.json': '{ "a": "cat" }',
    'fraction.json': '{ "a": 1.5 }',
    'negative.csv': 'a,1\nb,-1\n',
    'nested.json': '[["a", 1, 2]]',
    'broken.json': '{ "a": ',
    'short.csv': 'a\nb\n',
    'empty.json': '{}',
    'empty.csv': '',
    'quote.csv': 'a,"1\n',
  });
  const read = (file: string) => () => readLabels(join(folder, file));
  await assertFails(read('name.json'), 'data-invalid', /name\.json: a has the label "cat", expected a class index/);
  await assertFails(read('fraction.json'), 'data-invalid', /a has the label 1\.5/);
  await assertFails(read('negative.csv'), 'data-invalid', /b has the label "-1"/);
  await assertFails(read('nested.json'), 'data-invalid', /expected \["file", index\]/);
  await assertFails(read('broken.json'), 'data-invalid', /broken\.json: is not JSON/);
  await assertFails(read('short.csv'), 'data-invalid', /short\.csv: expected rows "file,index"/);
  await assertFails(read('empty.json'), 'data-invalid', /holds no labels/);
  await assertFails(read('empty.csv'), 'data-invalid', /holds no labels/);
  await assertFails(read('quote.csv'), 'data-invalid', /quote\.csv: is not CSV/);
  await assertFails(read('gone.csv'), 'file-not-found', /gone\.csv: no such file/);
});
