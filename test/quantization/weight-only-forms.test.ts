import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import type { Model } from '../../src/graph/model.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { planWeightOnly, weightForm, weightOnlySettings, type WeightOnlyRequest } from '../../src/quantization/weight-only-plan.js';
import { storeWeights } from '../../src/quantization/weight-only-recipe.js';
import { selectWeightOnly } from '../../src/quantization/weight-only-select.js';
import { integerReport } from '../../src/runtime/kernel-coverage.js';
import { dtypeInfo } from '../../src/tensor/dtype.js';
import { expressionText } from '../helpers/expression-text.js';
import { fuse } from '../helpers/fuse.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { parseModel } from '../helpers/graph-text.js';
import { randomFeeds, runModel, sqnrDb } from '../helpers/run-model.js';

const OPSET = 21;

function quantized(model: Model, request: WeightOnlyRequest, lookupBlock: number | null = null) {
  const settings = weightOnlySettings(request, model.opsets.get('')!);
  const choices = selectWeightOnly(model.graph, { keptFloat: () => undefined, lookupBlock });
  const graph = storeWeights(model.graph, choices, { formOf: (choice) => weightForm(choice, settings) });
  return { model: { ...model, graph, irVersion: 10 }, plan: planWeightOnly(choices, settings, 'ort-x64-vnni', 'rtn') };
}

async function assertNear(float: Model, other: Model, minDb: number): Promise<void> {
  assert.deepEqual(checkGraph(other.graph), []);
  const feeds = await randomFeeds(encodeModel(float));
  const expected = await runModel(encodeModel(float), feeds);
  const received = await runModel(encodeModel(other), feeds);
  for (const [name, values] of expected) assert.ok(sqnrDb(values, received.get(name)!) >= minDb, `${name}: ${sqnrDb(values, received.get(name)!).toFixed(1)} dB`);
}

/** A MatMul with a bias after it, a Gemm with transB and a depth that no block divides, and a MatMul behind a Transpose. */
function threeProducts(opset = OPSET): Model {
  const g = new GraphBuilder(opset);
  const first = g.op('first', 'Add', [g.op('product', 'MatMul', [g.input('x', [6, 80]), g.weight('w1', [80, 83])]), g.weight('b1', [83])]);
  const second = g.op('second', 'Gemm', [first, g.weight('w2', [70, 83]), g.weight('b2', [70])], { attributes: { transB: 1 } });
  g.output(g.op('third', 'MatMul', [second, g.op('t', 'Transpose', [g.weight('w3', [40, 70])], { attributes: { perm: [1, 0] } })]));
  return g.model();
}

const REQUESTS: readonly (readonly [WeightOnlyRequest, number])[] = [
  ...(['int4', 'uint4'] as const).flatMap((dtype) => [16, 32, 64].map((blockSize) => [{ dtype, blockSize, format: 'qdq' }, 13] as const)),
  ...(['int8', 'uint8'] as const).map((dtype) => [{ dtype, blockSize: 32, format: 'qdq' }, 36] as const),
  ...(['int8', 'uint8'] as const).flatMap((dtype) => [false, true].map((perTensor) => [{ dtype, perTensor }, 34] as const)),
];

describe('the standard form: DequantizeLinear before the product, which the runtime makes MatMulNBits', () => {
  for (const [request, minDb] of REQUESTS) {
    test(JSON.stringify(request), async () => {
      const model = threeProducts();
      const { model: result } = quantized(model, request);
      assert.deepEqual(result.graph.nodes.map(({ domain }) => domain).filter(Boolean), [], 'no operator outside the standard');
      const fused = await fuse(result);
      assert.equal(expressionText(fused.graph), 'MatMulNBits(MatMulNBits(MatMulNBits(x)))');
      const report = integerReport(result, fused);
      const granularity = request.blockSize ? 'in blocks' : request.perTensor ? 'per tensor' : 'per channel';
      assert.deepEqual(report.nodes.map(({ runsAs, weights }) => [runsAs, weights]), new Array(3).fill(['integer', `${dtypeInfo(request.dtype!).short} ${granularity}`]));
      assert.ok(report.weightBytes.residentInteger >= report.weightBytes.integer, 'integers stay integers in memory');
      await assertNear(model, result, minDb);
    });
  }
});

