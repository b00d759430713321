import assert from 'node:assert/strict';
import { mkdirSync, realpathSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { QdqError } from '../../src/errors.js';
import { decodeModel, encodeModel } from '../../src/onnx/model-codec.js';
import { modelSize, readModel } from '../../src/onnx/read-model.js';
import { numbersOf } from '../../src/tensor/values.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { externalTensor, modelWith } from './small-model.js';

const weights = Float32Array.from({ length: 8 }, (_, i) => i + 0.5);
const weightBytes = new Uint8Array(weights.buffer);

/** A folder with `m.onnx`, whose weight has the entries given, and the side files given. */
function setUp(t: TestContext, entries: Record<string, string | number | undefined>, sideFiles: Record<string, Uint8Array> = {}) {
  const folder = temporaryFolder(t);
  const path = join(folder, 'm.onnx');
  writeFileSync(path, modelWith(externalTensor(8, entries)));
  for (const [name, bytes] of Object.entries(sideFiles)) {
    mkdirSync(join(folder, name, '..'), { recursive: true });
    writeFileSync(join(folder, name), bytes);
  }
  return { folder, path };
}

function refused(...messages: RegExp[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof QdqError, String(error));
    assert.equal(error.code, 'external-data');
    for (const message of messages) assert.match(error.message, message);
    return true;
  };
}

test('a weight in a side file is read on demand, whole and in ranges', async (t) => {
  const { folder, path } = setUp(t, { location: 'w.bin', offset: 4, length: 32 }, { 'w.bin': Buffer.concat([Buffer.alloc(4, 9), weightBytes]) });
  const model = await readModel(path);
  const tensor = model.graph.initializers.get('w')!;
  assert.equal(tensor.storage.byteLength, 32);
  assert.deepEqual([...numbersOf(tensor)], [...weights]);
  assert.deepEqual([...tensor.storage.readRange(4, 8)], [...weightBytes.subarray(4, 12)]);
  assert.deepEqual([...tensor.storage.readRange(28, 100)], [...weightBytes.subarray(28)], 'no bytes of the neighbors');
  assert.equal(modelSize(path, model), modelWith(externalTensor(8, { location: 'w.bin', offset: 4, length: 32 })).length + 36);
  writeFileSync(join(folder, 'w.bin'), new Uint8Array(36));
  assert.deepEqual([...numbersOf(tensor)], new Array(8).fill(0), 'nothing is held in memory');
});

test('offset and length may be absent, folders below the model are allowed', async (t) => {
  const { path } = setUp(t, { location: 'sub/w.bin' }, { 'sub/w.bin': weightBytes });
  assert.deepEqual([...numbersOf((await readModel(path)).graph.initializers.get('w')!)], [...weights]);
});

test('an edited model keeps pointing to the side file, its entries as they were', async (t) => {
  const entries = { location: 'w.bin', offset: 0, length: 32, checksum: 'abc' };
  const { path, folder } = setUp(t, entries, { 'w.bin': weightBytes });
  const model = await readModel(path);
  const tensor = model.graph.initializers.get('w')!;
  const edited = { ...model, graph: { ...model.graph, initializers: new Map([['w', tensor], ['v', { ...tensor, dims: [2, 4] }]]) } };
  const bytes = encodeModel(edited);
  assert.equal(Buffer.from(bytes).toString('latin1').split('abc').length, 3, 'both name the checksum');
  const back = decodeModel(bytes, { directory: folder });
  assert.deepEqual([...numbersOf(back.graph.initializers.get('v')!)], [...weights]);
  const fresh = { dtype: 'float32', dims: [8], storage: tensor.storage } as const;
  const again = encodeModel({ ...model, graph: { ...model.graph, initializers: new Map([['w', fresh]]) } });
  assert.deepEqual([...numbersOf(decodeModel(again, { directory: folder }).graph.initializers.get('w')!)], [...weights]);
});

