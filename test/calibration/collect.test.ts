import assert from 'node:assert/strict';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { mergeObservations, TABLE_SCHEMA, type Observations } from '../../src/calibration/calibration-table.js';
import { collect as collectOn, type CollectOptions, type CollectResult } from '../../src/calibration/collect.js';
import { tableText } from '../../src/calibration/table-file.js';
import { encodeNpy } from '../../src/data/encode-npy.js';
import type { Model } from '../../src/graph/model.js';
import { createNode } from '../../src/graph/graph-editor.js';
import { readModel } from '../../src/onnx/read-model.js';
import { writeModel } from '../../src/onnx/write-model.js';
import type { ProgressEvent } from '../../src/progress.js';
import { RuntimeHost, type HostOptions } from '../../src/runtime/host.js';
import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { convModel, floatInfo, modelOf, noise, noiseTensor } from './models.js';

const NAMES = ['x', 'c1', 'r1', 'c2', 's', 'f', 'y'];

/** Writes samples, and returns what collects from a model with them. */
function prepare(t: TestContext, model: Model, samples: Readonly<Record<string, Tensor>>, options: HostOptions = {}) {
  const folder = temporaryFolder(t);
  const host = new RuntimeHost(options);
  t.after(() => host.close());
  for (const [name, tensor] of Object.entries(samples)) writeFileSync(join(folder, `${name}.npy`), encodeNpy(tensor));
  return {
    host,
    collect: (changes: Partial<CollectOptions> = {}): Promise<CollectResult> =>
      collectOn(host, { model, externalDataFolder: folder, names: NAMES, data: { paths: [folder] }, ...changes }),
  };
}

/** Pictures, of which some have other sizes. */
function pictures(count: number, sizeOf: (i: number) => readonly [number, number] = () => [64, 64]): Record<string, Tensor> {
  const entries = Array.from({ length: count }, (_, i) => [`p${String(i).padStart(3, '0')}`, noiseTensor([1, 3, ...sizeOf(i)], i + 1)] as const);
  return Object.fromEntries(entries);
}

/** The bytes of a table of these observations. */
function bytesOf({ sampled, samples, tensors, nonFinite }: Observations): string {
  return tableText({ schema: TABLE_SCHEMA, version: '', runtime: '', model: { name: '', sha256: '' }, sampled, samples, tensors, nonFinite });
}

test('collect observes what the runtime computes, whole', async (t) => {
  const { collect } = prepare(t, convModel(), pictures(3));
  const { tensors, samples, sampled, nonFinite } = await collect();
  assert.deepEqual(Object.keys(tensors), ['c1', 'c2', 'f', 'r1', 's', 'x', 'y']);
  assert.deepEqual(samples.map(({ name }) => name), ['p000.npy', 'p001.npy', 'p002.npy']);
  assert.equal(sampled, false);
  assert.deepEqual(nonFinite, []);
  const { bins, ...c1 } = tensors['c1']!;
  assert.equal(bins.count.reduce((a, b) => a + b), 3 * 64 * 64 * 64);
  assert.deepEqual([c1.dtype, c1.dims, c1.samples, c1.count], ['float32', [1, 64, 64, 64], 3, 3 * 64 * 64 * 64]);
  const r1 = tensors['r1']!;
  assert.deepEqual([r1.min, r1.max], [0, c1.max]);
  assert.deepEqual([tensors['s']!.dtype, tensors['s']!.count, tensors['s']!.min], ['int64', 12, null]);
});

test('the fed input is observed as it is', async (t) => {
  const samples = pictures(2);
  const { collect } = prepare(t, convModel(), samples);
  const { tensors } = await collect({ names: ['x'] });
  const all = [1, 2].flatMap((seed) => [...noise(3 * 64 * 64, seed)]);
  assert.equal(tensors['x']!.min, Math.min(...all));
  assert.equal(tensors['x']!.max, Math.max(...all));
});

for (const exact of [true, false]) {
  const how = exact ? 'exact' : 'sampled';

  test(`${how}: the same bytes from any number of workers, and from merged shards`, async (t) => {
    const { collect } = prepare(t, convModel(), pictures(20, (i) => (i % 5 === 3 ? [70, 50] : [64, 64])));
    const here = await collect({ exact, workers: 0 });
    for (const workers of [1, 3]) assert.equal(bytesOf(await collect({ exact, workers })), bytesOf(here), `${workers} workers`);
    const odd = here.samples.filter((_, i) => i % 2 === 1).map(({ name }) => name);
    const even = here.samples.filter((_, i) => i % 2 === 0).map(({ name }) => name);
    const shards = [await collect({ exact, exclude: odd }), await collect({ exact, exclude: even })] as const;
    assert.deepEqual(shards[0].samples.map(({ name }) => name), even);
    if (exact) assert.equal(bytesOf(mergeObservations(...shards)), bytesOf(here));
  });
}

