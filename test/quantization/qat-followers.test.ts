import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Model } from '../../src/graph/model.js';
import { quantizeBiases } from '../../src/quantization/qat-biases.js';
import { foldFollowers } from '../../src/quantization/qat-followers.js';
import { checkQuantizers } from '../../src/quantization/qat-quantizer.js';
import { spreadWeights } from '../../src/quantization/qat-spread.js';
import { numbersOf } from '../../src/tensor/values.js';
import { GraphBuilder, float } from '../helpers/graph-builder.js';
import { parseModel } from '../helpers/graph-text.js';
import { runModel } from '../helpers/run-model.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { feedsFor, outputsOf } from '../helpers/same-outputs.js';
import { assertExact, fusedKernels, operators } from './qat-model.js';

const ROUNDING = 1e-6;

/** A convolution with stored weights, what training left behind it, and Q/DQ. */
function withFollowers(follow: (g: GraphBuilder, value: string) => string): Model {
  const g = new GraphBuilder();
  const c = g.op('c', 'Conv', [g.pair(g.input('x', [1, 4, 5, 5])), g.quantizedWeight('w', [3, 4, 1, 1], { axis: 0 }), g.floats('b', [0.1, -0.2, 0.3])]);
  g.output(g.op('out', 'Relu', [follow(g, c)]));
  return g.model();
}

const batchNorm = (g: GraphBuilder, value: string, gamma: readonly number[]) =>
  g.op('bn', 'BatchNormalization', [value, g.floats('gamma', gamma), g.floats('beta', [0.5, 0, -0.5]), g.floats('mean', [0.1, 0.2, 0.3]), g.floats('var', [1, 4, 0.25])], { attributes: { epsilon: float(0) } });

describe('foldFollowers', () => {
  test('a division that the batch norm undoes: integers and scales stay as trained', async () => {
    const model = withFollowers((g, value) => batchNorm(g, g.op('d', 'Div', [value, g.floats('factor', [2, 0.35, 1.4], [1, 3, 1, 1])]), [2, 0.7, 0.7]));
    const folded = foldFollowers(model);
    await assertExact(model, folded, ROUNDING);
    assert.deepEqual(operators(folded.model).filter((op) => !/Linear/.test(op)), ['Conv', 'Relu']);
    for (const name of ['w_q', 'w_scale']) assert.equal(folded.model.graph.initializers.get(name), model.graph.initializers.get(name));
  });

  test('a factor goes into the scale of each channel, the integers stay', async () => {
    const model = withFollowers((g, value) => batchNorm(g, value, [2, 0.5, 3]));
    const folded = foldFollowers(model);
    await assertExact(model, folded, ROUNDING);
    assert.equal(folded.model.graph.initializers.get('w_q'), model.graph.initializers.get('w_q'));
  });

  test('a negative factor negates the integers of its channel, zero clears them', async () => {
    const model = withFollowers((g, value) => batchNorm(g, value, [-2, 0, 3]));
    await assertExact(model, foldFollowers(model), ROUNDING);
  });

  test('behind a Q it stays, with the reason; so it does where something else reads the result', () => {
    const behind = foldFollowers(withFollowers((g, value) => batchNorm(g, g.pair(value), [1, 2, 3])));
    assert.ok(operators(behind.model).includes('BatchNormalization'));
    assert.match(behind.changes[0]!.message, /rounded by QuantizeLinear in between/);
    const shared = foldFollowers(withFollowers((g, value) => g.op('sum', 'Add', [batchNorm(g, value, [1, 2, 3]), value])));
    assert.match(shared.changes[0]!.message, /has other readers/);
  });
});

function withBias(bias: (g: GraphBuilder) => string): Model {
  const g = new GraphBuilder();
  g.output(g.op('y', 'Gemm', [g.pair(g.input('x', [2, 4])), g.quantizedWeight('w', [4, 3], { axis: 1 }), bias(g)]));
  return g.model();
}

