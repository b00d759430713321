import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { compare, comparisonsOf } from '../../src/compare.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { readModel } from '../../src/onnx/read-model.js';
import { writeModel } from '../../src/onnx/write-model.js';
import type { WeightAlgorithm } from '../../src/quantization/weight-only-plan.js';
import { quantize, type QuantizeOptions } from '../../src/quantize.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { floatSampleModels } from '../helpers/shared-models.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

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

test('4 bits in blocks of 32 by default, proven to multiply integers', async (t) => {
  const { model, output } = layers(t);
  const result = await quantize({ model, output, mode: 'weight-only', data: ['random:3'] });
  assert.deepEqual([result.mode, result.method, result.plan], ['weight-only', 'rtn', null]);
  assert.deepEqual(result.nodes.map(({ name, decision }) => [name, decision]), [['first', 'weights-only'], ['relu', 'float'], ['second', 'weights-only']]);
  assert.deepEqual(result.integer?.nodes.map(({ kernel, runsAs, weights }) => [kernel, runsAs, weights]), new Array(2).fill(['MatMulNBits', 'integer', 'u4 in blocks']));
  assert.ok(result.integer.timeShare! > 0.1, 'their time counts as integer');
  assert.equal(result.integer.macsShare, 1);
  assert.deepEqual([result.check?.samples, result.check?.heldOut], [3, true]);
  assert.ok(result.check!.sqnrDb['second']! > 13);
  assert.ok(result.check!.sizeRatio < 0.3);
});

test('accuracy level 0 multiplies in float, and the proof says so', async (t) => {
  const { model, output } = layers(t);
  const { integer } = await quantize({ model, output, mode: 'weight-only', format: 'contrib', accuracyLevel: 0, data: ['random:2'] });
  assert.equal(integer?.integerNodes, 0);
  assert.ok(integer.nodes.every(({ reason }) => /at accuracy level 0 they are multiplied as floats; level 4/.test(reason!)));
  assert.ok(integer.weightBytes.residentInteger > 0, 'weights are integers in memory all the same');
  assert.equal(integer.timeShare, 0);
});

test('filters keep nodes in float', async (t) => {
  const { model, output } = layers(t);
  const { nodes } = await quantize({ model, output, mode: 'weight-only', exclude: ['sec*'], verify: false });
  assert.deepEqual(nodes.find(({ name }) => name === 'second')?.reason, 'excluded by --exclude');
  const types = (await readModel(output)).graph.nodes.map(({ opType }) => opType);
  assert.deepEqual(types, ['MatMulNBits', 'Relu', 'MatMul']);
});

for (const weightType of ['uint4', 'int8'] as const) {
  test(`weights in a side file give the same integers as weights in memory, ${weightType}`, async (t) => {
    const folder = temporaryFolder(t);
    const g = new GraphBuilder();
    const x = g.input('x', [4, 300]);
    const tied = g.weight('tied', [70, 300]);
    const first = g.op('first', 'Gemm', [x, tied], { attributes: { transB: 1 } });
    const again = g.op('again', 'MatMul', [x, g.op('t', 'Transpose', [tied], { attributes: { perm: [1, 0] } })]);
    g.output(g.op('second', 'MatMul', [first, g.weight('w', [70, 90])]), again);
    const paths = ['inside', 'beside'].map((name) => join(folder, `${name}.onnx`));
    await writeModel(paths[0]!, g.model());
    await writeModel(paths[1]!, g.model(), { externalData: 'always' });
    const results = await Promise.all(
      paths.map(async (model) => {
        const output = model.replace('.onnx', '.out.onnx');
        await quantize({ model, output, mode: 'weight-only', weightType, verify: false });
        const { graph } = await readModel(output);
        return [...graph.initializers].map(([name, { dims, storage }]) => [name, dims.join(), Buffer.from(storage.read()).toString('hex')]);
      }),
    );
    assert.ok(existsSync(join(folder, 'beside.out.onnx.data')));
    assert.deepEqual(results[1], results[0]);
    assert.ok(!results[0]!.some(([name]) => ['tied', 'w'].includes(name!)), 'no float weights');
    assert.equal(results[0]!.filter(([name]) => /^tied_q\d$/.test(name!)).length, 1, 'the tied weight is stored once');
  });
}

test('a weight in a side file that is not finite stops the writing, and nothing is left', async (t) => {
  const folder = temporaryFolder(t);
  const g = new GraphBuilder();
  g.floats('w', Array.from({ length: 64 * 32 }, (_, i) => (i === 99 ? NaN : i)), [64, 32]);
  g.output(g.op('y', 'MatMul', [g.input('x', [4, 64]), 'w']));
  const model = join(folder, 'model.onnx');
  await writeModel(model, g.model(), { externalData: 'always' });
  const output = join(folder, 'out.onnx');
  await assert.rejects(quantize({ model, output, mode: 'weight-only' }), { code: 'model-invalid', message: /"w" contains NaN/ });
  assert.ok(!existsSync(output) && !existsSync(`${output}.data`));
});

