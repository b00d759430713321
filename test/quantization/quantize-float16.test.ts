import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readModel } from '../../src/onnx/read-model.js';
import { writeModel } from '../../src/onnx/write-model.js';
import { quantize } from '../../src/quantize.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

function twoLayers(): GraphBuilder {
  const g = new GraphBuilder();
  const hidden = g.op('relu', 'Relu', [g.op('first', 'Gemm', [g.input('x', [8, 64]), g.weight('w1', [64, 64]), g.weight('b1', [64])])]);
  return g.output(g.op('second', 'MatMul', [hidden, g.weight('w2', [64, 32])]));
}

test('--weight-type f16, in one file and beside it', async (t) => {
  const folder = temporaryFolder(t);
  const bytes: Buffer[][] = [];
  for (const externalData of ['never', 'always'] as const) {
    const [model, output] = [join(folder, `${externalData}.onnx`), join(folder, `${externalData}.f16.onnx`)];
    await writeModel(model, twoLayers().model(), { externalData });
    const result = await quantize({ model, output, weightType: 'float16', data: ['random:2'] });
    assert.deepEqual([result.mode, result.method], ['weight-only', 'float16']);
    assert.deepEqual(result.nodes.map(({ decision, reason }) => [decision, reason]), new Array(3).fill(['weights-only', 'in float16']));
    assert.ok(result.check!.sqnrDb['second']! > 55);
    assert.ok(result.check!.sizeRatio < 0.55);
    assert.equal(existsSync(`${output}.data`), externalData === 'always');
    bytes.push([...(await readModel(output)).graph.initializers.values()].map(({ storage }) => Buffer.from(storage.read())));
  }
  assert.deepEqual(bytes[1], bytes[0]);
});

test('4-bit weights with the rest in float16', async (t) => {
  const folder = temporaryFolder(t);
  for (const externalData of ['never', 'always'] as const) {
    const [model, output] = [join(folder, `${externalData}.onnx`), join(folder, `${externalData}.q4f16.onnx`)];
    await writeModel(model, twoLayers().model(), { externalData });
    const { check, integer } = await quantize({ model, output, mode: 'weight-only', weightType: 'int4', float16: true, data: ['random:2'] });
    const { graph } = await readModel(output);
    assert.ok([...graph.initializers.values()].every(({ dtype }) => dtype === 'uint8' || dtype === 'float16'));
    assert.deepEqual(graph.nodes.map(({ opType }) => opType), ['Cast', 'MatMulNBits', 'Relu', 'MatMulNBits', 'Cast']);
    assert.ok(check!.sqnrDb['second']! > 13);
    assert.equal(integer?.computeNodes, 2);
  }
});

test('float16 inputs do not fit the samples, and a warning says so', async (t) => {
  const folder = temporaryFolder(t);
  const [model, output] = [join(folder, 'model.onnx'), join(folder, 'out.onnx')];
  await writeModel(model, twoLayers().model());
  const { check, warnings } = await quantize({ model, output, weightType: 'float16', keepIoTypes: false, data: ['random:2'] });
  assert.equal(check, null);
  assert.ok(warnings.some(({ code }) => code === 'not-measured'));
});

test('options for blocks are refused', async (t) => {
  const folder = temporaryFolder(t);
  const [model, output] = [join(folder, 'model.onnx'), join(folder, 'out.onnx')];
  await writeModel(model, twoLayers().model());
  await assert.rejects(quantize({ model, output, weightType: 'float16', blockSize: 32 }), { code: 'usage', message: /no blocks/ });
  await assert.rejects(quantize({ model, output, weightType: 'float16', mode: 'dynamic' }), { code: 'usage', message: /float16/ });
});
