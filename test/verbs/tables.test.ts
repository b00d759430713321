import assert from 'node:assert/strict';
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { quantize, readModel, type QuantizeOptions } from '../../src/index.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { int64Tensor, tensorFromArray } from '../../src/tensor/tensor.js';
import { parseModel } from '../helpers/graph-text.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { writeSample } from '../cli/tiny-model.js';

const ROWS = 2000;

/** Words are looked up and go through two products. */
function textModel(t: TestContext): { model: string; data: string; folder: string } {
  const folder = temporaryFolder(t);
  const model = join(folder, 'text.onnx');
  const text = `input ids int64[1,16]\nconst table float32[${ROWS},64] ~1\nconst v float32[64,64] ~2\nconst w float32[64,64] ~3\ne = Gather(table, ids)\nh = MatMul(e, v)\nr = Relu(h)\ny = MatMul(r, w)\noutput y float32[1,16,64]`;
  writeFileSync(model, encodeModel(parseModel(text)));
  const data = join(folder, 'data');
  mkdirSync(data);
  for (let i = 0; i < 8; i++) writeSample(join(data, `${i}.npz`), { ids: { ...int64Tensor(Array.from({ length: 16 }, (_, j) => (i * 997 + j * 131) % ROWS)), dims: [1, 16] } });
  return { model, data, folder };
}

test('a table of a static model is stored in integers, with any effort, and a replayed plan stores it too', async (t) => {
  const { model, data, folder } = textModel(t);
  const common: Pick<QuantizeOptions, 'model' | 'data' | 'target' | 'threads'> = { model, data: [data], target: 'ort-x64', threads: 1 };
  const record = join(folder, 'plan.json');
  const searched = await quantize({ ...common, output: join(folder, 'searched.onnx'), planOut: record });
  const plain = await quantize({ ...common, output: join(folder, 'plain.onnx'), effort: 'none' });
  for (const { nodes, changes, integer, output, check } of [searched, plain]) {
    assert.equal(nodes.find(({ opType }) => opType === 'Gather')!.decision, 'weights-only');
    assert.match(changes.find(({ pass }) => pass === 'tables')!.message, /^1 table is stored in s8, 0\.5 MB of floats/);
    const table = [...(await readModel(output!.path)).graph.initializers.values()].find(({ dims }) => dims[0] === ROWS)!;
    assert.equal(table.dtype, 'int8');
    assert.ok(output!.sizeBytes < 0.35 * statSync(model).size, String(output!.sizeBytes));
    assert.equal(integer!.danglingQdqNodes, 0);
    assert.ok(Object.values(check!.sqnrDb).every((sqnr) => sqnr! > 30), JSON.stringify(check!.sqnrDb));
  }
  const again = await quantize({ model, plan: record, output: join(folder, 'again.onnx') });
  assert.equal(again.output!.sha256, searched.output!.sha256);
});

test('a table that the user excludes, and one that is a small part of the model, stay in float', async (t) => {
  const { model, data, folder } = textModel(t);
  const excluded = await quantize({ model, data: [data], output: join(folder, 'excluded.onnx'), effort: 'none', exclude: ['*Gather*', 'e'] });
  assert.equal(excluded.nodes.find(({ opType }) => opType === 'Gather')!.decision, 'float');
  const wide = parseModel(`input x float32[16,4096]\ninput ids int64[16]\nconst table float32[1024,16] ~1\nconst v float32[4096,512] ~2\nconst w float32[512,16] ~3\ne = Gather(table, ids)\nh = MatMul(x, v)\nr = Relu(h)\nm = MatMul(r, w)\ny = Add(m, e)\noutput y float32[16,16]`);
  writeFileSync(join(folder, 'wide.onnx'), encodeModel(wide));
  mkdirSync(join(folder, 'wide'));
  writeSample(join(folder, 'wide', '0.npz'), { x: tensorFromArray('float32', [16, 4096], Float32Array.from({ length: 65536 }, (_, i) => Math.sin(i))), ids: int64Tensor(Array.from({ length: 16 }, (_, i) => i * 60)) });
  const kept = await quantize({ model: join(folder, 'wide.onnx'), data: [join(folder, 'wide')], output: join(folder, 'kept.onnx'), effort: 'none' });
  assert.equal(kept.nodes.find(({ opType }) => opType === 'Gather')!.decision, 'float');
});