describe('products that share a matrix, which the runtime fuses with no DequantizeLinear', () => {
  for (const request of [{ dtype: 'int8' }, { dtype: 'uint4', format: 'qdq' }, { dtype: 'int4', format: 'qdq' }] as const) {
    test(JSON.stringify(request), async () => {
      const g = new GraphBuilder(OPSET);
      const [weight, bias] = [g.weight('w', [64, 64]), g.weight('b', [64])];
      const first = g.op('first', 'Gemm', [g.input('x', [5, 64]), weight, bias]);
      const second = g.op('second', 'Gemm', [first, weight, bias]);
      // Along its other axis the matrix makes other integers, which this product has to itself.
      g.output(g.op('third', 'Gemm', [second, weight], { attributes: { transB: 1 } }));
      const model = g.model();
      const { model: result } = quantized(model, request);
      assert.deepEqual(result.graph.nodes.map(({ opType }) => opType), ['MatMulNBits', 'MatMulNBits', 'DequantizeLinear', 'Gemm']);
      assert.equal(result.graph.nodes[0]!.inputs[1], result.graph.nodes[1]!.inputs[1], 'its integers are stored once');
      assert.equal(expressionText((await fuse(result)).graph), 'MatMulNBits(MatMulNBits(MatMulNBits(x)))');
      await assertNear(model, result, request.dtype === 'int8' ? 30 : 12);
    });
  }
});

test('a product before a Relu or Clip, behind which the runtime looks for a QuantizeLinear, takes the operator of the runtime', async () => {
  const g = new GraphBuilder(OPSET);
  const x = g.input('x', [5, 64]);
  const gemm = g.op('gemm', 'Gemm', [x, g.weight('w1', [64, 64]), g.weight('b1', [64])]);
  const relu = g.op('relu', 'Relu', [gemm]);
  const add = g.op('add', 'Add', [g.op('matmul', 'MatMul', [relu, g.weight('w2', [64, 64])]), g.weight('b2', [64])]);
  const plain = g.op('plain', 'MatMul', [g.op('clip', 'Clip', [add]), g.weight('w3', [64, 64])]);
  // A clip that is an output, or has several readers, is not looked behind.
  g.output(g.op('last', 'Relu', [plain]));
  const model = g.model();
  for (const request of [{ dtype: 'int8' }, { dtype: 'uint4', format: 'qdq' }] as const) {
    const { model: result } = quantized(model, request);
    assert.deepEqual(result.graph.nodes.map(({ opType }) => opType), ['MatMulNBits', 'Relu', 'MatMulNBits', 'Add', 'Clip', 'DequantizeLinear', 'MatMul', 'Relu']);
    assert.equal((await fuse(result)).graph.nodes.filter(({ opType }) => opType === 'MatMulNBits').length, 3);
    await assertNear(model, result, request.dtype === 'int8' ? 30 : 12);
  }
});

test('a product of matrices to which a matrix is added, which the runtime makes one Gemm, takes the operator of the runtime', async () => {
  const g = new GraphBuilder(OPSET);
  const x = g.input('x', [5, 64]);
  const sum = g.op('sum', 'Add', [x, g.op('first', 'MatMul', [x, g.weight('w1', [64, 64])])]);
  g.output(g.op('biased', 'Add', [g.op('second', 'MatMul', [sum, g.weight('w2', [64, 64])]), g.weight('b', [64])]));
  const model = g.model();
  const { model: result } = quantized(model, { dtype: 'int8' });
  assert.deepEqual(result.graph.nodes.map(({ opType }) => opType), ['MatMulNBits', 'Add', 'DequantizeLinear', 'MatMul', 'Add']);
  assert.equal((await fuse(result)).graph.nodes.filter(({ opType }) => opType === 'MatMulNBits').length, 2);
  await assertNear(model, result, 30);
});

test('both forms hold the same numbers', async () => {
  const model = threeProducts();
  for (const dtype of ['int4', 'uint4', 'int8', 'uint8'] as const) {
    const results = (['qdq', 'contrib'] as const).map((format) => quantized(model, { dtype, blockSize: 32, format }).model);
    await assertNear(results[0]!, results[1]!, 90);
  }
});

