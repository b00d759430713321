import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import { indexOf } from '../../src/graph/graph-index.js';
import type { Model, ValueInfo } from '../../src/graph/model.js';
import { runPasses, type Pass } from '../../src/passes/pass.js';
import { arrangePairs, clipIntegers, completeCarriers, keepRoundings, mergeQuantizers, shareQuantized } from '../../src/quantization/qat-arrange.js';
import { removeDangling } from '../../src/quantization/qat-dangling.js';
import { completeFromData, completeFromOperators, missingPairs } from '../../src/quantization/qat-missing.js';
import { scalarParameters } from '../../src/quantization/qat-quantizer.js';
import { shiftActivations, shiftWeights } from '../../src/quantization/qat-signedness.js';
import { fuse } from '../helpers/fuse.js';
import { GraphBuilder, SAME_PADS, type PairSpec } from '../helpers/graph-builder.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { integerScalar } from '../../src/tensor/affine.js';
import { runModel } from '../helpers/run-model.js';
import { feedsFor } from '../helpers/same-outputs.js';
import { assertExact, fusedKernels, operators } from './qat-model.js';

const S8: PairSpec = { dtype: 'int8', scale: 1 / 32, zeroPoint: 0 };
const U8: PairSpec = { dtype: 'uint8', scale: 1 / 32, zeroPoint: 0 };

/** A convolution of a dequantized value. */
const conv = (g: GraphBuilder, name: string, x: string, channels = 4) => g.op(name, 'Conv', [x, g.quantizedWeight(`${name}_w`, [channels, 4, 3, 3], { axis: 0 })], { attributes: SAME_PADS });
const image = (g: GraphBuilder) => g.input('x', [1, 4, 6, 6]);

interface ArrangeCase {
  readonly name: string;
  readonly build: (g: GraphBuilder) => void;
  readonly pass: Pass;
  /** Kernels before and after. */
  readonly before: readonly string[];
  readonly after: readonly string[];
}

const CASES: readonly ArrangeCase[] = [
  {
    name: 'a Relu that a zero point in the middle does not make redundant becomes a Clip of integers',
    build: (g) => g.output(g.pair(g.op('r', 'Relu', [conv(g, 'c', g.pair(image(g)))]), { zeroPoint: 128 })),
    pass: clipIntegers,
    before: ['FusedConv'],
    after: ['QLinearConv'],
  },
  {
    name: 'a Clip narrower than the range of its Q likewise',
    build: (g) => g.output(g.pair(g.op('r', 'Clip', [conv(g, 'c', g.pair(image(g))), g.floats('low', [-0.5], []), g.floats('high', [0.77], [])]))),
    pass: clipIntegers,
    before: ['FusedConv'],
    after: ['QLinearConv'],
  },
  {
    name: 'a Relu between two like pairs that cuts nothing off is taken out with one of them',
    build: (g) => g.output(g.pair(g.op('r', 'Relu', [g.pair(conv(g, 'c', g.pair(image(g))), U8)]), U8)),
    pass: clipIntegers,
    before: ['QLinearConv'],
    after: ['QLinearConv'],
  },
  {
    name: 'a Relu of quantized numbers that training left without a pair takes that before it',
    build: (g) => {
      const relu = g.op('r', 'Relu', [g.pair(conv(g, 'c', g.pair(image(g))))]);
      g.output(g.pair(conv(g, 'd', relu)));
    },
    pass: completeCarriers,
    before: ['Conv', 'QLinearConv'],
    after: ['QLinearConv', 'QLinearConv'],
  },
  {
    name: 'a Q behind a MaxPool goes before it too, and a DQ before a Flatten behind it',
    build: (g) => {
      const pooled = g.op('p', 'MaxPool', [conv(g, 'c', g.pair(image(g)))], { attributes: { kernel_shape: [2, 2], strides: [2, 2] } });
      const flat = g.op('f', 'Flatten', [g.pair(pooled)]);
      g.output(g.pair(g.op('m', 'MatMul', [flat, g.quantizedWeight('w', [36, 5])])));
    },
    pass: completeCarriers,
    before: ['MatMul', 'QLinearConv'],
    after: ['QLinearConv', 'QLinearMatMul'],
  },
  {
    name: 'a Q behind a Concat goes before each of its inputs',
    build: (g) => {
      const x = g.pair(image(g));
      g.output(g.pair(g.op('both', 'Concat', [conv(g, 'c', x), conv(g, 'd', x)], { attributes: { axis: 1 } })));
    },
    pass: completeCarriers,
    before: ['Conv', 'Conv'],
    after: ['QLinearConv', 'QLinearConv'],
  },
  {
    name: 'two Q that make the same integers become one',
    build: (g) => {
      const c = conv(g, 'c', g.pair(image(g)));
      const other = g.op('q2', 'QuantizeLinear', [c, g.floats('s2', [1 / 64], []), 'c_q_zero']);
      const d = conv(g, 'd', g.pair(c));
      const e = conv(g, 'e', g.op('dq2', 'DequantizeLinear', [other, 's2', 'c_q_zero']));
      g.output(g.pair(d), g.pair(e));
    },
    pass: mergeQuantizers,
    before: ['QLinearConv', 'QLinearConv', 'QLinearConv'],
    after: ['QLinearConv', 'QLinearConv', 'QLinearConv'],
  },
  {
    name: 's8 activations that two nodes read become u8, operands and Clip bounds with them',
    build: (g) => {
      const a = g.pair(conv(g, 'c', g.pair(image(g), S8)), S8);
      const sum = g.pair(g.op('sum', 'Add', [a, g.pair(conv(g, 'd', a), S8)]), S8);
      const scaled = g.pair(g.op('scaled', 'Mul', [sum, g.quantizedWeight('factor', [4, 1, 1], { dtype: 'int8' })]), S8);
      const q = g.quantize(g.op('e', 'Conv', [scaled, g.quantizedWeight('e_w', [4, 4, 1, 1])]), S8);
      const low = g.constant('low', { dtype: 'int8', dims: [], storage: { byteLength: 1, read: () => Uint8Array.of(0xf0), readRange: () => Uint8Array.of(0xf0) } });
      g.output(g.dequantize(g.op('clipped', 'Clip', [q, low]), S8));
    },
    pass: shiftActivations,
    before: ['Conv', 'Conv', 'Conv'],
    after: ['QLinearConv', 'QLinearConv', 'QLinearConv'],
  },
  {
    name: 's8 weights whose pairs of products could leave 16 bits become u8',
    build: (g) => g.output(g.pair(g.op('y', 'MatMul', [g.pair(g.input('x', [3, 16])), wideWeight(g)]))),
    pass: shiftWeights,
    before: ['QLinearMatMul'],
    after: ['QLinearMatMul'],
  },
];