test('sampled: extremes, their spread and counts are those of every element', async (t) => {
  const { collect } = prepare(t, convModel(), pictures(12, (i) => (i > 8 ? [i * 7, 61] : [61, 75])));
  const whole = await collect({ exact: true });
  const grids = await collect({ exact: false });
  assert.equal(grids.sampled, true);
  for (const [name, { bins, sampled, ...record }] of Object.entries(grids.tensors)) {
    const { bins: allBins, sampled: _, ...expected } = whole.tensors[name]!;
    assert.deepEqual(record, expected, name);
    assert.equal(sampled, ['c1', 'r1', 'c2'].includes(name), name);
    if (!sampled) assert.deepEqual(bins, allBins);
  }
  const elements = grids.tensors['c1']!.bins.count.reduce((a, b) => a + b);
  const gridOf = (height: number, width: number) => 64 * Math.ceil(height / 5) * Math.ceil(width / 5);
  assert.equal(elements, 9 * gridOf(61, 75) + [63, 70, 77].reduce((sum, height) => sum + gridOf(height, 61), 0));
});

test('auto counts every element of up to 64 samples', async (t) => {
  const { collect } = prepare(t, convModel(), pictures(65));
  assert.equal((await collect({ exclude: ['p064.npy'] })).sampled, false);
  assert.equal((await collect({ exact: 'auto' })).sampled, true);
});

test('batches are sampled image by image', async (t) => {
  const batches = Object.fromEntries([1, 2].map((i) => [`b${i}`, noiseTensor([3, 3, 40, 40], i)]));
  const { collect } = prepare(t, convModel(), batches);
  const whole = await collect({ exact: true });
  const grids = await collect({ exact: false });
  assert.equal(grids.tensors['c1']!.sampled, true);
  for (const field of ['min', 'max', 'sampleMinHigh', 'sampleMaxLow', 'count'] as const) {
    assert.equal(grids.tensors['c1']![field], whole.tensors['c1']![field], field);
  }
});

test('NaN and infinities are counted and named with their samples', async (t) => {
  const values = (change: (values: Float32Array) => void) => {
    const array = noise(3 * 40 * 40, 5);
    change(array);
    return tensorFromArray('float32', [1, 3, 40, 40], array);
  };
  const samples = {
    a: values(() => undefined),
    b: values((array) => array.fill(NaN, 7, 9)),
    c: values((array) => (array[100] = -Infinity)),
  };
  const { collect } = prepare(t, convModel(), samples);
  const { tensors, nonFinite } = await collect({ names: ['x', 'c1'] });
  assert.deepEqual(nonFinite.filter(({ tensor }) => tensor === 'x'), [
    { tensor: 'x', sample: 'b.npy', nan: 2, inf: 0 },
    { tensor: 'x', sample: 'c.npy', nan: 0, inf: 1 },
  ]);
  assert.deepEqual([tensors['x']!.nan, tensors['x']!.inf], [2, 1]);
  assert.ok(nonFinite.some(({ tensor, sample, nan }) => tensor === 'c1' && sample === 'b.npy' && nan > 0));
  assert.ok(Number.isFinite(tensors['c1']!.min) && Number.isFinite(tensors['c1']!.max));
});

test('sampled: extremes leave out what is not finite, as those of every element do', async (t) => {
  const spoiled = (change: (values: Float32Array) => void) => {
    const values = noise(3 * 64 * 64, 5);
    change(values);
    return tensorFromArray('float32', [1, 3, 64, 64], values);
  };
  const samples = {
    a: spoiled(() => undefined),
    b: spoiled((values) => values.fill(NaN, 64 * 20, 64 * 21)),
    c: spoiled((values) => values.fill(Infinity, 64 * 30, 64 * 31)),
    d: spoiled((values) => values.fill(-Infinity, 64 * 40, 64 * 41)),
    e: spoiled((values) => values.fill(NaN)),
  };
  const { collect } = prepare(t, convModel(), samples);
  for (const name of Object.keys(samples)) {
    const exclude = Object.keys(samples).filter((other) => other !== name).map((other) => `${other}.npy`);
    const whole = await collect({ exact: true, exclude });
    const grids = await collect({ exact: false, exclude });
    for (const tensor of ['c1', 'r1']) {
      const [expected, actual] = [whole.tensors[tensor]!, grids.tensors[tensor]!];
      assert.deepEqual([actual.min, actual.max], [expected.min, expected.max], `${name} ${tensor}`);
      assert.equal(actual.nan > 0, expected.nan > 0, `${name} ${tensor} NaN`);
      assert.equal(actual.inf > 0, expected.inf > 0, `${name} ${tensor} infinite`);
    }
  }
});

