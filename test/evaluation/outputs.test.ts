import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { unzipSync } from 'fflate';
import { decodeNpy } from '../../src/data/decode-npy.js';
import { outputsTask } from '../../src/evaluation/outputs.js';
import { numbersOf } from '../../src/tensor/values.js';
import { floats } from '../metrics/tensors.js';
import { recordingContext, stage, writeSamples } from './workshop.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-outputs-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** y = −x, and the index of its largest element in each row. */
const model = stage(folder, 'model.onnx', (g) => {
  const x = g.input('x', ['n', 'm']);
  g.output(g.op('y', 'Neg', [x]), g.op('best', 'ArgMax', [x], { attributes: { axis: 1, keepdims: 0 } }));
});

const data = writeSamples(folder, 'data', { 'b/2': { x: floats([2, 2], [1, 2, 4, 3]) }, 'a/1': { x: floats([1, 2], [5, 6]) } });

async function write(to?: string, from = data, threads = 1) {
  return outputsTask.run({ model, data: from, threads, ...(to === undefined ? {} : { to: join(folder, to) }) }, recordingContext());
}

/** The arrays of an npz file: type, shape and numbers. */
async function readNpz(...path: string[]): Promise<Record<string, readonly [string, readonly number[], readonly number[]]>> {
  const files = unzipSync(await readFile(join(folder, ...path)));
  return Object.fromEntries(
    Object.entries(files).map(([name, bytes]) => {
      const { dtype, dims, ...rest } = decodeNpy(Buffer.from(bytes), name);
      return [name.replace(/\.npy$/, ''), [dtype, dims, Array.from(numbersOf({ dtype, dims, ...rest }))] as const];
    }),
  );
}

describe('outputsTask', () => {
  test('says what came, and writes nothing where that is not asked for', async () => {
    const before = readdirSync(folder);
    assert.deepEqual(await write(), {
      samples: 2,
      outputs: [
        { name: 'y', type: 'float32', shape: [null, 2] },
        { name: 'best', type: 'int64', shape: [null] },
      ],
      files: [],
    });
    assert.deepEqual(readdirSync(folder), before);
  });

  test('a folder takes one .npz a sample, named after it', async () => {
    const { files } = await write('new/folder');
    assert.deepEqual(files, ['a__1.npz', 'b__2.npz'].map((name) => join(folder, 'new/folder', name)));
    assert.deepEqual(readdirSync(join(folder, 'new/folder')).sort(), ['a__1.npz', 'b__2.npz']);
    assert.deepEqual(await readNpz('new/folder/a__1.npz'), { y: ['float32', [1, 2], [-5, -6]], best: ['int64', [1], [1]] });
    assert.deepEqual(await readNpz('new/folder/b__2.npz'), { y: ['float32', [2, 2], [-1, -2, -4, -3]], best: ['int64', [2], [1, 0]] });
  });

  test('samples whose names come to the same file get one each', async () => {
    const alike = writeSamples(folder, 'alike', { 'a/b': { x: floats([1, 1], [1]) }, a__b: { x: floats([1, 1], [2]) }, 'a__b_2': { x: floats([1, 1], [3]) } });
    const { files } = await write('alike-out', alike);
    assert.equal(new Set(files).size, 3);
    const values = await Promise.all(files.map(async (file) => (await readNpz(file.slice(folder.length + 1)))['y']![2][0]));
    assert.deepEqual(values.sort(), [-1, -2, -3]);
  });

  test('a file takes all samples, joined along axis 0 in the order of their names', async () => {
    const { files } = await write('all.npz');
    assert.deepEqual(files, [join(folder, 'all.npz')]);
    assert.deepEqual(await readNpz('all.npz'), { y: ['float32', [3, 2], [-5, -6, -1, -2, -4, -3]], best: ['int64', [3], [1, 1, 0]] });
  });

  test('the same run gives the same bytes', async () => {
    await write('once.npz');
    await write('twice.npz', data, 2);
    assert.deepEqual(await readFile(join(folder, 'once.npz')), await readFile(join(folder, 'twice.npz')));
  });

  test('a single sample stays as it is in a file, whatever its shape', async () => {
    const scalar = stage(folder, 'scalar.onnx', (g) => void g.output(g.op('y', 'ReduceSum', [g.input('x', ['n', 'm'])], { attributes: { keepdims: 0 } })));
    const one = writeSamples(folder, 'one', { a: { x: floats([1, 2], [5, 6]) } });
    await outputsTask.run({ model: scalar, data: one, threads: 1, to: join(folder, 'scalar.npz') }, recordingContext());
    assert.deepEqual(await readNpz('scalar.npz'), { y: ['float32', [], [11]] });
  });

  test('shapes that cannot be joined are refused, with the way out; nothing is written', async () => {
    const uneven = writeSamples(folder, 'uneven', { a: { x: floats([1, 2], [1, 2]) }, b: { x: floats([1, 3], [1, 2, 3]) } });
    await assert.rejects(write('uneven.npz', uneven), (error: Error & { code?: string; hint?: string }) => {
      assert.equal(error.code, 'data-invalid');
      assert.match(error.message, /^output "y" has other shapes for other samples and cannot be joined in .*uneven\.npz$/);
      assert.match(error.hint ?? '', /a folder/);
      return true;
    });
    assert.equal(existsSync(join(folder, 'uneven.npz')), false);
    const { outputs } = await write('uneven', uneven);
    assert.deepEqual(outputs[0], { name: 'y', type: 'float32', shape: [1, null] });
    assert.deepEqual(await readNpz('uneven/b.npz'), { y: ['float32', [1, 3], [-1, -2, -3]], best: ['int64', [1], [2]] });
  });

  test('scalars of several samples cannot be joined', async () => {
    const scalar = stage(folder, 'scalars.onnx', (g) => void g.output(g.op('y', 'ReduceSum', [g.input('x', ['n', 'm'])], { attributes: { keepdims: 0 } })));
    const run = outputsTask.run({ model: scalar, data, threads: 1, to: join(folder, 'scalars.npz') }, recordingContext());
    await assert.rejects(run, { code: 'data-invalid' });
  });

  test('a folder that cannot be made is an error', async () => {
    writeFileSync(join(folder, 'file'), '');
    await assert.rejects(write('file/folder'), { code: 'file-unwritable' });
  });

  test('tells its progress, and warnings of the data', async () => {
    const context = recordingContext();
    await outputsTask.run({ model, data: { paths: ['random:2'], shapes: { x: [1, 3] } }, threads: 1 }, context);
    assert.deepEqual(context.events, [1, 2].map((done) => ({ stage: 'running', done, unit: 'samples', total: 2 })));
    assert.deepEqual(context.warnings.map(({ code }) => code), ['random-data']);
  });
});
