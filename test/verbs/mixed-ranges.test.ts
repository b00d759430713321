import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { writeNpz } from '../../src/data/npz.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { quantize } from '../../src/quantize.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { noise } from '../helpers/graph-builder.js';
import { parseModel } from '../helpers/graph-text.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

/** Two products and a normalization, which makes samples of any size count alike; the size of the samples falls to a hundredth. */
async function varyingSamples(t: TestContext): Promise<{ folder: string; model: string; data: string[] }> {
  const folder = temporaryFolder(t);
  const model = join(folder, 'model.onnx');
  const text = `
    opset 17
    input x float32[16,64]
    const w float32[64,64] ~1
    const v float32[64,64] ~2
    const g float32[64] ~3
    first: h = MatMul(x, w)
    relu: r = Relu(h)
    second: p = MatMul(r, v)
    norm: y = LayerNormalization(p, g) axis=-1
    output y`;
  writeFileSync(model, encodeModel(parseModel(text)));
  const data: string[] = [];
  for (let i = 0; i < 8; i++) {
    const path = join(folder, `${i}.npz`);
    await writeNpz(path, new Map([['x', tensorFromArray('float32', [16, 64], noise(16 * 64, 10 + i).map((value) => value * 100 ** (-i / 7)))]]));
    data.push(path);
  }
  return { folder, model, data };
}

test('overrides make nodes of a static model dynamic, which keeps what a single range loses', async (t) => {
  const { folder, ...files } = await varyingSamples(t);
  const overrides = join(folder, 'overrides.json');
  const common = { ...files, mode: 'static', method: 'minmax', target: 'ort-x64', effort: 'none' } as const;
  const before = await quantize({ ...common, output: join(folder, 'static.onnx') });
  writeFileSync(overrides, JSON.stringify({ dynamic: ['first'] }));
  const { nodes, integer, check } = await quantize({ ...common, overrides, output: join(folder, 'mixed.onnx') });
  const reasons = new Map(nodes.map(({ name, decision, reason }) => [name, `${decision}: ${reason}`]));
  assert.equal(reasons.get('first'), 'quantized: quantized dynamically, as the overrides ask');
  assert.equal(reasons.get('second'), 'quantized: null');
  assert.deepEqual(integer?.nodes.map(({ name, runsAs }) => [name, runsAs]), [['first', 'integer'], ['second', 'integer']]);
  const gain = check!.sqnrDb['y']! - before.check!.sqnrDb['y']!;
  assert.ok(gain > 1, `static ${before.check!.sqnrDb['y']} dB, mixed ${check!.sqnrDb['y']} dB`);
});
