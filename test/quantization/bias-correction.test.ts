import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Model } from '../../src/graph/model.js';
import { indexOf } from '../../src/graph/graph-index.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { correctableInputs, correctBiases, withBiases } from '../../src/quantization/bias-correction.js';
import type { QuantizationPlan } from '../../src/quantization/plan.js';
import type { StaticOptions } from '../../src/quantization/plan-static.js';
import { storeConstant } from '../../src/quantization/static-qdq.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import { axisLayout } from '../../src/tensor/slices.js';
import { elementCount, tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { GraphBuilder, noise, SAME_PADS } from '../helpers/graph-builder.js';
import { runModel } from '../helpers/run-model.js';
import { planWith, selectIn, type SelectedModel } from './quantize-graph.js';

let host: RuntimeHost;
before(() => void (host = new RuntimeHost()));
after(() => host.close());

async function selected(build: (g: GraphBuilder) => void, keptFloat?: readonly string[]): Promise<SelectedModel> {
  const g = new GraphBuilder();
  build(g);
  return selectIn(host, g.model(), keptFloat && (({ name }) => (keptFloat.includes(name) ? 'kept' : undefined)));
}

/** The model with every weight of the plan as it is after rounding, and all else as it was. */
function withRoundedWeights(model: Model, plan: QuantizationPlan): Model {
  const initializers = new Map(model.graph.initializers);
  plan.nodes.forEach((planned, i) => {
    const form = planned.constants?.[1];
    if (!form) return;
    const name = model.graph.nodes[i]!.inputs[1]!;
    const tensor = initializers.get(name)!;
    const scales = plan.scales[form.scales]!;
    const integers = numbersOf(storeConstant(tensor, form, scales));
    const { channels, inner } = form.axis === null ? { channels: 1, inner: integers.length } : axisLayout(tensor.dims, form.axis);
    const values = Float32Array.from(integers, (q, at) => (q - form.zeroPoint) * scales[Math.floor(at / inner) % channels]!);
    initializers.set(name, tensorFromArray('float32', tensor.dims, values));
  });
  return { ...model, graph: { ...model.graph, initializers } };
}

/** Mean of each channel along axis 1, over all samples. */
function channelMeans(samples: readonly ArrayLike<number>[], dims: readonly number[]): Float64Array {
  const { channels, inner } = axisLayout(dims, 1);
  const means = new Float64Array(channels);
  for (const values of samples) for (let i = 0; i < values.length; i++) means[Math.floor(i / inner) % channels]! += values[i]! / ((values.length / channels) * samples.length);
  return means;
}

/** Samples with any numbers; `flat` gives each channel of each sample one number, so that a kernel sees the same mean at each of its places. */
function samplesOf(dims: readonly number[], flat: boolean): Tensor[] {
  return [1, 2, 3].map((seed) => {
    const { channels, inner } = axisLayout(dims, 1);
    const values = noise(elementCount(dims), seed).map((value, i, all) => 1 + (flat ? all[(Math.floor(i / inner) % channels) * inner]! : value));
    return tensorFromArray('float32', dims, values);
  });
}

interface LayerCase {
  readonly name: string;
  readonly dims: readonly number[];
  readonly build: (g: GraphBuilder, x: string) => string;
  readonly options?: Partial<StaticOptions>;
  /** Shape of the output. */
  readonly made: readonly number[];
  /** The kernel reaches beyond one place, so that only flat data have the same mean at each of its places. */
  readonly flat?: true;
}

const conv = (g: GraphBuilder, x: string, dims: readonly number[], attributes: Record<string, number | readonly number[]> = {}, bias = true) =>
  g.op('y', 'Conv', [x, g.weight('w', dims), ...(bias ? [g.weight('b', [dims[0]!], 0.5)] : [])], { attributes });

const LAYERS: readonly LayerCase[] = [
  { name: 'a convolution of one place', dims: [2, 8, 5, 5], build: (g, x) => conv(g, x, [6, 8, 1, 1]), made: [2, 6, 5, 5] },
  { name: 'without a bias', dims: [2, 8, 5, 5], build: (g, x) => conv(g, x, [6, 8, 1, 1], {}, false), made: [2, 6, 5, 5] },
  { name: 'a kernel of 3 × 3', dims: [1, 8, 6, 6], build: (g, x) => conv(g, x, [6, 8, 3, 3]), made: [1, 6, 4, 4], flat: true },
  { name: 'with strides and dilations', dims: [1, 8, 9, 9], build: (g, x) => conv(g, x, [6, 8, 3, 3], { strides: [2, 2], dilations: [2, 2] }), made: [1, 6, 3, 3], flat: true },
  { name: 'in groups', dims: [1, 8, 5, 5], build: (g, x) => conv(g, x, [12, 2, 1, 1], { group: 4 }), made: [1, 12, 5, 5] },
  { name: 'depthwise', dims: [1, 8, 6, 6], build: (g, x) => conv(g, x, [8, 1, 3, 3], { group: 8 }), made: [1, 8, 4, 4], flat: true },
  { name: 'depthwise with two outputs for each input', dims: [1, 8, 5, 5], build: (g, x) => conv(g, x, [16, 1, 3, 3], { group: 8 }), made: [1, 16, 3, 3], flat: true },
  { name: '1-D', dims: [2, 8, 9], build: (g, x) => conv(g, x, [6, 8, 3]), made: [2, 6, 7], flat: true },
  { name: '3-D', dims: [1, 4, 4, 4, 4], build: (g, x) => conv(g, x, [6, 4, 2, 2, 2]), made: [1, 6, 3, 3, 3], flat: true },
  { name: 'one scale for the whole weight', dims: [2, 8, 5, 5], build: (g, x) => conv(g, x, [6, 8, 1, 1]), made: [2, 6, 5, 5], options: { perChannel: false } },
  { name: 'weights in u8', dims: [2, 8, 5, 5], build: (g, x) => conv(g, x, [6, 8, 1, 1]), made: [2, 6, 5, 5], options: { weightType: 'uint8' } },
  { name: 'Gemm', dims: [4, 24], build: (g, x) => g.op('y', 'Gemm', [x, g.weight('w', [24, 10]), g.weight('b', [10])]), made: [4, 10] },
  { name: 'Gemm, transB', dims: [4, 24], build: (g, x) => g.op('y', 'Gemm', [x, g.weight('w', [10, 24]), g.weight('b', [10])], { attributes: { transB: 1 } }), made: [4, 10] },
  { name: 'Gemm, transB, one scale, no bias', dims: [4, 24], build: (g, x) => g.op('y', 'Gemm', [x, g.weight('w', [10, 24])], { attributes: { transB: 1 } }), made: [4, 10], options: { perChannel: false } },
  { name: 'Gemm with a bias of one row', dims: [4, 24], build: (g, x) => g.op('y', 'Gemm', [x, g.weight('w', [24, 10]), g.weight('b', [1, 10])]), made: [4, 10] },
];

describe('correctBiases takes the mean error of rounded weights away', () => {
  for (const { name, dims, build, options, made, flat = false } of LAYERS) {
    test(name, async () => {
      const model = await selected((g) => void g.output(build(g, g.input('x', dims))));
      const float = model.prepared.model;
      const plan = planWith(model, {}, options);
      assert.deepEqual(correctableInputs(float, plan), [{ name: 'x', rank: dims.length, axis: 1 }]);
      const samples = samplesOf(dims, flat);
      const means = new Map([['x', channelMeans(samples.map(numbersOf), dims)]]);
      const biases = correctBiases(float, plan, means);
      const corrected = withBiases(float, biases);
      assert.deepEqual(Object.keys(biases), ['y']);

      const meanOutput = async (of: Model) => {
        const bytes = encodeModel(of);
        const outputs = [];
        for (const x of samples) outputs.push((await runModel(bytes, new Map([['x', x]]))).get('y')!);
        return channelMeans(outputs, made);
      };
      const wanted = await meanOutput(float);
      const error = (of: Float64Array) => Math.max(...of.map((mean, c) => Math.abs(mean - wanted[c]!)));
      const before = error(await meanOutput(withRoundedWeights(float, plan)));
      const after = error(await meanOutput(withRoundedWeights(corrected, plan)));
      assert.ok(before > 1e-4, `rounding alone moves the mean: ${before}`);
      assert.ok(after < 1e-5, `${after} is left of ${before}`);
    });
  }
});

describe('correctBiases: what it leaves alone', () => {
  const two = (g: GraphBuilder) => {
    const bias = g.weight('b', [16], 0.5);
    const conv = (name: string, x: string) => g.op(name, 'Conv', [x, g.weight(`${name}_w`, [16, 16, 3, 3]), bias], { attributes: SAME_PADS });
    g.output(conv('second', conv('first', g.input('x', [1, 16, 8, 8]))));
  };
  const ones = (...names: string[]) => new Map(names.map((name) => [name, new Array<number>(16).fill(1)]));
  const biasOf = (model: Model, name: string) => indexOf(model.graph).constant(model.graph.nodes.find((node) => node.name === name)!.inputs[2]!)!;

  test('a node kept in float has its bias as it was, though another shares it', async () => {
    const model = await selected(two, ['second']);
    const biases = correctBiases(model.prepared.model, planWith(model), ones('x', 'first'));
    const corrected = withBiases(model.prepared.model, biases);
    assert.deepEqual(Object.keys(biases), ['first']);
    assert.equal(biasOf(corrected, 'second'), biasOf(model.prepared.model, 'second'));
    assert.notDeepEqual(numbersOf(biasOf(corrected, 'first')), numbersOf(biasOf(corrected, 'second')));
  });

  test('nodes that share a bias get one each', async () => {
    const model = await selected(two);
    const biases = correctBiases(model.prepared.model, planWith(model), ones('x', 'first'));
    const corrected = withBiases(model.prepared.model, biases);
    assert.deepEqual(Object.keys(biases), ['first', 'second']);
    assert.notDeepEqual(numbersOf(biasOf(corrected, 'first')), numbersOf(biasOf(corrected, 'second')));
    assert.deepEqual([...corrected.graph.initializers.keys()].sort(), ['b_corrected', 'b_corrected_1', 'first_w', 'second_w']);
  });

  test('a node without a mean, or with one that is no number', async () => {
    const model = await selected(two);
    const float = model.prepared.model;
    assert.deepEqual(Object.keys(correctBiases(float, planWith(model), ones('first'))), ['second']);
    const notFinite = new Map([...ones('x'), ['first', [NaN, ...new Array<number>(15).fill(1)]] as const]);
    assert.deepEqual(Object.keys(correctBiases(float, planWith(model), notFinite)), ['first']);
    assert.equal(withBiases(float, correctBiases(float, planWith(model), new Map())), float);
  });

  test('products of matrices have no bias of their own here', async () => {
    const model = await selected((g) => void g.output(g.op('y', 'MatMul', [g.input('x', [4, 32]), g.weight('w', [32, 10])])));
    assert.deepEqual(correctableInputs(model.prepared.model, planWith(model)), []);
  });

  test('a Gemm whose bias is one number for all', async () => {
    const model = await selected((g) => void g.output(g.op('y', 'Gemm', [g.input('x', [4, 32]), g.weight('w', [32, 10]), g.weight('b', [1], 1)])));
    assert.deepEqual(correctBiases(model.prepared.model, planWith(model), new Map([['x', new Array<number>(32).fill(1)]])), {});
  });

  test('a Gemm whose left side is turned: its channels lie along the other axis', async () => {
    const model = await selected((g) => void g.output(g.op('y', 'Gemm', [g.input('x', [32, 64]), g.weight('w', [32, 10])], { attributes: { transA: 1 } })));
    const plan = planWith(model);
    assert.equal(plan.nodes[0]!.decision, 'quantized');
    assert.deepEqual(correctableInputs(model.prepared.model, plan), []);
    assert.deepEqual(correctBiases(model.prepared.model, plan, new Map([['x', new Array<number>(64).fill(1)]])), {});
  });

  test('the model given is as it was', async () => {
    const model = await selected(two);
    const bytes = encodeModel(model.prepared.model);
    correctBiases(model.prepared.model, planWith(model), ones('x', 'first'));
    assert.deepEqual(encodeModel(model.prepared.model), bytes);
  });
});

describe('correctableInputs', () => {
  test('each value once, of quantized nodes only', async () => {
    const build = (g: GraphBuilder) => {
      const x = g.input('x', [1, 16, 8, 8]);
      const conv = (name: string, input: string) => g.op(name, 'Conv', [input, g.weight(`${name}_w`, [16, 16, 1, 1])]);
      const a = conv('a', x);
      g.output(conv('b', x), conv('c', a), g.op('gemm', 'Gemm', [g.op('flat', 'Flatten', [g.op('pool', 'GlobalAveragePool', [a])]), g.weight('g', [16, 4])]));
    };
    const model = await selected(build, ['c']);
    assert.deepEqual(correctableInputs(model.prepared.model, planWith(model)), [
      { name: 'x', rank: 4, axis: 1 },
      { name: 'flat', rank: 2, axis: 1 },
    ]);
  });
});