describe('quantizeBiases', () => {
  test('a float bias takes the product of the trained scales, and the runtime an integer Gemm', async () => {
    const model = withBias((g) => g.floats('b', [0.123, -4.5, 0]));
    const result = quantizeBiases(model, new Map());
    assert.deepEqual((await fusedKernels(model)).kernels, ['Gemm']);
    assert.deepEqual((await fusedKernels(result.model)).kernels, ['QGemm']);
    // Half a step of 1/64 · 1/64 at most.
    await assertExact(model, result, 0.5 / 4096);
    assert.equal(quantizeBiases(result.model, new Map()).changes.length, 0);
  });

  test('a bias stored with another scale is rounded anew, since the runtime would not look at the scale', async () => {
    const model = withBias((g) => g.quantizedBias('b', [3], 1 / 1024));
    const result = quantizeBiases(model, new Map());
    await assertExact(model, result, 0.5 / 4096);
    const feeds = feedsFor(model);
    const [simulated] = (await runModel(encodeModel(model), feeds, { optimization: 'disabled' })).values();
    const [before] = (await runModel(encodeModel(model), feeds)).values();
    const [after] = (await runModel(encodeModel(result.model), feeds)).values();
    const error = (received: Float64Array) => Math.max(...received.map((value, i) => Math.abs(value - simulated![i]!)));
    assert.ok(error(before!) > 1 && error(after!) < 0.01, `${error(before!)} before, ${error(after!)} after`);
  });

  test('weights of 4 bits are spread over 8, bit for bit, and a bias is rounded less coarsely', async () => {
    const model = parseModel(`
      input x float32[2,4]
      const sx float32[] 0.25
      const zx uint8[] 8
      const w int8[4,3] 7 -7 1 0 2 -3 5 6 -1 -2 3 4
      const sw float32[3] 0.1 0.3 0.05
      const zw int8[3] 0 0 0
      const b float32[3] 0.013 -0.036 0.0063
      q = QuantizeLinear(x, sx, zx)
      d = DequantizeLinear(q, sx, zx)
      dw = DequantizeLinear(w, sw, zw) axis=1
      y = Gemm(d, dw, b)
      output y float32[2,3]`);
    for (const [largest, factor] of [[127, 16], [64, 8]] as const) {
      const spread = spreadWeights(model, largest);
      await assertExact(model, spread);
      assert.deepEqual(numbersOf(spread.model.graph.initializers.get('w')!), numbersOf(model.graph.initializers.get('w')!).map((value) => value * factor));
      assert.equal(spreadWeights(spread.model, largest).model, spread.model);
    }
    const error = async (coarse: Model) => {
      const [feeds, { model: stored }] = [feedsFor(model), quantizeBiases(coarse, new Map())];
      const [expected, received] = [numbersOf((await outputsOf(model, feeds)).get('y')!), numbersOf((await outputsOf(stored, feeds)).get('y')!)];
      return Math.max(...Array.from(expected, (value, i) => Math.abs(value - received[i]!)));
    };
    const [before, after] = [await error(model), await error(spreadWeights(model, 127).model)];
    assert.ok(after < before / 4, `${after} instead of ${before}`);
  });

  test('a bias that does not fit stays float, with the reason', () => {
    const { model, changes } = quantizeBiases(withBias((g) => g.floats('b', [1, 1e9, 1])), new Map());
    assert.ok(model.graph.initializers.get('b')!.dtype === 'float32');
    assert.match(changes[0]!.message, /channel 1 does not fit int32/);
  });

  test('the bias of a MatMul that becomes a Gemm', async () => {
    const g = new GraphBuilder();
    const m = g.op('m', 'MatMul', [g.pair(g.input('x', [2, 4])), g.quantizedWeight('w', [4, 3])]);
    g.output(g.op('y', 'Add', [m, g.floats('b', [1, 2, 3])]));
    const types = new Map([['x_q_dq', { kind: 'tensor', dtype: 'float32', shape: [2, 4] } as const]]);
    const result = quantizeBiases(g.model(), types);
    assert.deepEqual((await fusedKernels(g.model())).kernels, ['Gemm']);
    assert.deepEqual((await fusedKernels(result.model)).kernels, ['QGemm']);
    assert.deepEqual(numbersOf(result.model.graph.initializers.get('b_q')!), Float64Array.of(4096, 8192, 12288));
  });
});

describe('checkQuantizers names what is wrong', () => {
  const model = (scale: string, zero: string, more = '') => parseModel(`
    input x float32[2,3]
    const w float32[2,3] 1 2 3 4 5 6
    const s float32${scale}
    const z ${zero}
    const z2 uint8[] 0
    q = QuantizeLinear(w, s, z)${more}
    dq: y = DequantizeLinear(q, s, ${zero.startsWith('int8') ? 'z' : 'z2'})${more}
    output y float32[2,3]`);

  for (const [name, scale, zero, more, expected] of [
    ['zero', '[] 0', 'int8[] 0', '', /QuantizeLinear "q": its scale "s" contains 0/],
    ['negative', '[] -1', 'int8[] 0', '', /contains -1/],
    ['NaN', '[] NaN', 'int8[] 0', '', /contains NaN/],
    ['infinite', '[] Infinity', 'int8[] 0', '', /contains Infinity/],
    ['fewer zero points', '[2] 1 1', 'int8[] 0', ' axis=0', /2 scales and 1 zero points/],
    ['another axis', '[2] 1 1', 'int8[2] 0 0', ' axis=1', /2 scales for the 3 channels of "w" along axis 1/],
    ['an axis that is not there', '[2] 1 1', 'int8[2] 0 0', ' axis=2', /axis 2 is outside/],
    ['another type', '[] 1', 'int16[] 0', '', /DequantizeLinear "dq": it reads int16 from QuantizeLinear "q" and its zero point is uint8/],
  ] as const) {
    test(name, () => {
      assert.throws(() => checkQuantizers(model(scale, zero, more).graph), { code: 'model-invalid', message: expected });
    });
  }

  test('what is right passes', () => {
    checkQuantizers(model('[] 0.5', 'int8[] 0').graph);
    checkQuantizers(model('[2] 0.5 1', 'int8[2] 0 0', ' axis=0').graph);
  });
});