test('a sample that the model refuses is named, whoever ran it', async (t) => {
  const samples = { ...pictures(6), p003: noiseTensor([1, 3, 2, 0], 1), p005: noiseTensor([1, 3, 0, 2], 1) };
  const model = modelOf(
    [createNode({ name: 'r', opType: 'Reshape', inputs: ['x', 'shape'], outputs: ['y'] })],
    [floatInfo('x', ['n', 3, 'h', 'w'])],
    [floatInfo('y', [1, 3, 64, 64])],
    { shape: { ...tensorFromArray('int64', [4], BigInt64Array.of(1n, 3n, 64n, 64n)) } },
  );
  const { collect } = prepare(t, model, samples);
  for (const workers of [0, 2]) {
    await assert.rejects(collect({ names: ['y'], workers }), { code: 'runtime-rejected', message: /^sample p003.npy: onnxruntime: / });
  }
  // The host is still of use.
  assert.equal((await collect({ names: ['y'], exclude: ['p003.npy', 'p005.npy'], workers: 2 })).samples.length, 4);
});

test('data of which nothing is left is refused', async (t) => {
  const { collect } = prepare(t, convModel(), pictures(1));
  await assert.rejects(collect({ exclude: ['p000.npy'] }), { code: 'data-empty' });
});

test('progress counts the samples', async (t) => {
  const events: ProgressEvent[] = [];
  const { collect } = prepare(t, convModel(), pictures(5), { onProgress: (event) => events.push(event) });
  await collect({ workers: 2 });
  const told = events.filter(({ stage }) => stage === 'calibrating');
  assert.deepEqual(told.at(-1), { stage: 'calibrating', done: 5, total: 5, unit: 'samples' });
  assert.ok(told.every(({ done }, i) => i === 0 || done > told[i - 1]!.done));
});

test('an abort rejects at once', async (t) => {
  const abort = new AbortController();
  const { collect } = prepare(t, convModel(), pictures(40), { signal: abort.signal, onProgress: ({ done }) => done >= 1 && abort.abort() });
  await assert.rejects(collect({ workers: 2 }), { code: 'interrupted' });
});

test('nothing is left in the temporary folder of the system', async (t) => {
  const { collect, host } = prepare(t, convModel(), pictures(2));
  await collect({ exact: false });
  const folder = dirname(await host.temporaryPath('x'));
  assert.deepEqual(readdirSync(folder).sort(), ['tapped-sampled.onnx', 'tapped-whole.onnx']);
  await host.close();
  assert.equal(existsSync(folder), false);
});

test('weights in side files are found', async (t) => {
  const folder = temporaryFolder(t);
  await writeModel(join(folder, 'model.onnx'), convModel(), { externalData: 'always' });
  const { collect } = prepare(t, convModel(), pictures(3));
  const model = await readModel(join(folder, 'model.onnx'));
  for (const exact of [true, false]) {
    const expected = bytesOf(await collect({ exact }));
    assert.equal(bytesOf(await collect({ exact, model, externalDataFolder: folder, workers: 1 })), expected);
  }
});

test('extremes that the runtime finds are those of the values, bins aside', async (t) => {
  const samples = pictures(4, (i) => (i === 2 ? [48, 80] : [64, 64]));
  const { host, collect } = prepare(t, convModel(), samples);
  const isFloat = (value: string) => value !== 's';
  const whole = await collect();
  const extremes = await collect({ extremesOnly: isFloat });
  const withoutBins = ({ tensors }: CollectResult) => Object.fromEntries(Object.entries(tensors).map(([name, { bins: _, ...record }]) => [name, record]));
  assert.deepEqual(withoutBins(extremes), withoutBins(whole));
  assert.ok(Object.values(extremes.tensors).every(({ bins }) => bins.index.length === 0));
  // The runtime hands out no more than a few numbers of each value.
  const { graph } = await readModel(await host.temporaryPath('tapped-whole.onnx'));
  assert.equal(graph.outputs.length, 6 + 5 * 4);
});

test('where elements are not finite, extremes are of the finite ones', async (t) => {
  const samples = pictures(3);
  const values = Float32Array.from({ length: 3 * 64 * 64 }, (_, i) => (i === 77 ? NaN : i === 4000 ? -Infinity : i === 5000 ? 9 : 0.5));
  const { collect } = prepare(t, convModel(), { ...samples, p001: tensorFromArray('float32', [1, 3, 64, 64], values) });
  const whole = await collect();
  const extremes = await collect({ extremesOnly: (value) => value !== 's' });
  assert.ok(extremes.nonFinite.length > 0);
  assert.deepEqual(extremes.nonFinite, whole.nonFinite);
  assert.deepEqual([extremes.tensors['c1']!.min, extremes.tensors['c1']!.max, extremes.tensors['c1']!.nan], [whole.tensors['c1']!.min, whole.tensors['c1']!.max, whole.tensors['c1']!.nan]);
});
