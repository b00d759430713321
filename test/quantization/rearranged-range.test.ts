import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { quantize } from '../../src/quantize.js';
import { parseModel } from '../helpers/graph-text.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

test('a value that rearranges a Softmax has its range, although what comes before the Softmax is kept in float', async (t) => {
  const folder = temporaryFolder(t);
  const model = join(folder, 'model.onnx');
  const text = `
    opset 17
    input x float32[1,64,64]
    const w float32[64,64] ~1
    scores: a = MatMul(x, w)
    shares: s = Softmax(a) axis=1
    turn: t = Transpose(s) perm=[0,2,1]
    mix: y = MatMul(t, x)
    output y`;
  writeFileSync(model, encodeModel(parseModel(text)));
  const { nodes, plan } = await quantize({ model, data: ['random:4'], mode: 'static', method: 'minmax', exclude: ['scores'], dryRun: true, verify: false });
  assert.deepEqual(nodes.filter(({ opType }) => opType === 'MatMul').map(({ name, decision }) => [name, decision]), [['scores', 'float'], ['mix', 'quantized']]);
  assert.deepEqual(plan!.tensors['t']?.range ?? plan!.tensors['s']?.range, [0, 1]);
});
