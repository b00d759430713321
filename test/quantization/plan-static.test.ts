import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { QdqError } from '../../src/errors.js';
import type { QuantizationPlan } from '../../src/quantization/plan.js';
import type { Range } from '../../src/quantization/plan-static.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import { representableRange } from '../../src/tensor/affine.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { GraphBuilder, noise, SAME_PADS } from '../helpers/graph-builder.js';
import { runModel, sqnrDb } from '../helpers/run-model.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { observe, planWith, quantizedBytes, selectIn, type SelectedModel } from './quantize-graph.js';

let host: RuntimeHost;
before(() => void (host = new RuntimeHost()));
after(() => host.close());

async function selected(build: (g: GraphBuilder) => void, opset?: number): Promise<SelectedModel> {
  const g = new GraphBuilder(opset);
  build(g);
  return selectIn(host, g.model());
}

const CHANNELS = 16;
const image = (g: GraphBuilder) => g.input('x', [1, CHANNELS, 4, 4]);
const conv = (g: GraphBuilder, name: string, x: string, weight = g.weight(`${name}_w`, [CHANNELS, CHANNELS, 3, 3]), bias?: string) =>
  g.op(name, 'Conv', bias ? [x, weight, bias] : [x, weight], { attributes: SAME_PADS });
const withBound = (low: number, high: number) => (g: GraphBuilder) =>
  void g.output(conv(g, 'last', g.op('clip', 'Clip', [conv(g, 'first', image(g)), g.floats('low', [low], []), g.floats('high', [high], [])])));

/** The error of a plan that cannot be made. */
async function planError(build: (g: GraphBuilder) => void): Promise<QdqError> {
  const model = await selected(build);
  try {
    planWith(model);
  } catch (error) {
    assert.ok(error instanceof QdqError, String(error));
    return error;
  }
  return assert.fail('a plan was made');
}

describe('planStatic refuses', () => {
  test('a value without a range, naming it', async () => {
    const model = await selected((g) => g.output(conv(g, 'last', conv(g, 'first', image(g)))));
    assert.throws(
      () => planWith(model, { x: [-1, 1], last: [0, 1] }, {}, 'refuse'),
      (error) => error instanceof QdqError && error.code === 'table-mismatch' && error.message.includes('"first"'),
    );
  });

  for (const bad of [NaN, Infinity, -Infinity]) {
    for (const at of [0, 700]) {
      test(`a weight with ${bad} at ${at}, naming it and its node`, async () => {
        const error = await planError((g) => {
          const values = noise(CHANNELS * CHANNELS * 9, 1);
          values[at] = bad;
          g.output(conv(g, 'first', image(g), g.constant('w', tensorFromArray('float32', [CHANNELS, CHANNELS, 3, 3], values))));
        });
        assert.equal(error.code, 'model-invalid');
        assert.match(error.message, /weight "w" contains NaN or infinity/);
        assert.match(error.hint ?? '', /--exclude "first"/);
      });
    }

    test(`a bias with ${bad}`, async () => {
      const error = await planError((g) => g.output(conv(g, 'first', image(g), undefined, g.floats('b', [bad, ...new Array<number>(CHANNELS - 1).fill(1)]))));
      assert.equal(error.code, 'model-invalid');
      assert.match(error.message, /bias "b" contains NaN or infinity/);
    });
  }
});

describe('planStatic', () => {
  const ranges: readonly Range[] = [[0, 0], [5, 5], [-3, -3], [2, 5], [-5, -2], [1e-40, 1e-39], [-1e-45, 1e-45], [-1e38, 1e38], [0, 3e38], [-1, 3]];
  for (const range of ranges) {
    test(`the range [${range.join(', ')}] gives a scale that is usable and holds 0`, async () => {
      const model = await selected((g) => g.output(conv(g, 'last', conv(g, 'first', image(g)))));
      for (const activationType of ['uint8', 'int8'] as const) {
        for (const symmetricActivations of [false, true]) {
          const plan = planWith(model, { x: range, first: range, last: range }, { activationType, symmetricActivations });
          for (const tensor of Object.values(plan.tensors)) {
            assert.equal(tensor.scale, Math.fround(tensor.scale));
            assert.ok(tensor.scale >= 2 ** -126 && Number.isFinite(tensor.scale), `scale ${tensor.scale}`);
            const [low, high] = representableRange(tensor);
            assert.ok(low <= 0 && high >= 0);
            assert.ok(low <= range[0] + tensor.scale && high >= range[1] - tensor.scale, `${low} … ${high}`);
          }
          for (const list of Object.values(plan.scales)) assert.ok(list.every((scale) => scale >= 2 ** -126 && Number.isFinite(scale)));
          const sample = new Map([['x', tensorFromArray('float32', [1, CHANNELS, 4, 4], noise(CHANNELS * 16, 4))]]);
          const [values] = (await runModel(quantizedBytes(model, plan), sample)).values();
          assert.ok(values!.every(Number.isFinite));
        }
      }
    });
  }

  test('a plan is plain data', async () => {
    const model = await selected((g) => g.output(conv(g, 'last', g.op('relu', 'Relu', [conv(g, 'first', image(g), undefined, g.weight('b', [CHANNELS]))]))));
    const plan = planWith(model);
    assert.deepEqual(JSON.parse(JSON.stringify(plan)), plan);
  });

  test('a Clip becomes redundant without losing more than a step, or gets a pair before it', async () => {
    for (const [low, high] of [[0, 6], [-1, 1], [-0.5, 6], [-1e-3, 1e-3], [-100, 0.1], [-Infinity, 2], [0, Infinity]] as const) {
      const model = await selected(withBound(low, high));
      for (const range of [[-0.2, 0.3], [0, 6], [-1, 1], [-50, 0.05], [-1e-4, 1e-4], [1, 4]] as const) {
        for (const activationType of ['uint8', 'int8'] as const) {
          for (const symmetricActivations of [false, true]) {
            const plan = planWith(model, { clip: range }, { activationType, symmetricActivations });
            const { scale } = plan.tensors['clip']!;
            const [lowest, highest] = representableRange(plan.tensors['clip']!);
            const first = plan.nodes.find(({ name }) => name === 'first')!;
            const what = `Clip(${low}, ${high}), range ${range.join(' … ')}, ${activationType}${symmetricActivations ? ' symmetric' : ''}`;
            if (first.pairBefore === undefined) assert.ok(lowest >= Math.fround(low) && highest <= Math.fround(high), `${what}: ${lowest} … ${highest}`);
            const wanted = [Math.min(0, Math.max(range[0], low)), Math.max(0, Math.min(range[1], high))] as const;
            assert.ok(lowest <= wanted[0] + 1.01 * scale && highest >= wanted[1] - 1.01 * scale, `${what}: ${lowest} … ${highest} for ${wanted.join(' … ')}`);
          }
        }
      }
    }
  });

  const domains: readonly [number, Parameters<typeof planWith>[2], string][] = [
    [12, {}, 'com.microsoft'],
    [13, {}, ''],
    [13, { activationType: 'uint16' }, 'com.microsoft'],
    [13, { weightType: 'int16' }, 'com.microsoft'],
    [21, { activationType: 'uint16' }, ''],
  ];
  for (const [opset, options, domain] of domains) {
    test(`operator set ${opset} with ${options?.activationType ?? options?.weightType ?? '8 bits'} uses Q/DQ of "${domain}"`, async () => {
      const model = await selected((g) => g.output(conv(g, 'first', image(g))), opset);
      const plan = planWith(model, {}, options);
      assert.equal(plan.domain, domain);
      assert.equal((await runModel(quantizedBytes(model, plan), (await observe(model, 1)).samples[0]!)).size, 1);
    });
  }

  test('an opset below 12 is raised to it', async () => {
    const model = await selected((g) => g.output(conv(g, 'first', image(g))), 9);
    assert.equal(model.prepared.model.opsets.get(''), 12);
  });
});

