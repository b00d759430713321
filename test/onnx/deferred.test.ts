import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { readModel } from '../../src/onnx/read-model.js';
import { writeModel } from '../../src/onnx/write-model.js';
import { DeferredStorage } from '../../src/tensor/deferred-storage.js';
import { parseModel } from '../helpers/graph-text.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

const LENGTH = 20 * 2 ** 20;

/** A model with a large and a small constant whose bytes are computed, and the ranges that were asked for. */
function deferredModel() {
  const asked: [number, number][] = [];
  const storage = (byteLength: number) =>
    new DeferredStorage(byteLength, (offset, length) => {
      asked.push([offset, length]);
      return Uint8Array.from({ length }, (_, i) => (offset + i) % 251);
    });
  const model = parseModel('opset 13\ninput x uint8[4]\ny = Concat(x, large, small) axis=0\noutput y');
  const initializers = new Map([
    ['large', { dtype: 'uint8', dims: [LENGTH], storage: storage(LENGTH) } as const],
    ['small', { dtype: 'uint8', dims: [10], storage: storage(10) } as const],
  ]);
  return { model: { ...model, graph: { ...model.graph, initializers } }, asked };
}

const expected = (length: number) => Buffer.from(Uint8Array.from({ length }, (_, i) => i % 251));

test('deferred bytes are computed in chunks, into a side file, once', async (t) => {
  const { model, asked } = deferredModel();
  const path = join(temporaryFolder(t), 'model.onnx');
  const progress: number[] = [];
  const { files } = await writeModel(path, model, { onBytes: (done) => progress.push(done) });
  assert.equal(files.length, 2);
  assert.deepEqual(asked.filter(([, length]) => length > 10), [[0, 8 * 2 ** 20], [8 * 2 ** 20, 8 * 2 ** 20], [16 * 2 ** 20, 4 * 2 ** 20]]);
  assert.deepEqual(progress, [8, 16, 20].map((mebibytes) => mebibytes * 2 ** 20));
  const { graph } = await readModel(path);
  for (const [name, length] of [['large', LENGTH], ['small', 10]] as const) assert.ok(expected(length).equals(graph.initializers.get(name)!.storage.read()), name);
});

for (const write of ['in one file', 'as bytes'] as const) {
  test(`deferred bytes ${write}`, async (t) => {
    const { model } = deferredModel();
    const path = join(temporaryFolder(t), 'model.onnx');
    if (write === 'as bytes') await import('node:fs/promises').then(({ writeFile }) => writeFile(path, encodeModel(model)));
    else assert.deepEqual((await writeModel(path, model, { externalData: 'never' })).files, [path]);
    const { graph } = await readModel(path);
    for (const [name, length] of [['large', LENGTH], ['small', 10]] as const) assert.ok(expected(length).equals(graph.initializers.get(name)!.storage.read()), name);
  });
}

test('weights in a side file are quantized from there, tensor by tensor, to the same integers as from memory', async (t) => {
  const { quantize } = await import('../../src/quantize.js');
  const folder = temporaryFolder(t);
  const model = parseModel(`
    opset 13
    input x float32[2,64]
    const w float32[64,48] ~1
    const g float32[32,48] ~2
    const b float32[32] ~3
    h = MatMul(x, w)
    y = Gemm(h, g, b) transB=1
    output y
  `);
  const results = [];
  for (const externalData of ['never', 'always'] as const) {
    const path = join(folder, `${externalData}.onnx`);
    await writeModel(path, model, { externalData });
    const output = join(folder, `${externalData}.int8.onnx`);
    const { integer } = await quantize({ model: path, output, mode: 'dynamic' });
    assert.equal(integer?.integerNodes, 2);
    const { graph } = await readModel(output);
    results.push([...graph.initializers].map(([name, { dtype, dims, storage }]) => [name, dtype, dims, Buffer.from(storage.read()).toString('base64')]));
  }
  assert.deepEqual(results[1], results[0]);
});
