import assert from 'node:assert/strict';
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { QdqError } from '../../src/errors.js';
import type { Model } from '../../src/graph/model.js';
import type { ExternalDataMode } from '../../src/onnx/external-data-modes.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { externalStorages } from '../../src/onnx/model-tensors.js';
import { readModel } from '../../src/onnx/read-model.js';
import { writeModel } from '../../src/onnx/write-model.js';
import { quantize } from '../../src/quantize.js';
import { DeferredStorage } from '../../src/tensor/deferred-storage.js';
import { Session } from '../../src/runtime/session.js';
import { parseModel } from '../helpers/graph-text.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';

/** Two readers of one weight, and a weight of their own. */
const text = `
  opset 13
  input x float32[2,64]
  const w float32[64,64] ~1
  const v float32[64,32] ~2
  a = MatMul(x, w)
  b = MatMul(a, w)
  y = MatMul(b, v)
  output y`;

function written(t: TestContext): string {
  const model = join(temporaryFolder(t), 'model.onnx');
  writeFileSync(model, encodeModel(parseModel(text)));
  return model;
}

async function quantizeTo(model: string, output: string, externalData?: ExternalDataMode): Promise<Model> {
  await quantize({ model, output, mode: 'dynamic', externalData });
  return readModel(output);
}

test('external data: auto follows the input, always and never do not', async (t) => {
  const single = written(t);
  const out = `${single}.int8.onnx`;
  assert.equal(externalStorages(await quantizeTo(single, out)).length, 0);
  assert.ok(!existsSync(`${out}.data`), 'small weights of a single file stay in one');
  const places = externalStorages(await quantizeTo(single, out, 'always')).map(({ location, offset, byteLength }) => ({ location, offset, byteLength }));
  assert.deepEqual(places, [{ location: 'model.onnx.int8.onnx.data', offset: 0, byteLength: 4096 }, { location: 'model.onnx.int8.onnx.data', offset: 4096, byteLength: 2048 }]);
  assert.equal(statSync(`${out}.data`).size, 4096 + 2048, 'the weight with two readers is there once, on a page of its own');

  const apart = join(temporaryFolder(t), 'apart.onnx');
  await writeModel(apart, await readModel(single), { externalData: 'always' });
  const folder = temporaryFolder(t);
  assert.equal(externalStorages(await quantizeTo(apart, join(folder, 'auto.onnx'))).length, 2);
  assert.equal(externalStorages(await quantizeTo(apart, join(folder, 'never.onnx'), 'never')).length, 0);
  assert.deepEqual(readdirSync(folder).sort(), ['auto.onnx', 'auto.onnx.data', 'never.onnx']);
  const x = tensorFromArray('float32', [2, 64], Float32Array.from({ length: 128 }, (_, i) => Math.sin(i)));
  const outputs: Uint8Array[] = [];
  for (const name of ['auto.onnx', 'never.onnx']) {
    const session = await Session.open(join(folder, name));
    outputs.push((await session.run(new Map([['x', x]]))).get('y')!.storage.read());
    await session.release();
  }
  assert.deepEqual(outputs[0], outputs[1]);
});

test('two weights that share their bytes in a side file share their integers', async (t) => {
  const folder = temporaryFolder(t);
  const model = join(folder, 'tied.onnx');
  const parsed = parseModel(text.replace('const v float32[64,32] ~2', 'const v float32[64,64] ~1'));
  const { storage } = parsed.graph.initializers.get('w')!;
  const initializers = new Map([...parsed.graph.initializers].map(([name, tensor]) => [name, { ...tensor, storage }]));
  await writeModel(model, { ...parsed, graph: { ...parsed.graph, initializers } }, { externalData: 'always' });
  assert.equal(statSync(`${model}.data`).size, 64 * 64 * 4);
  const quantized = await quantizeTo(model, join(folder, 'tied.int8.onnx'));
  assert.equal(statSync(join(folder, 'tied.int8.onnx.data')).size, 64 * 64);
  assert.equal(externalStorages(quantized).length, 2);
});

test('more than a protobuf message holds is an error only where one file was asked for, with the way out', async (t) => {
  const folder = temporaryFolder(t);
  const model = parseModel('opset 13\ninput x float32[2]\nconst w float32[2] ~1\ny = Add(x, w)\noutput y');
  const byteLength = 3 * 2 ** 30;
  const storage = new DeferredStorage(byteLength, () => assert.fail('it is not read'));
  const initializers = new Map([['w', { dtype: 'float32', dims: [byteLength / 4], storage } as const]]);
  await assert.rejects(writeModel(join(folder, 'out.onnx'), { ...model, graph: { ...model.graph, initializers } }, { externalData: 'never' }), (error) => {
    assert.ok(error instanceof QdqError);
    assert.match(error.message, /3221225472 bytes .* more than the 2147483647 /);
    assert.match(error.hint!, /--external-data auto or always/);
    return true;
  });
  assert.deepEqual(readdirSync(folder), []);
});
