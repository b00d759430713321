import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { readModel } from '../../src/onnx/read-model.js';
import { storableNodes, withStoredWeights } from '../../src/quantization/stored-weights.js';
import { Session } from '../../src/runtime/session.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { GraphBuilder, SAME_PADS } from '../helpers/graph-builder.js';
import { randomFeeds, runModel, sqnrDb } from '../helpers/run-model.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

/** One node of each kind that has weights, each with an output of its own. */
function everyKind(): GraphBuilder {
  const g = new GraphBuilder();
  const image = g.input('image', [1, 16, 6, 6]);
  const rows = g.input('rows', [4, 48]);
  g.output(g.op('conv', 'Conv', [image, g.weight('conv_w', [32, 16, 3, 3])], { attributes: SAME_PADS }));
  g.output(g.op('deconv', 'ConvTranspose', [image, g.weight('deconv_w', [16, 16, 3, 3])]));
  g.output(g.op('product', 'MatMul', [rows, g.weight('product_w', [48, 40])]));
  g.output(g.op('gemm', 'Gemm', [rows, g.weight('gemm_w', [40, 48]), g.weight('gemm_b', [40])], { attributes: { transB: 1 } }));
  g.output(g.op('small', 'MatMul', [rows, g.weight('small_w', [48, 4])]));
  g.output(g.op('looked_up', 'Gather', [g.weight('table', [64, 32]), g.ints('ids', [3, 5])]));
  const lstm = ['lstm_w', 'lstm_r'].map((name) => g.weight(name, [2, 64, 16]));
  g.output(g.op('lstm', 'LSTM', [g.input('sequence', [5, 1, 16]), ...lstm], { attributes: { hidden_size: 16, direction: 'bidirectional' } }));
  return g;
}

async function operatorsOf(t: TestContext, bytes: Uint8Array): Promise<string[]> {
  const path = join(temporaryFolder(t), 'optimized.onnx');
  await (await Session.open(bytes, { threads: 1, optimizedModelPath: path })).release();
  return (await readModel(path)).graph.nodes.map(({ opType }) => opType).sort();
}

test('weights of each kind of node are stored in 8 bits, and run as the float model does', async (t) => {
  const model = everyKind().model();
  const names = storableNodes(model.graph).map(({ name }) => name);
  assert.deepEqual(names, ['conv', 'deconv', 'product', 'gemm', 'looked_up', 'lstm']);
  const stored = { ...model, graph: withStoredWeights(model.graph, new Set(names)) };
  const [before, after] = [encodeModel(model), encodeModel(stored)];
  assert.ok(after.length < 0.45 * before.length, `${after.length} of ${before.length} bytes`);
  const feeds = await randomFeeds(before);
  const [expected, received] = [await runModel(before, feeds), await runModel(after, feeds)];
  for (const [name, values] of expected) {
    const db = sqnrDb(values, received.get(name)!);
    assert.ok(name === 'small' ? db === Infinity : db > 35 && db < 80, `${name}: ${db} dB`);
  }
  assert.deepEqual(await operatorsOf(t, after), await operatorsOf(t, before));
});

test('only the nodes that are named, and no weight that is not finite', () => {
  const g = new GraphBuilder();
  const x = g.input('x', [4, 40]);
  g.output(g.op('a', 'MatMul', [x, g.weight('w', [40, 40])]), g.op('b', 'MatMul', [x, g.weight('v', [40, 40])]));
  g.output(g.op('c', 'MatMul', [x, g.constant('nan', tensorFromArray('float32', [40, 40], new Float32Array(1600).fill(NaN)))]));
  const { graph } = g.model();
  assert.deepEqual(storableNodes(graph).map(({ name }) => name), ['a', 'b']);
  const edited = withStoredWeights(graph, new Set(['a', 'c']));
  assert.deepEqual([...edited.initializers].map(([name, { dtype }]) => [name, dtype]), [['v', 'float32'], ['nan', 'float32'], ['w_q', 'int8'], ['w_s', 'float32']]);
  assert.equal(withStoredWeights(graph, new Set(['c'])), graph);
});
