import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import type { Model, ValueType } from '../../src/graph/model.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { takeOutChannelScales } from '../../src/quantization/qat-channels.js';
import { foldFollowers } from '../../src/quantization/qat-followers.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { GraphBuilder, SAME_PADS } from '../helpers/graph-builder.js';
import { runModel } from '../helpers/run-model.js';
import { feedsFor } from '../helpers/same-outputs.js';
import { assertExact, fusedKernels, operators } from './qat-model.js';

/** Convolution, Relu, Q/DQ with a scale for each channel, and a convolution of its own for each channel. */
function depthwise(zeroPoints: readonly number[]): Model {
  const g = new GraphBuilder();
  const a = g.op('a', 'Conv', [g.pair(g.input('x', [1, 4, 6, 6])), g.quantizedWeight('a_w', [4, 4, 1, 1], { axis: 0 })]);
  const scales = g.floats('s', [1 / 64, 1 / 30, 1 / 20, 1 / 80]);
  const zeros = g.constant('z', tensorFromArray('uint8', [4], Uint8Array.from(zeroPoints)));
  const channels = { attributes: { axis: 1 } };
  const q = g.op('q', 'QuantizeLinear', [g.op('r', 'Relu', [a]), scales, zeros], channels);
  const d = g.op('d', 'DequantizeLinear', [q, scales, zeros], channels);
  g.output(g.pair(g.op('b', 'Conv', [d, g.quantizedWeight('b_w', [4, 1, 3, 3], { axis: 0 })], { attributes: { ...SAME_PADS, group: 4 } })));
  return g.model();
}

const TYPES = new Map<string, ValueType>([['r', { kind: 'tensor', dtype: 'float32', shape: [1, 4, 6, 6] }]]);

/** Whether a model computes the same with the runtime's optimizations, a rounding step aside. */
async function runsAlike(model: Model): Promise<boolean> {
  const feeds = feedsFor(model);
  const [[expected], [received]] = (await Promise.all((['disabled', 'all'] as const).map(async (optimization) => [...(await runModel(encodeModel(model), feeds, { optimization })).values()]))) as [[Float64Array], [Float64Array]];
  return expected.every((value, i) => Math.abs(value - received[i]!) <= 1 / 64 + 1e-6);
}

describe('takeOutChannelScales', () => {
  test('a depthwise convolution of such channels runs on integers, which the runtime alone gets wrong', async () => {
    const model = depthwise([0, 0, 0, 0]);
    await assert.rejects(runModel(encodeModel(model), feedsFor(model), { optimization: 'all' }), /must be a scalar/);
    const result = takeOutChannelScales(model, TYPES);
    await assertExact(model, result, 1e-6);
    assert.deepEqual(checkGraph(result.model.graph), []);
    assert.deepEqual(operators(result.model).filter((opType) => !opType.endsWith('Linear')).sort(), ['Conv', 'Conv', 'Div', 'Relu']);
    const folded = foldFollowers(result.model).model;
    assert.ok(await runsAlike(folded));
    assert.deepEqual((await fusedKernels(folded)).kernels, ['QLinearConv', 'QLinearConv']);
    assert.equal(takeOutChannelScales(folded, TYPES).model, folded);
  });

  test('with a zero point for each channel too it stays float, and runs', async () => {
    const model = depthwise([0, 1, 2, 3]);
    const result = takeOutChannelScales(model, TYPES);
    await assertExact(model, result);
    assert.ok(await runsAlike(result.model));
  });

  test('a value of unknown rank is left as it is', () => {
    const model = depthwise([0, 0, 0, 0]);
    assert.equal(takeOutChannelScales(model, new Map()).model, model);
  });
});