describe('the bias guard', () => {
  const biasScales = (plan: QuantizationPlan, node: string) => plan.scales[plan.nodes.find(({ name }) => name === node)!.constants![2]!.scales]!;

  test('lets a weight scale grow where its bias would overflow, and no other', async () => {
    const bias = new Array<number>(CHANNELS).fill(0.1);
    bias[3] = -4e4;
    const model = await selected((g) => g.output(conv(g, 'first', image(g), undefined, g.floats('b', bias))));
    const small: Range = [0, 255e-4];
    const plain = planWith(await selected((g) => g.output(conv(g, 'first', image(g)))), { x: small });
    const guarded = planWith(model, { x: small });
    const [before, now] = [plain.scales['first_w@0']!, guarded.scales['first_w@0']!];
    now.forEach((scale, c) => (c === 3 ? assert.ok(scale > 10 * before[c]!) : assert.equal(scale, before[c])));
    biasScales(guarded, 'first').forEach((scale, c) => assert.ok(Math.abs(bias[c]! / scale) <= 2 ** 30 + 128, `channel ${c}`));
  });

  test('makes a shared weight fit the biases of all that share it', async () => {
    const model = await selected((g) => {
      const w = g.weight('w', [CHANNELS, CHANNELS, 3, 3]);
      const first = conv(g, 'first', image(g), w, g.floats('b1', [1e6, ...new Array<number>(CHANNELS - 1).fill(0)]));
      g.output(conv(g, 'second', first, w, g.floats('b2', [...new Array<number>(CHANNELS - 1).fill(0), -1e6])));
    });
    const plan = planWith(model, { x: [0, 1e-3], first: [0, 1e-3] });
    for (const [node, c] of [['first', 0], ['second', CHANNELS - 1]] as const) assert.ok(1e6 / biasScales(plan, node)[c]! <= 2 ** 30 + 128);
  });

  const hard: readonly [string, number, number, number][] = [
    ['a bias far above the products', 1, 0.05, 2e5],
    ['tiny inputs', 1e-6, 1, 10],
    ['tiny weights', 1, 1e-7, 5],
    ['tiny inputs and weights, and a bias alike', 1e-4, 1e-4, 1e-7],
    ['weights of zero', 1, 0, 0.7],
    ['denormal products', 1e-20, 1e-20, 0.1],
  ];
  for (const [name, inputSize, weightSize, biasSize] of hard) {
    test(`${name}: integer kernels and their Q/DQ form stay close to float`, async () => {
      const model = await selected((g) => {
        const scaled = g.op('scaled', 'Mul', [image(g), g.floats('size', [inputSize], [])]);
        g.output(conv(g, 'first', scaled, g.weight('w', [CHANNELS, CHANNELS, 3, 3], weightSize), g.weight('b', [CHANNELS], biasSize)));
      });
      const { samples, ranges } = await observe(model, 2);
      const bytes = quantizedBytes(model, planWith(model, ranges));
      const exact = (await runModel(encodeModel(model.prepared.model), samples[0]!)).get('first')!;
      for (const simulateQdq of [true, false]) {
        const received = (await runModel(bytes, samples[0]!, { simulateQdq })).get('first')!;
        assert.ok(sqnrDb(exact, received) > 30, `${simulateQdq ? 'Q/DQ form' : 'kernels'}: ${sqnrDb(exact, received).toFixed(1)} dB`);
      }
    });
  }
});
