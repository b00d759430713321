import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Model } from '../../src/graph/model.js';
import { hollowModel } from '../../src/onnx/hollow-model.js';
import { readModel } from '../../src/onnx/read-model.js';
import { writeModel } from '../../src/onnx/write-model.js';
import { fusedGraph, markNodes } from '../../src/runtime/fused-graph.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import { kernelCoverage } from '../../src/runtime/kernel-coverage.js';
import { openStaged, stagedFile, stageForLook, stageModel } from '../../src/runtime/staged-model.js';
import { DeferredStorage } from '../../src/tensor/deferred-storage.js';
import { elementCount, tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { parseModel } from '../helpers/graph-text.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

/** Two products of weights of 1 MiB and more, one of them quantized statically, with a shape that must keep its value. */
const text = `
  opset 13
  input x float32[2,512]
  const w float32[512,512] ~1
  const v float32[512,1024] ~2
  const s float32[] 0.02
  const z uint8[] 128
  const ws float32[] 0.01
  const wz int8[] 0
  xq = QuantizeLinear(x, s, z)
  xd = DequantizeLinear(xq, s, z)
  wq = QuantizeLinear(w, ws, wz)
  wd = DequantizeLinear(wq, ws, wz)
  h = MatMul(xd, wd)
  y = MatMul(h, v)
  output y`;

test('a model with large weights in a side file is looked at without them: the same graph, and nothing beside it', async (t) => {
  const folder = temporaryFolder(t);
  for (const name of ['whole', 'apart', 'scratch']) mkdirSync(join(folder, name));
  const model = parseModel(text);
  await writeModel(join(folder, 'whole', 'm.onnx'), model, { externalData: 'never' });
  await writeModel(join(folder, 'apart', 'm.onnx'), model, { externalData: 'always' });
  const graphs = [];
  for (const name of ['whole', 'apart']) {
    const read = await readModel(join(folder, name, 'm.onnx'));
    // The bytes are gone after it was read: only a look that needs them would fail.
    if (name === 'apart') truncateSync(join(folder, name, 'm.onnx.data'), 0);
    const { graph } = await fusedGraph(markNodes(read), join(folder, name), join(folder, 'scratch', 'fused.onnx'));
    graphs.push(graph.nodes.map(({ opType, inputs, outputs }) => [opType, inputs.length, outputs]));
    if (name === 'apart') assert.deepEqual(readdirSync(join(folder, 'scratch')), ['fused.onnx']);
  }
  assert.deepEqual(graphs[1], graphs[0]);
  assert.ok(graphs[0]!.some(([opType]) => opType === 'MatMulIntegerToFloat'), JSON.stringify(graphs[0]));
});

test('many large weights in the file itself are left out too, but for what may be a mask or a table of numbers', async (t) => {
  const folder = temporaryFolder(t);
  const narrow = parseModel(text.replace('x float32[2,512]', 'x float32[2,2048]'));
  const withWeights = (weights: Readonly<Record<string, Tensor>>): Model => ({ ...narrow, graph: { ...narrow.graph, initializers: new Map([...narrow.graph.initializers, ...Object.entries(weights)]) } });
  const zeros = (...dims: number[]) => tensorFromArray('float32', dims, new Float32Array(elementCount(dims)));
  const weights = { w: zeros(2048, 2048), v: zeros(2048, 1024) };
  const wide = withWeights(weights);
  const hollow = hollowModel(wide, 'hole');
  assert.ok(hollow && hollow.bytes.length < 10_000);
  assert.equal(hollow.sideFileBytes, 4 * 2048 * 2048);
  const opTypes = async (model: Model) => (await fusedGraph(markNodes(model), folder, join(folder, 'fused.onnx'))).graph.nodes.map(({ opType }) => opType);
  assert.deepEqual(await opTypes(wide), await opTypes(parseModel(text)));
  assert.equal(hollowModel(parseModel(text), 'hole'), undefined, 'few bytes are copied');
  const others = { mask: zeros(1, 1, 1024, 1024), table: tensorFromArray('int64', [2 ** 18], new BigInt64Array(2 ** 18)) };
  assert.ok(hollowModel(withWeights({ ...weights, ...others }), 'hole')!.bytes.length > 4 * 2 ** 20 + 8 * 2 ** 18);
});

/** A model whose large weights are yet to be computed, beside one that is in a side file. */
async function partlyDeferred(folder: string) {
  const path = join(folder, 'model.onnx');
  await writeModel(path, parseModel('opset 13\ninput i int64[3]\nconst w float32[3,2000] ~1\nconst a uint8[1,1] 0\nconst b uint8[1,1] 0\nu = Gather(a, i)\nv = Gather(b, i)\ny = Gather(w, i)\noutput u\noutput v\noutput y'), {
    externalData: 'always',
  });
  const model = await readModel(path);
  const rows = 2 ** 22;
  const deferred = (from: number) => ({
    dtype: 'uint8' as const,
    dims: [rows, 8],
    storage: new DeferredStorage(rows * 8, (offset, length) => Uint8Array.from({ length }, (_, k) => (from + offset + k) & 0xff)),
  });
  const initializers = new Map([...model.graph.initializers, ['a', deferred(0)], ['b', deferred(100)]] as const);
  return { ...model, graph: { ...model.graph, initializers } };
}

test('weights that are yet to be computed are staged in a side file, those that are in one are referred to', async (t) => {
  const folder = temporaryFolder(t);
  const model = await partlyDeferred(folder);
  const host = new RuntimeHost();
  t.after(() => host.close());
  const staged = await stageModel(host, model, 'staged.onnx', folder);
  assert.ok(statSync(staged.path).size < 10_000);
  assert.equal(statSync(`${staged.path}.data`).size, 2 * 8 * 2 ** 22, 'the weight of the original side file is not among them');
  const session = await openStaged(staged);
  const outputs = await session.run(new Map([['i', tensorFromArray('int64', [3], BigInt64Array.of(0n, 1n, 2n))]]));
  await session.release();
  assert.deepEqual([...outputs.get('u')!.storage.read()], Array.from({ length: 24 }, (_, k) => k));
  assert.deepEqual([...outputs.get('v')!.storage.read()], Array.from({ length: 24 }, (_, k) => 100 + k));
  assert.deepEqual(outputs.get('y')!.storage.read(), model.graph.initializers.get('w')!.storage.read());
});

test('for a look they are not computed', async (t) => {
  const folder = temporaryFolder(t);
  const model = await partlyDeferred(folder);
  const untouched = new DeferredStorage(8 * 2 ** 22, () => assert.fail('it is computed'));
  const initializers = new Map([...model.graph.initializers, ...(['a', 'b'] as const).map((name) => [name, { dtype: 'uint8' as const, dims: [2 ** 22, 8], storage: untouched }] as const)]);
  const host = new RuntimeHost();
  t.after(() => host.close());
  const staged = await stageForLook(host, { ...model, graph: { ...model.graph, initializers } }, 'look.onnx', folder);
  const { report } = await kernelCoverage(host, staged);
  assert.equal(report.weightBytes.integer, 2 * 8 * 2 ** 22);
  assert.deepEqual((await kernelCoverage(host, stagedFile(join(folder, 'model.onnx')))).report.computeNodes, 0);
});
