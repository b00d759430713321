import assert from 'node:assert/strict';
import { chmodSync, cpSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openData } from '../../src/data/open-data.js';
import { assertFails, collect, floats, folderWith, row, ROW_INPUT, valuesOf } from './support.js';

const namesOf = async (...args: Parameters<typeof openData>): Promise<readonly string[]> => (await openData(...args)).names();

test('openData reads a folder of npz files by sorted name, as often as wanted', async (t) => {
  const folder = folderWith(t, { 'b.npz': row(2), 'a.npz': row(1), 'c.npz': row(3), 'notes.txt': 'not data', '.hidden.npz': row(9) });
  const data = await openData({ paths: [folder] }, ROW_INPUT);
  assert.equal(data.total, 3);
  for (let pass = 0; pass < 2; pass++) {
    const samples = await collect(data);
    assert.deepEqual(samples.map(({ name }) => name), ['a.npz', 'b.npz', 'c.npz']);
    assert.deepEqual(samples.map(({ inputs }) => valuesOf(inputs.get('x'))), [[1, 2, 3], [2, 3, 4], [3, 4, 5]]);
  }
});

test('openData names samples below the folder with /, at any depth, and follows links once', async (t) => {
  const folder = folderWith(t, { 'z.npz': row(1), 'cat/b.npz': row(2), 'cat/deep/a.npy': floats([1, 3], [7, 8, 9]) });
  symlinkSync(folder, join(folder, 'cat', 'loop'));
  symlinkSync(join(folder, 'gone'), join(folder, 'broken.npz'));
  assert.deepEqual(await namesOf({ paths: [folder] }, ROW_INPUT), ['cat/b.npz', 'cat/deep/a.npy', 'z.npz']);
});

test('openData joins paths, drops repetitions and keeps names apart', async (t) => {
  const folder = folderWith(t, { 'one/a.npz': row(1), 'one/b.npz': row(2), 'two/a.npz': row(3) });
  const one = join(folder, 'one');
  assert.deepEqual(await namesOf({ paths: [one, join(one, 'a.npz'), join(one, '.', 'b.npz')] }, ROW_INPUT), ['a.npz', 'b.npz']);
  const names = await namesOf({ paths: [one, join(folder, 'two')] }, ROW_INPUT);
  assert.deepEqual(names, [join(one, 'a.npz'), join(one, 'b.npz'), join(folder, 'two', 'a.npz')]);
});

test('openData reads samples only when they are asked for', async (t) => {
  const folder = folderWith(t, { 'a.npz': row(1), 'b.npz': 'not a zip file', 'c.npz': row(3) });
  const data = await openData({ paths: [folder] }, ROW_INPUT);
  const kept = await collect(data.filter((name) => name !== 'b.npz'));
  assert.deepEqual(kept.map(({ name }) => name), ['a.npz', 'c.npz']);
  await assertFails(() => collect(data), 'data-invalid', /b\.npz: is not a complete npz/);
});