describe('settings', () => {
  const rows: readonly (readonly [WeightOnlyRequest, number, readonly [number | null, string]])[] = [
    [{}, 13, [32, 'contrib']],
    [{}, 21, [32, 'contrib']],
    [{ dtype: 'int8' }, 13, [null, 'qdq']],
    [{ dtype: 'int8' }, 12, [32, 'contrib']],
    [{ dtype: 'int8', blockSize: 64 }, 13, [64, 'contrib']],
    [{ dtype: 'uint8', format: 'contrib' }, 13, [32, 'contrib']],
    [{ dtype: 'int4', blockSize: 128, format: 'qdq' }, 21, [128, 'qdq']],
  ];
  for (const [request, opset, expected] of rows) {
    test(`${JSON.stringify(request)} at operator set ${opset}`, () => {
      const { blockSize, format } = weightOnlySettings(request, opset);
      assert.deepEqual([blockSize, format], expected);
    });
  }
  const refused: readonly (readonly [WeightOnlyRequest, number, RegExp])[] = [
    [{ dtype: 'int4', format: 'qdq' }, 20, /blocks came with ONNX operator set 21, and the model uses 20/],
    [{ dtype: 'int8', format: 'qdq' }, 12, /channels came with ONNX operator set 13/],
    [{ dtype: 'int4', perTensor: true }, 21, /--per-tensor/],
    [{ dtype: 'int8', perTensor: true, format: 'contrib' }, 21, /one scale in all/],
    [{ dtype: 'int8', accuracyLevel: 0 }, 21, /no accuracy level/],
  ];
  for (const [request, opset, message] of refused) {
    test(`${JSON.stringify(request)} at operator set ${opset} is refused`, () => {
      assert.throws(() => weightOnlySettings(request, opset), { name: 'QdqError', code: 'usage', message });
    });
  }
});

describe('tables of lookups', () => {
  for (const dtype of ['int4', 'uint4', 'int8', 'uint8'] as const) {
    test(`a table that a product shares is stored once, ${dtype}`, async () => {
      const g = new GraphBuilder();
      const table = g.weight('table', [100, 64], 1);
      const rows = g.op('rows', 'Gather', [table, g.input('ids', ['n', 5], 'int64')]);
      g.output(g.op('logits', 'MatMul', [rows, g.op('t', 'Transpose', [table], { attributes: { perm: [1, 0] } })]), g.op('y', 'Tanh', [rows]));
      const model = g.model();
      const { model: result, plan } = quantized(model, { dtype, format: 'contrib' }, 32);
      assert.deepEqual(plan.nodes.filter(({ decision }) => decision === 'weights-only').map(({ name, kernel }) => [name, kernel]), [['rows', 'GatherBlockQuantized'], ['logits', 'MatMulNBits']]);
      const large = [...result.graph.initializers.values()].filter(({ storage }) => storage.byteLength >= 100 * 32);
      assert.equal(large.length, 1, 'one copy of the integers, no float table');
      await assertNear(model, result, dtype.endsWith('8') ? 36 : 17);
    });
  }

  test('a table is left alone where nobody asks for it, and where blocks do not divide its columns', () => {
    const g = new GraphBuilder();
    g.output(g.op('rows', 'Gather', [g.weight('table', [100, 40], 1), g.input('ids', ['n'], 'int64')]));
    const reasons = [null, 32].map((block) => quantized(g.model(), {}, block).plan.nodes[0]!.reason);
    assert.match(reasons[0]!, /only on request: --op-types MatMul,Gemm,Gather/);
    assert.match(reasons[1]!, /blocks of 32 do not divide the 40 columns/);
  });
});

test('in bodies the standard form gives way to the one that the runtime can load there', async () => {
  const model = parseModel(`
    opset 21
    opset com.microsoft 1
    input x float32[4,32]
    input c bool
    const outer float32[32,16] ~1
    y = If(c)
      then_branch:
        t0 = MatMul(x, outer)
        output t0
      else_branch:
        const inner float32[32,16] ~2
        e0 = MatMul(x, inner)
        output e0
    z = MatMul(x, outer)
    output y
    output z
  `);
  const { model: result } = quantized(model, { dtype: 'int8', format: 'qdq' });
  assert.deepEqual(result.graph.nodes.map(({ opType }) => opType).sort(), ['DequantizeLinear', 'If', 'MatMul']);
  await assertNear(model, result, 33);
});

test('why a node keeps its weights', () => {
  const g = new GraphBuilder();
  const x = g.input('x', [1, 8, 16, 16]);
  const conv = g.op('conv', 'Conv', [x, g.weight('w', [8, 8, 1, 1])]);
  const left = g.op('left', 'MatMul', [g.weight('l', [16, 16]), conv]);
  const stacks = g.op('stacks', 'MatMul', [left, g.weight('s', [8, 16, 16])]);
  g.output(g.op('relu', 'Relu', [stacks]));
  const { plan } = quantized(g.model(), {});
  assert.deepEqual(plan.nodes.map(({ name, reason }) => [name, reason]), [
    ['conv', 'Conv has no kernel for weights in blocks'],
    ['left', 'its constant is the first factor, not the second'],
    ['stacks', 'its weight "s" has 3 dimensions; blocks are cut from matrices'],
    ['relu', 'Relu has no weights to store in blocks'],
  ]);
});
