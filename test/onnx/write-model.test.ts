import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { QdqError } from '../../src/errors.js';
import type { Model } from '../../src/graph/model.js';
import { readMessage, type Message } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/model-codec.js';
import { readModel } from '../../src/onnx/read-model.js';
import { writeModel } from '../../src/onnx/write-model.js';
import { memoryStorage, tensorFromArray, type Tensor, type TensorStorage } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { externalTensor, modelWith } from './small-model.js';

const numbers = (count: number, from = 0) => Float32Array.from({ length: count }, (_, i) => from + i);
const float32 = (array: Float32Array) => tensorFromArray('float32', [array.length], array);

function withInitializers(model: Model, initializers: Record<string, Tensor>): Model {
  return { ...model, graph: { ...model.graph, initializers: new Map(Object.entries(initializers)) } };
}

const plainModel = decodeModel(modelWith({ dims: [2], data_type: 1, raw_data: new Uint8Array(8) }));

function initializersIn(path: string): readonly Message<'TensorProto'>[] {
  return readMessage('ModelProto', readFileSync(path)).graph!.initializer!;
}

function entriesOf(tensor: Message<'TensorProto'>): Record<string, string> {
  return Object.fromEntries(tensor.external_data!.map(({ key, value }) => [key!, value!]));
}

test('a model without side files is one file, with its size and digest', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'out.onnx');
  const bytes = modelWith({ dims: [5000], data_type: 1, raw_data: Buffer.from(numbers(5000).buffer) });
  const model = decodeModel(bytes);
  for (const written of [await writeModel(path, model), await writeModel(path, { ...model })]) {
    assert.deepEqual(written, { sizeBytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex'), files: [path] });
    assert.ok(readFileSync(path).equals(bytes));
  }
  assert.deepEqual(readdirSync(folder), ['out.onnx']);
});

test('always: large initializers go to a side file, aligned, small ones stay', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'out.onnx');
  const tensors = { small: float32(numbers(255)), middle: float32(numbers(256, 1000)), large: float32(numbers(2000, 2000)) };
  const written = await writeModel(path, withInitializers(plainModel, tensors), { externalData: 'always' });
  assert.deepEqual(written.files, [path, `${path}.data`]);
  assert.equal(written.sizeBytes, readFileSync(path).length + readFileSync(`${path}.data`).length);
  assert.equal(written.sha256, createHash('sha256').update(readFileSync(path)).digest('hex'));
  const [small, middle, large] = initializersIn(path);
  assert.equal(small!.raw_data!.length, 1020);
  assert.deepEqual(entriesOf(middle!), { location: 'out.onnx.data', offset: '0', length: '1024' });
  assert.deepEqual(entriesOf(large!), { location: 'out.onnx.data', offset: '4096', length: '8000' });
  const back = await readModel(path);
  for (const [name, tensor] of Object.entries(tensors)) {
    assert.deepEqual(numbersOf(back.graph.initializers.get(name)!), numbersOf(tensor), name);
  }
  assert.deepEqual(readdirSync(folder).sort(), ['out.onnx', 'out.onnx.data']);
});

test('a side file is copied to a new one, and back into a single file', async (t) => {
  const folder = temporaryFolder(t);
  for (const name of ['in', 'out']) mkdirSync(join(folder, name));
  const array = numbers(3000);
  writeFileSync(join(folder, 'in', 'w.bin'), Buffer.concat([Buffer.alloc(100), Buffer.from(array.buffer)]));
  writeFileSync(join(folder, 'in', 'm.onnx'), modelWith(externalTensor(3000, { location: 'w.bin', offset: 100 })));
  const model = await readModel(join(folder, 'in', 'm.onnx'));
  const moved = join(folder, 'out', 'm.onnx');
  await writeModel(moved, model);
  assert.deepEqual(readdirSync(join(folder, 'out')).sort(), ['m.onnx', 'm.onnx.data']);
  assert.deepEqual(numbersOf((await readModel(moved)).graph.initializers.get('w')!), array);

  const single = join(folder, 'out', 'single.onnx');
  assert.deepEqual((await writeModel(single, await readModel(moved), { externalData: 'never' })).files, [single]);
  const expected = modelWith({ dims: [3000], data_type: 1, raw_data: Buffer.from(array.buffer) });
  assert.ok(readFileSync(single).equals(expected));
});

test('in an edited model too: old side-file weights, new names, new weights', async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'w.bin'), Buffer.from(numbers(3000).buffer));
  writeFileSync(join(folder, 'm.onnx'), modelWith(externalTensor(3000, { location: 'w.bin' })));
  const model = await readModel(join(folder, 'm.onnx'));
  const weight = model.graph.initializers.get('w')!;
  const edited = withInitializers(model, { renamed: weight, twice: { ...weight, dims: [3, 1000] }, fresh: float32(numbers(400, 7)) });
  const path = join(folder, 'edited.onnx');
  await writeModel(path, edited);
  assert.equal(readFileSync(`${path}.data`).length, 12032 + 1600, 'the shared weight is there once');
  const back = (await readModel(path)).graph.initializers;
  assert.deepEqual(numbersOf(back.get('renamed')!), numbers(3000));
  assert.deepEqual(back.get('twice')!.dims, [3, 1000]);
  assert.deepEqual(numbersOf(back.get('twice')!), numbers(3000));
  assert.deepEqual(numbersOf(back.get('fresh')!), numbers(400, 7));
});