test('a dry run shows the plan and writes nothing', async (t) => {
  const { model } = layers(t);
  const { plan, output, integer } = await quantize({ model, dryRun: true, mode: 'weight-only' });
  assert.equal(output, null);
  assert.deepEqual([plan?.mode, plan?.weightType, plan?.nodes.map(({ kernel }) => kernel)], ['weight-only', 'uint4', ['MatMulNBits', undefined, 'MatMulNBits']]);
  assert.equal(integer?.integerNodes, 2);
});

test('the same command gives the same bytes', async (t) => {
  const { model, output } = layers(t);
  const bytes = [];
  for (const name of ['a', 'b']) {
    await quantize({ model, output: `${output}.${name}`, mode: 'weight-only', verify: false });
    bytes.push(readFileSync(`${output}.${name}`));
  }
  assert.deepEqual(bytes[0], bytes[1]);
});

const SENSELESS: readonly [Partial<QuantizeOptions>, RegExp][] = [
  [{ mode: 'weight-only', calibration: 'table.json' }, /--calibration/],
  [{ mode: 'weight-only', method: 'mse' }, /--method mse/],
  [{ mode: 'weight-only', activationType: 'uint8' }, /--activation-type/],
  [{ mode: 'weight-only', blockSize: 24 }, /blocks of 24/],
  [{ mode: 'weight-only', weightType: 'int16' }, /int16/],
  [{ mode: 'dynamic', weightType: 'int4' }, /int4 have no integer kernel/],
  [{ mode: 'static', weightType: 'uint4', data: ['random:1'] }, /uint4 have no integer kernel/],
  [{ mode: 'dynamic', blockSize: 32 }, /--block-size/],
  [{ format: 'contrib' }, /--format/],
];

for (const [option, message] of SENSELESS) {
  test(`${JSON.stringify(option)} is refused`, async (t) => {
    const { model, output } = layers(t);
    await assert.rejects(quantize({ model, output, ...option }), { name: 'QdqError', code: 'usage', message });
  });
}

test('a model without products says so, and a quantized one is not quantized again', async (t) => {
  const { model, output } = layers(t, (g) => g.output(g.op('conv', 'Conv', [g.input('x', [1, 8, 8, 8]), g.weight('w', [8, 8, 3, 3])])));
  await assert.rejects(quantize({ model, output, mode: 'weight-only' }), { code: 'nothing-to-quantize', message: /Conv "conv" stays float/ });
  const two = layers(t);
  await quantize({ ...two, mode: 'weight-only', verify: false });
  await assert.rejects(quantize({ model: two.output, output: `${two.output}.again` }), { code: 'usage', message: /quantized already/ });
});

for (const weightType of ['int4', 'uint4'] as const) {
  for (const { name, path } of floatSampleModels()) {
    test(`samples/${name}: gptq has less error at the output than hqq and rtn, on samples that it has not seen, ${weightType}`, async (t) => {
      const folder = temporaryFolder(t);
      const sqnrDb = async (algorithm: WeightAlgorithm) => {
        const output = join(folder, `${algorithm}.onnx`);
        const data = [join(dirname(path), 'calibration')];
        await quantize({ model: path, output, mode: 'weight-only', weightType, algorithm, data, limit: 64, threads: 1, verify: false });
        const judged = await compare({ baseline: path, candidates: [output], data: [join(dirname(path), 'test')], limit: 32, runs: 1, threads: 1 });
        return Math.min(...comparisonsOf(judged)[0]!.outputs.map((found) => found.sqnrDb!));
      };
      const [gptq, hqq, rtn] = [await sqnrDb('gptq'), await sqnrDb('hqq'), await sqnrDb('rtn')];
      assert.ok(gptq > hqq && gptq > rtn, `${gptq}, ${hqq}, ${rtn}`);
    });
  }
}

test('gptq judges on held-out samples, and needs some; 8 bits a channel have no algorithm', async (t) => {
  const { model, output } = layers(t);
  const { check } = await quantize({ model, output, mode: 'weight-only', algorithm: 'gptq', data: ['random:12'] });
  assert.deepEqual([check?.samples, check?.heldOut], [3, true]);
  await assert.rejects(quantize({ model, output, mode: 'weight-only', algorithm: 'gptq' }), { code: 'usage', message: /no samples/ });
  await assert.rejects(quantize({ model, output, mode: 'weight-only', algorithm: 'hqq', weightType: 'int8' }), { code: 'usage', message: /one a channel/ });
});