function wideWeight(g: GraphBuilder): string {
  const values = Int8Array.from({ length: 64 }, (_, i) => (i % 2 ? 127 : -128));
  g.constant('w_q', { dtype: 'int8', dims: [16, 4], storage: { byteLength: 64, read: () => new Uint8Array(values.buffer), readRange: (from, length) => new Uint8Array(values.buffer, from, length) } });
  g.constant('w_z', { dtype: 'int8', dims: [], storage: { byteLength: 1, read: () => Uint8Array.of(0), readRange: () => Uint8Array.of(0) } });
  return g.op('w', 'DequantizeLinear', ['w_q', g.floats('w_s', [1 / 128], []), 'w_z']);
}

describe('rearrangements that keep every bit', () => {
  for (const { name, build, pass, before, after } of CASES) {
    test(name, async () => {
      const g = new GraphBuilder();
      build(g);
      const model = g.model();
      const result = pass(model);
      assert.equal(result.changes.length, 1);
      await assertExact(model, result);
      assert.deepEqual(checkGraph(result.model.graph), []);
      const kernels = (list: readonly string[]) => list.map((kernel) => kernel.replace(/^(Fused)?Conv$/, 'Conv'));
      assert.deepEqual(kernels((await fusedKernels(model)).kernels), kernels(before));
      assert.deepEqual((await fusedKernels(result.model)).kernels, after);
      assert.equal(pass(result.model).model, result.model, 'a second time it finds nothing');
    });
  }

  test('a Clip whose bounds the integers have, but not the numbers that they stand for, is taken out', async () => {
    const g = new GraphBuilder();
    g.output(g.pair(g.op('r', 'Clip', [conv(g, 'c', g.pair(image(g))), g.floats('low', [0], []), g.floats('high', [6], [])]), { scale: 0.02353, zeroPoint: 0 }));
    // onnxruntime-node 1.30 refuses this model where it optimizes it.
    const result = clipIntegers(g.model());
    await assertExact(g.model(), result);
    assert.ok(!operators(result.model).includes('Clip'));
    assert.deepEqual((await fusedKernels(result.model)).kernels, ['QLinearConv']);
  });

  test('two roundings in a row stay two where the runtime fuses: it looks the second up', async () => {
    const g = new GraphBuilder();
    g.output(g.pair(g.pair(g.input('x', [2, 32]), { scale: 1 / 40 }), { scale: 1 / 21 }));
    const model = g.model();
    const result = keepRoundings(model);
    await assertExact(model, result);
    assert.equal(keepRoundings(result.model).model, result.model, 'a second time it finds nothing');
    const feeds = feedsFor(model);
    const optimized = (m: Model) => runModel(encodeModel(m), feeds, { optimization: 'all' });
    const [expected, left, kept] = [await runModel(encodeModel(model), feeds, { optimization: 'disabled' }), await optimized(model), await optimized(result.model)];
    assert.notDeepEqual(left, expected, 'the runtime drops a rounding');
    assert.deepEqual(kept, expected);
    assert.ok((await fuse(result.model)).graph.nodes.some(({ opType }) => opType === 'QLinearConcat'));
  });

  test('scales and zero points of one element become scalars', async () => {
    const g = new GraphBuilder();
    const s = g.floats('s', [0.05]);
    const q = g.op('q', 'QuantizeLinear', [g.input('x', [2, 3]), s]);
    g.output(g.op('y', 'DequantizeLinear', [q, s]));
    const result = scalarParameters(g.model());
    await assertExact(g.model(), result);
    assert.deepEqual(result.model.graph.initializers.get('s')!.dims, []);
  });

  test('declared types of values and constants that became u8 are not those of s8', async () => {
    const g = new GraphBuilder();
    g.output(g.pair(conv(g, 'c', g.pair(image(g), S8)), S8));
    const model = g.model();
    const declare = (name: string, shape: readonly number[]): ValueInfo => ({ name, type: { kind: 'tensor', dtype: 'int8', shape } });
    const declared = { ...model, graph: { ...model.graph, valueInfo: [declare('x_q', [1, 4, 6, 6]), declare('x_q_zero', []), declare('c_w_q', [4, 4, 3, 3])] } };
    const result = shiftActivations(declared);
    assert.deepEqual(result.model.graph.valueInfo.map(({ name }) => name), ['c_w_q']);
    await assertExact(declared, result);
  });

  test('s8 that enters or leaves the model stays', () => {
    const g = new GraphBuilder();
    const q = g.quantize(g.input('x', [2, 3]), S8);
    g.output(q, g.dequantize(q, S8));
    const { model, changes } = shiftActivations(g.model());
    assert.deepEqual(model, g.model());
    assert.match(changes[0]!.message, /stays s8: the output "x_q" gives the integers/);
  });

  test('weights of 8 bits stay s8 beside activations of 7', () => {
    const changes = (top: number) => {
      const g = new GraphBuilder();
      const bound = (name: string, value: number) => g.constant(name, integerScalar('uint8', value));
      const clipped = g.op('clip', 'Clip', [g.quantize(g.input('x', [3, 16]), { zeroPoint: 64 }), bound('low', 0), bound('top', top)]);
      g.output(g.pair(g.op('y', 'MatMul', [g.dequantize(clipped, { zeroPoint: 64 }), wideWeight(g)])));
      return shiftWeights(g.model()).changes.length;
    };
    assert.deepEqual([changes(127), changes(130)], [0, 1]);
  });

  test('weights of 4 bits stay s8: their products fit', () => {
    const g = new GraphBuilder();
    g.output(g.pair(conv(g, 'c', g.pair(image(g)))));
    assert.equal(shiftWeights(g.model()).changes.length, 0);
  });
});