test('hidden tensors in side files move along', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'out'));
  writeFileSync(join(folder, 'w.bin'), Buffer.from(numbers(1000).buffer));
  const hidden = { ...externalTensor(500, { location: 'w.bin', offset: 2000 }), name: 'hidden' };
  const more = { sparse_initializer: [{ values: hidden, dims: [9000] }] };
  writeFileSync(join(folder, 'm.onnx'), modelWith(externalTensor(500, { location: 'w.bin' }), more));
  const path = join(folder, 'out', 'm.onnx');
  await writeModel(path, await readModel(join(folder, 'm.onnx')));
  const { values } = readMessage('ModelProto', readFileSync(path)).graph!.sparse_initializer![0]!;
  assert.deepEqual(entriesOf(values!), { location: 'm.onnx.data', offset: '2048', length: '2000' });
  assert.deepEqual([...readFileSync(`${path}.data`).subarray(2048)], [...Buffer.from(numbers(500, 500).buffer)]);
});

test('tensors over the same memory are written once', async (t) => {
  const path = join(temporaryFolder(t), 'out.onnx');
  const shared = float32(numbers(2000));
  const again: Tensor = { ...shared, dims: [20, 100], storage: memoryStorage(shared.storage.read().subarray()) };
  await writeModel(path, withInitializers(plainModel, { shared, again, other: float32(numbers(2000)) }), { externalData: 'always' });
  const offsets = initializersIn(path).map((tensor) => entriesOf(tensor)['offset']);
  assert.deepEqual(offsets, ['0', '0', '8192']);
});

test('the same model gives the same bytes', async (t) => {
  const folder = temporaryFolder(t);
  const model = withInitializers(plainModel, { a: float32(numbers(2000)), b: float32(numbers(300)) });
  for (const name of ['1', '2']) {
    mkdirSync(join(folder, name));
    await writeModel(join(folder, name, 'm.onnx'), model, { externalData: 'always' });
  }
  for (const file of ['m.onnx', 'm.onnx.data']) {
    assert.ok(readFileSync(join(folder, '1', file)).equals(readFileSync(join(folder, '2', file))));
  }
});

test('the source is never overwritten by its own weights', async (t) => {
  const folder = temporaryFolder(t);
  const bytes = Buffer.from(numbers(2000).buffer);
  writeFileSync(join(folder, 'out.onnx.data'), bytes);
  writeFileSync(join(folder, 'in.onnx'), modelWith(externalTensor(2000, { location: 'out.onnx.data' })));
  const model = await readModel(join(folder, 'in.onnx'));
  for (const name of ['out.onnx', 'out.onnx.data']) {
    await assert.rejects(writeModel(join(folder, name), model), {
      code: 'file-unwritable',
      message: /out\.onnx\.data holds weights of the model that is read/,
    });
  }
  assert.ok(readFileSync(join(folder, 'out.onnx.data')).equals(bytes));
  assert.deepEqual(readdirSync(folder).sort(), ['in.onnx', 'out.onnx.data']);
});

test('a failure half way leaves no file at all', async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'w.bin'), new Uint8Array(20 * 2 ** 20));
  writeFileSync(join(folder, 'm.onnx'), modelWith(externalTensor(5 * 2 ** 20, { location: 'w.bin' })));
  const model = await readModel(join(folder, 'm.onnx'));
  const { storage } = model.graph.initializers.get('w')!;
  t.mock.method(Object.getPrototypeOf(storage) as TensorStorage, 'readRange', (offset: number, length: number) => {
    if (offset > 0) throw new QdqError('external-data', 'gone');
    return new Uint8Array(length);
  });
  await assert.rejects(writeModel(join(folder, 'out.onnx'), model), { code: 'external-data', message: 'gone' });
  assert.deepEqual(readdirSync(folder).sort(), ['m.onnx', 'w.bin']);
  await assert.rejects(writeModel(join(folder, 'no', 'out.onnx'), model), { code: 'file-unwritable', message: /\d{8} bytes are needed/ });
});

test('more than 2 GB in one file is refused before anything is written', async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'w.bin'), '');
  truncateSync(join(folder, 'w.bin'), 2 ** 31);
  writeFileSync(join(folder, 'm.onnx'), modelWith({ ...externalTensor(2 ** 31, { location: 'w.bin' }), data_type: 2 }));
  const model = await readModel(join(folder, 'm.onnx'));
  await assert.rejects(writeModel(join(folder, 'out.onnx'), model, { externalData: 'never' }), {
    code: 'file-unwritable',
    message: /2147483648 bytes of weights are more than the 2147483647 that an ONNX file holds/,
  });
  assert.deepEqual(readdirSync(folder).sort(), ['m.onnx', 'w.bin']);
});