test('openData applies the split before the limit', async (t) => {
  const folder = folderWith(t, Object.fromEntries(['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((name) => [`${name}.npz`, row(0)])));
  const names = (split: string, limit?: number) => namesOf({ paths: [folder], split, ...(limit && { limit }) }, ROW_INPUT);
  assert.deepEqual(await names('even'), ['a.npz', 'c.npz', 'e.npz', 'g.npz']);
  assert.deepEqual(await names('even', 2), ['a.npz', 'e.npz']);
  assert.deepEqual(await names('odd'), ['b.npz', 'd.npz', 'f.npz']);
  assert.equal((await names('50%')).length, 4);
});

test('openData refuses a split that leaves nothing, and an absurd limit', async (t) => {
  const paths = [folderWith(t, { 'a.npz': row(1) })];
  await assertFails(() => openData({ paths, split: 'odd' }, ROW_INPUT), 'data-empty', /--split odd leaves none of 1 samples/);
  await assertFails(() => openData({ paths, limit: 0 }, ROW_INPUT), 'usage', /--limit 0/);
});

test('openData tells a missing path, an empty folder and a foreign file apart', async (t) => {
  const folder = folderWith(t, { 'model.onnx': 'x', 'empty/readme.md': 'x' });
  await assertFails(() => openData({ paths: [join(folder, 'gone')] }, ROW_INPUT), 'file-not-found', /gone: no such file or folder/);
  await assertFails(() => openData({ paths: [join(folder, 'empty')] }, ROW_INPUT), 'data-empty', /empty: the folder holds no samples, expected \.npz/);
  await assertFails(() => openData({ paths: [join(folder, 'model.onnx')] }, ROW_INPUT), 'data-invalid', /model\.onnx: not a kind of data/);
  await assertFails(() => openData({ paths: [] }, ROW_INPUT), 'usage', /no data given/);
  await assertFails(() => openData({ paths: [folder] }, []), 'data-invalid', /the model has no inputs/);
});

test('openData tells files that it may not read', { skip: process.getuid?.() === 0 && 'root may read everything' }, async (t) => {
  const folder = folderWith(t, { 'a.npz': row(1) });
  chmodSync(join(folder, 'a.npz'), 0);
  await assertFails(async () => collect(await openData({ paths: [folder] }, ROW_INPUT)), 'file-unreadable', /a\.npz: cannot be read/);
});

test('openData gives an npy file to the only input', async (t) => {
  const folder = folderWith(t, { 'a.npy': floats([1, 3], [1, 2, 3]) });
  const [sample] = await collect(await openData({ paths: [folder] }, ROW_INPUT));
  assert.deepEqual(valuesOf(sample!.inputs.get('x')), [1, 2, 3]);
  const two = [...ROW_INPUT, { name: 'y', dtype: 'float32' }] as const;
  await assertFails(async () => collect(await openData({ paths: [folder] }, two)), 'data-invalid', /a\.npy holds one array, but the model has 2 inputs: "x", "y"/);
});

test('openData names the sample, the input, what was expected and what came', async (t) => {
  const folder = folderWith(t, { 'a.npz': row(1), 'b.npz': new Map([['x', floats([1, 4], [1, 2, 3, 4])]]) });
  const data = await openData({ paths: [folder] }, ROW_INPUT);
  await assertFails(() => collect(data), 'data-invalid', /^b\.npz: input "x" expects float32\[N,3\], received float32\[1,4\]$/);
});

test('a digest stands for the content and not for the container or the name', async (t) => {
  const folder = folderWith(t, { 'a.npz': row(1), 'b.npy': row(1).get('x')!, 'c.npz': row(2) });
  const [a, b, c] = await collect(await openData({ paths: [folder] }, ROW_INPUT));
  assert.match(a!.digest, /^[0-9a-f]{64}$/);
  assert.equal(b!.digest, a!.digest);
  assert.notEqual(c!.digest, a!.digest);
});

test('openData takes shapes for open dimensions, and checks them', async (t) => {
  const paths = [folderWith(t, { 'a.npz': row(1) })];
  await assertFails(() => openData({ paths, shapes: { y: [1] } }, ROW_INPUT), 'usage', /--shape names "y", expected "x"/);
  await assertFails(() => openData({ paths, shapes: { x: [1, 4] } }, ROW_INPUT), 'usage', /--shape x=1,4 does not fit input "x" float32\[N,3\]/);
  await assertFails(() => openData({ paths, shapes: { x: [-1, 3] } }, ROW_INPUT), 'usage', /--shape x=-1,3/);
  const data = await openData({ paths, shapes: { x: [2, 3] } }, ROW_INPUT);
  await assertFails(() => collect(data), 'data-invalid', /expects float32\[2,3\], received float32\[1,3\]/);
});

test('a spec survives being sent to another process', async (t) => {
  const folder = folderWith(t, { 'a.npz': row(1), 'b.npz': row(2) });
  const spec = { paths: [folder], split: 'odd', limit: 3, shapes: { x: [1, 3] } };
  assert.deepEqual(await namesOf(JSON.parse(JSON.stringify(spec)) as typeof spec, ROW_INPUT), ['b.npz']);
  cpSync(join(folder, 'a.npz'), join(folder, 'c.npz'));
  assert.deepEqual(await namesOf({ paths: [folder], split: 'even' }, ROW_INPUT), ['a.npz', 'c.npz']);
});