/** A residual block whose shortcut training did not quantize. */
function residual(): Model {
  const g = new GraphBuilder();
  const c = conv(g, 'c', g.pair(image(g)));
  const d = g.pair(conv(g, 'd', g.pair(c, U8)));
  g.output(g.pair(g.op('sum', 'Add', [c, d])));
  return g.model();
}

describe('pairs that training left out', () => {
  test('another reader of a value takes the Q/DQ that training put there', async () => {
    const { model, changes } = shareQuantized(residual());
    assert.deepEqual(changes.map(({ pass, names }) => [pass, names]), [['share-quantized', ['c']]]);
    assert.deepEqual(await fusedKernels(residual()).then(({ kernels }) => kernels), ['Conv', 'QLinearConv']);
    assert.deepEqual(await fusedKernels(model), { kernels: ['QLinearConv', 'QLinearConv'], pairs: 2 });
  });

  test('a value without any pair is named with the nodes that it keeps in float, and completed from a range', async () => {
    const g = new GraphBuilder();
    const a = g.pair(image(g));
    g.output(g.pair(g.op('sum', 'Add', [conv(g, 'c', a), a])));
    const model = g.model();
    const missing = missingPairs(indexOf(model.graph), model.graph.nodes);
    assert.deepEqual(missing.map(({ value, nodes }) => [value, nodes]), [['c', ['c', 'sum']]]);
    assert.deepEqual((await fusedKernels(model)).kernels, ['Conv']);
    const completed = completeFromData(model, () => [-2, 2], 'uint8', '');
    assert.deepEqual((await fusedKernels(completed.model)).kernels, ['QLinearConv']);
    assert.equal(completeFromData(model, () => undefined, 'uint8', '').model, model);
  });

  test('averages take the parameters of their input, numbers are stored exactly', async () => {
    const g = new GraphBuilder();
    const c = g.pair(conv(g, 'c', g.pair(image(g))));
    const half = g.pair(g.op('half', 'Mul', [c, g.floats('number', [-0.3], [])]));
    const flat = g.op('f', 'Flatten', [g.op('mean', 'GlobalAveragePool', [half])]);
    g.output(g.pair(g.op('m', 'MatMul', [flat, g.quantizedWeight('w', [4, 5])])));
    const model = g.model();
    assert.deepEqual((await fusedKernels(model)).kernels, ['MatMul', 'QLinearConv']);
    const { model: completed } = runPasses(model, [(m) => completeFromOperators(m), arrangePairs]);
    assert.deepEqual(await fusedKernels(completed), { kernels: ['QLinearConv', 'QLinearMatMul'], pairs: 2 });
    const only = { ...model, graph: { ...model.graph, outputs: [{ name: 'half_q_dq', type: { kind: 'none' } as const }] } };
    await assertExact(only, completeFromOperators(only));
  });

  test('a Clip whose bound is between two of its pair\'s numbers does not take that pair', () => {
    const clip = (high: number) => {
      const g = new GraphBuilder();
      g.output(g.pair(conv(g, 'd', g.op('r', 'Clip', [g.pair(image(g)), g.floats('low', [-5], []), g.floats('high', [high], [])]))));
      return completeCarriers(g.model()).changes.length;
    };
    assert.deepEqual([clip(0.5), clip(0.51)], [1, 0]);
  });

  test('an average behind a MaxPool counts as what an integer kernel reads', async () => {
    const g = new GraphBuilder();
    const pooled = g.op('p', 'MaxPool', [g.pair(conv(g, 'c', g.pair(image(g))))], { attributes: { kernel_shape: [2, 2], strides: [2, 2] } });
    const flat = g.op('f', 'Flatten', [g.op('mean', 'GlobalAveragePool', [pooled])]);
    g.output(g.pair(g.op('m', 'MatMul', [flat, g.quantizedWeight('w', [4, 5])])));
    const { model } = runPasses(g.model(), [arrangePairs, (m) => completeFromOperators(m), arrangePairs]);
    assert.deepEqual(await fusedKernels(model), { kernels: ['QLinearConv', 'QLinearMatMul'], pairs: 2 });
  });

  test('pairs between float operators are taken out, those at a graph output with its name kept', () => {
    const g = new GraphBuilder();
    const t = g.op('t', 'Tanh', [g.pair(g.op('s', 'Sigmoid', [g.input('x', [4])]))]);
    g.output(g.pair(t));
    const { model, changes } = removeDangling(g.model(), new Set(['s_q', 's_q_dq', 't_q', 't_q_dq']));
    assert.deepEqual(operators(model), ['Sigmoid', 'Tanh']);
    assert.deepEqual(model.graph.outputs.map(({ name }) => name), ['t_q_dq']);
    assert.deepEqual(checkGraph(model.graph), []);
    assert.deepEqual(changes[0]!.names, ['s_q_dq', 't_q_dq']);
  });

  test('what such a pair cuts off stays cut off: exporters leave out a Relu that a Q does', async () => {
    const g = new GraphBuilder();
    const narrow = { scale: 1 / 640, zeroPoint: 0 };
    g.output(g.pair(g.op('t', 'Sin', [g.pair(g.input('x', [64]), narrow)]), narrow));
    const result = removeDangling(g.model(), new Set(['x_q', 'x_q_dq', 't_q', 't_q_dq']));
    assert.deepEqual(operators(result.model), ['Clip', 'Sin', 'Clip']);
    assert.deepEqual(checkGraph(result.model.graph), []);
    await assertExact(g.model(), result, 1 / 600);
  });

  test('small constants of float operators become floats again', async () => {
    const g = new GraphBuilder();
    g.output(g.op('y', 'Sub', [g.input('x', [2, 3]), g.quantizedWeight('w', [2, 3], { axis: 0, scale: 0.3 })]));
    const result = removeDangling(g.model(), new Set(['w']));
    assert.deepEqual(operators(result.model), ['Sub']);
    await assertExact(g.model(), result);
  });
});
