import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import type { Model } from '../../src/graph/model.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { liftQOperators } from '../../src/quantization/lift-qoperators.js';
import { lowerToQOperators } from '../../src/quantization/lower-to-qoperators.js';
import { GraphBuilder, SAME_PADS, float } from '../helpers/graph-builder.js';
import { runModel } from '../helpers/run-model.js';
import { feedsFor } from '../helpers/same-outputs.js';
import { operators } from './qat-model.js';

interface Form {
  readonly name: string;
  readonly build: (g: GraphBuilder) => void;
  /** Operators after lowering, but for the Q and DQ at the edges. */
  readonly lowered: readonly string[];
  /** Whether lifting gives back every operator that was lowered. */
  readonly lifts?: boolean;
}

const image = (g: GraphBuilder) => g.pair(g.input('x', [1, 4, 6, 6]));
const matrix = (g: GraphBuilder, name = 'x') => g.pair(g.input(name, [3, 16]));

const FORMS: readonly Form[] = [
  {
    name: 'Conv per channel with bias and a redundant Relu',
    build: (g) => {
      const c = g.op('c', 'Conv', [image(g), g.quantizedWeight('w', [5, 4, 3, 3], { axis: 0 }), g.quantizedBias('b', [5], 1 / 4096, true)], { attributes: SAME_PADS });
      g.output(g.pair(g.op('r', 'Relu', [c]), { zeroPoint: 0 }));
    },
    lowered: ['QLinearConv'],
  },
  { name: 'Conv depthwise without bias', build: (g) => g.output(g.pair(g.op('c', 'Conv', [image(g), g.quantizedWeight('w', [4, 1, 3, 3])], { attributes: { group: 4 } }))), lowered: ['QLinearConv'] },
  { name: 'MatMul with Q', build: (g) => g.output(g.pair(g.op('m', 'MatMul', [matrix(g), g.quantizedWeight('w', [16, 5], { axis: 1 })]), { scale: 1 / 8 })), lowered: ['QLinearMatMul'] },
  { name: 'MatMul without Q', build: (g) => g.output(g.op('m', 'MatMul', [matrix(g), g.quantizedWeight('w', [16, 5], { axis: 1 })])), lowered: ['MatMulIntegerToFloat'], lifts: false },
  { name: 'MatMul of two activations', build: (g) => g.output(g.pair(g.op('m', 'MatMul', [matrix(g), g.pair(g.input('y', [16, 3]))]))), lowered: ['QLinearMatMul'] },
  {
    name: 'Gemm with Q and with transposed weights',
    build: (g) => g.output(g.pair(g.op('m', 'Gemm', [matrix(g), g.quantizedWeight('w', [5, 16], { axis: 0 }), g.quantizedBias('b', [5], 1 / 4096, true)], { attributes: { transB: 1 } }), { scale: 1 / 8 })),
    lowered: ['QGemm'],
  },
  { name: 'Gemm without Q', build: (g) => g.output(g.op('m', 'Gemm', [matrix(g), g.quantizedWeight('w', [16, 5]), g.quantizedBias('b', [5], 1 / 4096)])), lowered: ['QGemm'] },
  ...(['Add', 'Mul'] as const).map((opType): Form => ({ name: opType, build: (g) => g.output(g.pair(g.op('s', opType, [matrix(g), g.pair(g.input('y', [3, 16]), { scale: 0.03 })]))), lowered: [`QLinear${opType}`] })),
  ...(['Sigmoid', 'LeakyRelu', 'Softmax'] as const).map(
    (opType): Form => ({
      name: opType,
      build: (g) => g.output(g.pair(g.op('s', opType, [matrix(g)], { attributes: opType === 'LeakyRelu' ? { alpha: float(0.1) } : {} }), { scale: 1 / 200, zeroPoint: 10 })),
      lowered: [`QLinear${opType}`],
    }),
  ),
  { name: 'GlobalAveragePool', build: (g) => g.output(g.pair(g.op('p', 'GlobalAveragePool', [image(g)]))), lowered: ['QLinearGlobalAveragePool'] },
  { name: 'AveragePool', build: (g) => g.output(g.pair(g.op('p', 'AveragePool', [image(g)], { attributes: { kernel_shape: [2, 2], strides: [2, 2] } }))), lowered: ['QLinearAveragePool'] },
  { name: 'Concat', build: (g) => g.output(g.pair(g.op('c', 'Concat', [matrix(g), g.pair(g.input('y', [3, 16]), { scale: 0.03 }), matrix(g, 'z')], { attributes: { axis: 1 } }))), lowered: ['QLinearConcat'] },
  { name: 'Where', build: (g) => g.output(g.pair(g.op('c', 'Where', [g.input('if', [3, 16], 'bool'), matrix(g), g.pair(g.input('y', [3, 16]), { scale: 0.03 })]))), lowered: ['QLinearWhere'] },
  { name: 'MaxPool and Reshape on the integers', build: (g) => g.output(g.pair(g.op('r', 'Reshape', [g.pair(g.op('p', 'MaxPool', [image(g)], { attributes: { kernel_shape: [2, 2] } })), g.ints('shape', [1, -1])]))), lowered: ['MaxPool', 'Reshape'] },
];

