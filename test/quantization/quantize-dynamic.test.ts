import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { readModel } from '../../src/onnx/read-model.js';
import { quantize, type QuantizeOptions } from '../../src/quantize.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

/** A file with two layers, and where to write its quantized form. */
function layers(t: TestContext, build: (g: GraphBuilder) => void = twoLayers): { model: string; output: string } {
  const folder = temporaryFolder(t);
  const g = new GraphBuilder();
  build(g);
  const model = join(folder, 'model.onnx');
  writeFileSync(model, encodeModel(g.model()));
  return { model, output: join(folder, 'out.onnx') };
}

function twoLayers(g: GraphBuilder): void {
  const hidden = g.op('relu', 'Relu', [g.op('first', 'Gemm', [g.input('x', [8, 64]), g.weight('w1', [64, 64]), g.weight('b1', [64])])]);
  g.output(g.op('second', 'MatMul', [hidden, g.weight('w2', [64, 32])]));
}

test('without data and table, auto quantizes dynamically and proves it', async (t) => {
  const { model, output } = layers(t);
  const result = await quantize({ model, output });
  assert.deepEqual([result.mode, result.method, result.check, result.plan], ['dynamic', 'runtime', null, null]);
  assert.deepEqual([result.integer?.integerNodes, result.integer?.computeNodes], [2, 2]);
  assert.deepEqual(result.nodes.map(({ name, decision }) => [name, decision]), [['first', 'quantized'], ['relu', 'float'], ['second', 'quantized']]);
  const types = (await readModel(output)).graph.nodes.map((node) => node.opType);
  assert.equal(types.filter((opType) => opType === 'MatMulInteger').length, 2);
});

test('with data it is measured, on all samples', async (t) => {
  const { model, output } = layers(t);
  const result = await quantize({ model, output, mode: 'dynamic', data: ['random:3'], target: 'ort-x64' });
  assert.deepEqual([result.check?.samples, result.check?.heldOut], [3, true]);
  assert.ok(result.check!.sqnrDb['second']! > 30);
  assert.equal(result.integer?.macsShare, 1);
});

function lstmThenGemm(g: GraphBuilder): void {
  const inputs = [g.input('x', [6, 8, 24]), g.weight('w', [1, 64, 24]), g.weight('r', [1, 64, 16])];
  g.op('lstm', 'LSTM', inputs, { attributes: { hidden_size: 16 }, outputs: ['', 'state'] });
  const rows = g.op('rows', 'Reshape', ['state', g.ints('shape', [8, 16])]);
  g.output(g.op('y', 'Gemm', [rows, g.weight('w2', [16, 32]), g.weight('b2', [32])]));
}

test('auto with data takes what is static, and LSTM dynamically', async (t) => {
  const { model, output } = layers(t, lstmThenGemm);
  const result = await quantize({ model, output, data: ['random:4'], target: 'ort-x64', effort: 'none' });
  assert.equal(result.mode, 'static');
  assert.deepEqual(
    result.integer?.nodes.map(({ name, runsAs, kernel }) => [name, runsAs, kernel]),
    [['lstm', 'integer', 'DynamicQuantizeLSTM'], ['y', 'integer', 'QGemm']],
  );
  const lstm = result.nodes.find(({ name }) => name === 'lstm');
  assert.deepEqual([lstm?.decision, lstm?.reason], ['quantized', 'quantized dynamically, because static quantization does not reach it']);
  assert.ok(result.check!.sqnrDb['y']! > 30);
});

test('mode static leaves LSTM in float', async (t) => {
  const { model, output } = layers(t, lstmThenGemm);
  const { integer } = await quantize({ model, output, data: ['random:4'], mode: 'static', effort: 'none' });
  assert.equal(integer?.nodes.find(({ name }) => name === 'lstm')?.runsAs, 'float');
});

test('auto with data goes dynamic where nothing can be static, and says so', async (t) => {
  const { model, output } = layers(t, (g) => {
    g.op('lstm', 'LSTM', [g.input('x', [6, 8, 24]), g.weight('w', [1, 64, 24]), g.weight('r', [1, 64, 16])], { attributes: { hidden_size: 16 }, outputs: ['y'] });
    g.output('y');
  });
  const result = await quantize({ model, output, data: ['random:4'] });
  assert.equal(result.mode, 'dynamic');
  assert.ok(result.warnings.some(({ code }) => code === 'dynamic-instead'));
});

test('a dry run shows the plan and writes nothing', async (t) => {
  const { model } = layers(t);
  const { plan, output } = await quantize({ model, dryRun: true, verify: false });
  assert.equal(output, null);
  assert.deepEqual([plan?.mode, plan?.nodes.map(({ kernel }) => kernel)], ['dynamic', ['DynamicQuantizeMatMul', undefined, 'DynamicQuantizeMatMul']]);
});

test('the reduced range of a target holds for dynamic weights', async (t) => {
  const { model, output } = layers(t);
  await quantize({ model, output, mode: 'dynamic', target: 'ort-x64', verify: false });
  const weights = [...(await readModel(output)).graph.initializers.values()].filter(({ dtype, dims }) => dtype === 'int8' && dims.length === 2);
  assert.equal(weights.length, 2);
  for (const { storage } of weights) assert.equal(Math.max(...new Int8Array(storage.read()).map(Math.abs)), 64);
});

const SENSELESS: readonly [Partial<QuantizeOptions>, RegExp][] = [
  [{ calibration: 'table.json' }, /--calibration/],
  [{ method: 'mse' }, /--method mse/],
  [{ percentile: 99 }, /--percentile/],
  [{ exact: true }, /--exact/],
  [{ symmetricActivations: true }, /--symmetric-activations/],
  [{ activationType: 'int8' }, /--activation-type/],
];

for (const [option, message] of SENSELESS) {
  test(`mode dynamic refuses ${JSON.stringify(option)}`, async (t) => {
    const { model, output } = layers(t);
    await assert.rejects(quantize({ model, output, mode: 'dynamic', ...option }), { name: 'QdqError', code: 'usage', message });
  });
}

test('a model of convolutions has nothing to quantize dynamically, and says why', async (t) => {
  const { model, output } = layers(t, (g) => g.output(g.op('conv', 'Conv', [g.input('x', [1, 8, 8, 8]), g.weight('w', [8, 8, 3, 3])])));
  await assert.rejects(quantize({ model, output }), { name: 'QdqError', code: 'nothing-to-quantize', message: /Conv "conv" stays float because .*ConvInteger/, hint: /--data/ });
});

test('a dynamically quantized model is not quantized again', async (t) => {
  const { model, output } = layers(t);
  await quantize({ model, output, verify: false });
  await assert.rejects(quantize({ model: output, output: model }), { name: 'QdqError', code: 'usage', message: /quantized already/ });
});