test('locations outside the folder of the model are refused before anything is opened', async (t) => {
  for (const location of ['../w.bin', 'a/../../w.bin', 'a\\..\\..\\w.bin', '/etc/hostname', 'C:\\w.bin', '\\\\host\\w.bin', '.']) {
    const { path } = setUp(t, { location });
    await assert.rejects(readModel(path), refused(/m\.onnx: tensor "w" points to /, /outside the model's folder/), location);
  }
});

test('a link that leads outside is refused, one that stays inside is not', async (t) => {
  const outside = temporaryFolder(t);
  writeFileSync(join(outside, 'w.bin'), weightBytes);
  const { folder, path } = setUp(t, { location: 'w.bin' });
  symlinkSync(join(outside, 'w.bin'), join(folder, 'w.bin'));
  await assert.rejects(readModel(path), refused(/outside the model's folder \(it is a link to .*w\.bin\)/));
  rmSync(join(folder, 'w.bin'));
  symlinkSync(outside, join(folder, 'sub'));
  writeFileSync(path, modelWith(externalTensor(8, { location: 'sub/w.bin' })));
  await assert.rejects(readModel(path), refused(/outside the model's folder/));
  writeFileSync(join(folder, 'real.bin'), weightBytes);
  symlinkSync('real.bin', join(folder, 'w.bin'));
  writeFileSync(path, modelWith(externalTensor(8, { location: 'w.bin' })));
  assert.deepEqual([...numbersOf((await readModel(path)).graph.initializers.get('w')!)], [...weights]);
});

test('a model that is a link, as in the Hugging Face cache, has its side files beside the target', async (t) => {
  const folder = realpathSync(temporaryFolder(t));
  for (const name of ['blobs', 'snapshot']) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'blobs', '1'), modelWith(externalTensor(8, { location: 'm.onnx_data' })));
  writeFileSync(join(folder, 'blobs', '2'), weightBytes);
  symlinkSync('../blobs/1', join(folder, 'snapshot', 'm.onnx'));
  symlinkSync('../blobs/2', join(folder, 'snapshot', 'm.onnx_data'));
  const model = await readModel(join(folder, 'snapshot', 'm.onnx'));
  assert.deepEqual([...numbersOf(model.graph.initializers.get('w')!)], [...weights]);
});

test('missing and short side files are found when the model is opened', async (t) => {
  const { folder, path } = setUp(t, { location: 'w.bin', offset: 8 });
  await assert.rejects(readModel(path), refused(/tensor "w" is stored in the side file "w\.bin", which cannot be opened: ENOENT/));
  mkdirSync(join(folder, 'w.bin'));
  await assert.rejects(readModel(path), refused(/expects a file at "w\.bin"/));
  rmSync(join(folder, 'w.bin'), { recursive: true });
  writeFileSync(join(folder, 'w.bin'), weightBytes);
  await assert.rejects(readModel(path), refused(/tensor "w" takes bytes 8 to 40 of "w\.bin", which has only 32 bytes/));
});

test('a side file that shrinks or goes after opening is an error that names the tensor', async (t) => {
  const { folder, path } = setUp(t, { location: 'w.bin' }, { 'w.bin': weightBytes });
  const { storage } = (await readModel(path)).graph.initializers.get('w')!;
  truncateSync(join(folder, 'w.bin'), 20);
  assert.throws(() => storage.read(), refused(/tensor "w" takes bytes 0 to 32 of "w\.bin", which has only 20 bytes/));
  renameSync(join(folder, 'w.bin'), join(folder, 'elsewhere'));
  assert.throws(() => storage.read(), refused(/tensor "w" cannot be read: ENOENT/));
});

test('malformed entries', async (t) => {
  const cases: [Record<string, string | number | undefined>, RegExp][] = [
    [{ offset: 0 }, /names no side file \(expected an external_data entry "location"\)/],
    [{ location: '' }, /names no side file/],
    [{ location: 'w.bin', offset: '-4' }, /has "-4" as its offset in the side file "w\.bin"; expected a byte count/],
    [{ location: 'w.bin', offset: '1e3' }, /has "1e3" as its offset/],
    [{ location: 'w.bin', length: '99999999999999999999' }, /has "9+" as its length/],
    [{ location: 'w.bin', length: 28 }, /has 28 bytes in the side file "w\.bin"; its type and shape take 32/],
    [{ location: 'w\0.bin' }, /cannot be opened/],
  ];
  for (const [entries, message] of cases) {
    const { path } = setUp(t, entries, { 'w.bin': weightBytes });
    await assert.rejects(readModel(path), refused(/m\.onnx: tensor "w" /, message), JSON.stringify(entries));
  }
});

test('side files of tensors that the graph in memory does not show are checked too', async (t) => {
  const { path } = setUp(t, { location: 'w.bin' }, { 'w.bin': weightBytes });
  const hidden = { ...externalTensor(8, { location: '../other.bin' }), name: 'hidden' };
  writeFileSync(path, modelWith(externalTensor(8, { location: 'w.bin' }), { sparse_initializer: [{ values: hidden, dims: [9] }] }));
  await assert.rejects(readModel(path), refused(/tensor "hidden" points to "\.\.\/other\.bin"/));
});

test('a model given as bytes without a folder has no side files', () => {
  const model = decodeModel(modelWith(externalTensor(8, { location: 'w.bin' })));
  const { storage } = model.graph.initializers.get('w')!;
  assert.throws(() => storage.read(), refused(/"w\.bin", but the model was given as bytes without a folder/));
});