const inner = (model: Model) => operators(model).filter((opType) => opType !== 'QuantizeLinear' && opType !== 'DequantizeLinear');

async function assertSameRuns(a: Model, b: Model): Promise<void> {
  for (const seed of [1, 5]) {
    const feeds = feedsFor(a, seed);
    assert.deepEqual(await runModel(encodeModel(b), feeds), await runModel(encodeModel(a), feeds));
  }
}

describe('QDQ and operators on integers give identical outputs', () => {
  for (const { name, build, lowered, lifts = true } of FORMS) {
    test(name, async () => {
      const g = new GraphBuilder();
      build(g);
      const model = g.model();
      const low = lowerToQOperators(model).model;
      assert.deepEqual(inner(low), lowered);
      assert.deepEqual(checkGraph(low.graph), []);
      await assertSameRuns(model, low);
      const high = liftQOperators(low).model;
      if (lifts && lowered[0]!.startsWith('Q')) {
        assert.ok(!operators(high).some((opType) => /^Q(Linear|Gemm)/.test(opType)));
        assert.deepEqual(checkGraph(high.graph), []);
        await assertSameRuns(model, high);
        assert.deepEqual(inner(lowerToQOperators(high).model), lowered, 'and down again');
      } else {
        assert.equal(high, low);
      }
    });
  }

  for (const perChannel of [false, true]) {
    test(`a bias ${perChannel ? 'per channel' : 'with one scale'} that is added to a product in float is stored in float`, async () => {
      const g = new GraphBuilder();
      const product = g.op('m', 'MatMul', [g.pair(g.input('x', [2, 3, 16])), g.quantizedWeight('w', [16, 5], { axis: 1 })]);
      g.output(g.op('a', 'Add', [product, g.quantizedBias('b', [5], 1 / 4096, perChannel)]));
      const model = g.model();
      const low = lowerToQOperators(model).model;
      assert.deepEqual(operators(low), ['QuantizeLinear', 'MatMulIntegerToFloat', 'Add']);
      assert.deepEqual(checkGraph(low.graph), []);
      await assertSameRuns(model, low);
    });
  }

  test('what floats read behind moves is moved as integers', async () => {
    const g = new GraphBuilder();
    const t = g.op('t', 'Transpose', [g.pair(g.op('c', 'Conv', [image(g), g.quantizedWeight('w', [5, 4, 1, 1], { axis: 0 })]))], { attributes: { perm: [0, 2, 3, 1] } });
    const r = g.op('r', 'Reshape', [t, g.ints('shape', [36, 5])]);
    g.output(g.op('m', 'Mul', [r, r]));
    const model = g.model();
    const low = lowerToQOperators(model).model;
    assert.deepEqual(operators(low), ['QuantizeLinear', 'QLinearConv', 'Transpose', 'Reshape', 'DequantizeLinear', 'Mul']);
    assert.deepEqual(checkGraph(low.graph), []);
    await assertSameRuns(model, low);
    const high = liftQOperators(low).model;
    await assertSameRuns(model, high);
    assert.deepEqual(operators(lowerToQOperators(high).model), operators(low), 'and down again');
  });

  test('what does not fuse stays: a float reader, a Relu that is not redundant, another type', () => {
    const g = new GraphBuilder();
    const a = g.op('a', 'Add', [matrix(g), matrix(g, 'y')]);
    const c = g.op('r', 'Relu', [g.op('m', 'Mul', [matrix(g, 'z'), matrix(g, 'u')])]);
    g.output(g.op('t', 'Tanh', [a]), g.pair(a), g.pair(c));
    assert.equal(lowerToQOperators(g.model()).changes.length, 0);
  });

  test('an operator whose attributes have no float form stays, with the reason', () => {
    const g = new GraphBuilder();
    const [q, s, z] = [g.input('q', [1, 6, 6, 4], 'uint8'), g.floats('s', [0.1], []), g.constant('z', { dtype: 'uint8', dims: [], storage: { byteLength: 1, read: () => Uint8Array.of(3), readRange: () => Uint8Array.of(3) } })];
    g.output(g.op('p', 'QLinearGlobalAveragePool', [q, s, z, s, z], { domain: 'com.microsoft', attributes: { channels_last: 1 } }));
    const { model, changes } = liftQOperators(g.model());
    assert.deepEqual(operators(model), ['QLinearGlobalAveragePool']);
    assert.match(changes[0]!.message, /stays as it is: its attributes have no float form/);
  });
});
