import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { zipSync } from 'fflate';
import { encodeNpy } from '../../src/data/encode-npy.js';
import { openData } from '../../src/data/open-data.js';
import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { assertFails, collect, fixture, floats, folderWith, ROW_INPUT, valuesOf } from './support.js';

const stack = (rows: number): Tensor => floats([rows, 3], Array.from({ length: rows * 3 }, (_, i) => i));

test('stacked arrays give one sample for each row', async (t) => {
  const folder = folderWith(t, { 'a.npz': new Map([['x', stack(12)]]) });
  const data = await openData({ paths: [folder], stacked: true }, ROW_INPUT);
  assert.equal(data.total, 12);
  const samples = await collect(data);
  assert.deepEqual(samples.slice(0, 2).map(({ name }) => name), ['a.npz#00', 'a.npz#01']);
  assert.deepEqual(samples[11]!.inputs.get('x')!.dims, [1, 3]);
  assert.deepEqual(valuesOf(samples[11]!.inputs.get('x')), [33, 34, 35]);
});

test('stacked rows are the same from npy, stored, deflated and Fortran-ordered arrays', async (t) => {
  const folder = folderWith(t, {
    'deflated.npz': zipSync({ 'x.npy': encodeNpy(stack(4)) }, { level: 9 }),
    'plain.npy': stack(4),
    'stored.npz': new Map([['x', stack(4)]]),
  });
  const samples = await collect(await openData({ paths: [folder], stacked: true }, ROW_INPUT));
  assert.equal(samples.length, 12);
  for (const [i, { inputs }] of samples.entries()) {
    const first = (i % 4) * 3;
    assert.deepEqual(valuesOf(inputs.get('x')), [first, first + 1, first + 2]);
  }
  const cube = await collect(await openData({ paths: [fixture('fortran.npy')], stacked: true }, [{ name: 'x', dtype: 'int16' }]));
  assert.deepEqual(cube.map(({ inputs }) => valuesOf(inputs.get('x'))), [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]);
});

test('stacked text keeps its rows', async () => {
  const samples = await collect(await openData({ paths: [fixture('text.npy')], stacked: true }, [{ name: 'x', dtype: 'string', shape: [1, 2] }]));
  assert.deepEqual(samples.map(({ inputs }) => inputs.get('x')!.strings), [['ab', 'é😀'], ['', 'xyz']]);
});

test('stacking drops the axis where the model has none for it, and shares scalars', async (t) => {
  const rate = tensorFromArray('int32', [], Int32Array.of(16000));
  const folder = folderWith(t, { 'a.npz': new Map([['x', stack(2)], ['rate', rate]]) });
  const inputs = [
    { name: 'x', dtype: 'float32', shape: [3] },
    { name: 'rate', dtype: 'int32', shape: [] },
  ] as const;
  const samples = await collect(await openData({ paths: [folder], stacked: true }, inputs));
  assert.deepEqual(samples.map((sample) => sample.inputs.get('x')!.dims), [[3], [3]]);
  assert.deepEqual(samples.map((sample) => valuesOf(sample.inputs.get('rate'))), [[16000], [16000]]);
});

test('stacked rows can be split and limited', async (t) => {
  const folder = folderWith(t, { 'a.npy': stack(10) });
  const data = await openData({ paths: [folder], stacked: true, split: 'odd', limit: 2 }, ROW_INPUT);
  assert.deepEqual(await data.names(), ['a.npy#1', 'a.npy#5']);
  assert.deepEqual((await collect(data)).map(({ inputs }) => valuesOf(inputs.get('x'))[0]), [3, 15]);
});

test('stacking refuses arrays of different lengths, without rows, or without an axis', async (t) => {
  const folder = folderWith(t, {
    'uneven.npz': new Map([['x', stack(2)], ['y', stack(3)]]),
    'none.npy': stack(0),
    'scalar.npy': floats([], [1]),
  });
  const open = (name: string) => openData({ paths: [join(folder, name)], stacked: true }, ROW_INPUT);
  await assertFails(() => open('uneven.npz'), 'data-invalid', /uneven\.npz: .*"x" has 2 rows and "y" 3/);
  await assertFails(() => open('none.npy'), 'data-empty', /none\.npy: no samples/);
  await assertFails(() => open('scalar.npy'), 'data-invalid', /scalar\.npy: no array has an axis 0/, /leave out --stacked/);
});
