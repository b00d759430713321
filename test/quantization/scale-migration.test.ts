import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Model } from '../../src/graph/model.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { migrateScales, migrationSites, scaleOf, scaleSteps, siteWeightMaxima, type MigrationSite } from '../../src/quantization/scale-migration.js';
import type { ValueTypes } from '../../src/quantization/select.js';
import { numbersOf } from '../../src/tensor/values.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { outlierEncoder } from '../helpers/outlier-encoder.js';
import { randomFeeds, runModel, sqnrDb } from '../helpers/run-model.js';

const CHANNELS = 32;
const STEPS = Array.from({ length: CHANNELS }, (_, c) => (c % 11) - 5);

/** How a model reads an activation y [1, 4, 32] of its graph. */
type Readers = (g: GraphBuilder, y: string) => string | readonly string[];
type Maker = (g: GraphBuilder, x: string) => string;

const layerNorm: Maker = (g, x) => g.op('y', 'LayerNormalization', [x, g.weight('gamma', [CHANNELS]), g.weight('beta', [CHANNELS])]);
const mulAdd: Maker = (g, x) => g.op('y', 'Add', [g.weight('beta', [CHANNELS]), g.op('scaled', 'Mul', [x, g.weight('gamma', [1, 1, CHANNELS])])]);
const mul: Maker = (g, x) => g.op('y', 'Mul', [g.weight('gamma', [CHANNELS]), x]);
const product = (g: GraphBuilder, y: string, name = 'p') => g.op(name, 'MatMul', [y, g.weight(`${name}_w`, [CHANNELS, 24])]);

const TYPES: ValueTypes = new Map(Object.entries({ y: [1, 4, CHANNELS], r: [4, CHANNELS], t: [4, 1, CHANNELS], turned: [1, CHANNELS, 4] }).map(([name, shape]) => [name, { kind: 'tensor', dtype: 'float32', shape }] as const));

function build(maker: Maker, readers: Readers): Model {
  const g = new GraphBuilder(17);
  const outputs = readers(g, maker(g, g.input('x', [1, 4, CHANNELS])));
  return g.output(...[outputs].flat()).model();
}

const sitesOf = (model: Model): MigrationSite[] => migrationSites(model.graph, TYPES);

async function outputsOf(model: Model): Promise<ReadonlyMap<string, Float64Array>> {
  const bytes = encodeModel(model);
  return runModel(bytes, await randomFeeds(bytes));
}

async function assertSame(before: Model, after: Model): Promise<void> {
  const [expected, received] = [await outputsOf(before), await outputsOf(after)];
  for (const [name, values] of expected) assert.ok(sqnrDb(values, received.get(name)!) > 110, `${name}: ${sqnrDb(values, received.get(name)!)} dB`);
}

const vectorOf = (model: Model, node: string, input: number) => numbersOf(model.graph.initializers.get(model.graph.nodes.find(({ name }) => name === node)!.inputs[input]!)!);

describe('migrateScales', () => {
  const makers: Record<string, { maker: Maker; constants: readonly [string, number][] }> = {
    LayerNormalization: { maker: layerNorm, constants: [['y', 1], ['y', 2]] },
    'the last Mul and Add of a normalization': { maker: mulAdd, constants: [['scaled', 1], ['y', 0]] },
    'a Mul by a vector': { maker: mul, constants: [['y', 0]] },
  };
  for (const [what, { maker, constants }] of Object.entries(makers)) {
    test(`takes scales out of ${what} and into all products that read it`, async () => {
      const model = build(maker, (g, y) => {
        const gemm = g.op('gemm', 'Gemm', [g.op('r', 'Reshape', [y, g.ints('shape', [4, CHANNELS])]), g.weight('gemm_w', [24, CHANNELS])], { attributes: { transB: 1 } });
        return [gemm, product(g, y, 'q'), product(g, y, 'k')];
      });
      const sites = sitesOf(model);
      assert.deepEqual(sites.map(({ value, products }) => [value, products.map(({ node, axis }) => [node.name, axis])]), [['y', [['gemm', 1], ['q', 0], ['k', 0]]]]);
      const { model: migrated, inserted } = migrateScales(model, sites, [{ value: 'y', steps: STEPS }]);
      assert.equal(inserted.size, 0);
      assert.equal(migrated.graph.nodes.length, model.graph.nodes.length);
      for (const [node, input] of constants) {
        const [before, after] = [vectorOf(model, node, input), vectorOf(migrated, node, input)];
        STEPS.forEach((step, c) => assert.ok(Math.abs(after[c]! - before[c]! / scaleOf(step)) <= 1e-6 * Math.abs(before[c]!)));
      }
      assert.equal(vectorOf(migrated, 'gemm', 1)[7], Math.fround(vectorOf(model, 'gemm', 1)[7]! * scaleOf(STEPS[7]!)));
      await assertSame(model, migrated);
    });
  }

  test('leaves what others read as it is, and scales before the products by a Mul', async () => {
    const model = build(layerNorm, (g, y) => [g.op('residual', 'Add', [y, g.op('o', 'MatMul', [product(g, y), g.weight('o_w', [24, CHANNELS])])]), product(g, y, 'q')]);
    const sites = sitesOf(model);
    assert.deepEqual(sites.map(({ constants, products }) => [constants, products.length]), [[[], 2]]);
    const { model: migrated, inserted } = migrateScales(model, sites, [{ value: 'y', steps: STEPS }]);
    assert.deepEqual([...inserted.values()], ['y']);
    const [scaled] = inserted.keys();
    const inputsOf = (name: string) => migrated.graph.nodes.find((node) => node.name === name)!.inputs[0];
    assert.deepEqual(['p', 'q', 'residual'].map(inputsOf), [scaled, scaled, 'y']);
    await assertSame(model, migrated);
  });

  test('moves nothing at sites that are not named', () => {
    const model = build(layerNorm, (g, y) => product(g, y));
    assert.deepEqual(migrateScales(model, sitesOf(model), []).model.graph.nodes, model.graph.nodes);
  });
});

describe('migrationSites', () => {
  const none: Record<string, Model> = {
    'a normalization that no product reads': build(layerNorm, (g, y) => g.op('z', 'Sigmoid', [y])),
    'a product of two activations': build(layerNorm, (g, y) => g.op('p', 'MatMul', [y, g.op('turned', 'Transpose', [y], { attributes: { perm: [0, 2, 1] } })])),
    'a Mul by one number': build((g, x) => g.op('y', 'Mul', [x, g.floats('half', [0.5], [])]), (g, y) => product(g, y)),
    'an activation that is no normalization': build((g, x) => g.op('y', 'Sigmoid', [x]), (g, y) => product(g, y)),
    'a weight that is the output of others too': build(layerNorm, (g, y) => [product(g, y), g.op('again', 'Neg', ['p_w'])]),
    'a product that sums over another axis': build(layerNorm, (g, y) => g.op('p', 'MatMul', [g.op('turned', 'Transpose', [y], { attributes: { perm: [0, 2, 1] } }), g.weight('w', [4, 24])])),
  };
  for (const [what, model] of Object.entries(none)) test(`no place behind ${what}`, () => assert.deepEqual(sitesOf(model), []));

  test('all normalizations of an encoder: in front of its parts without, behind them with a Mul', () => {
    for (const decomposed of [false, true]) {
      const [before, after] = [true, false].map((preNorm) => sitesOf(outlierEncoder({ preNorm, decomposed })));
      assert.deepEqual(before!.map(({ products, constants }) => [products.length, constants.length]), [[3, 2], [1, 2], [3, 2], [1, 2], [1, 2]]);
      assert.deepEqual(after!.map(({ products, constants }) => [products.length, constants.length]), [[3, 0], [1, 0], [3, 0], [1, 0], [1, 2]]);
    }
  });
});

describe('scaleSteps', () => {
  test('are in proportion to max|x|^α / max|w|^(1 − α), and none for channels of zeros', () => {
    const [x, w] = [[1, 16, 1, 0, 1], [1, 1, 1 / 16, 1, 0]];
    assert.deepEqual(scaleSteps(x, w, 0.5), [-8, 0, 0, 0, 0]);
    assert.deepEqual(scaleSteps([1, 1, 1, 256], [1, 1, 1, 1], 0.75), [0, 0, 0, 24]);
    [-5, 0, 4, 6, 7].forEach((steps) => assert.ok(Math.abs(scaleOf(steps) / 2 ** (steps / 4) - 1) < 1e-15));
  });

  test('the weights of all products of a site count', () => {
    const model = build(layerNorm, (g, y) => [product(g, y, 'q'), product(g, y, 'k')]);
    const [site] = sitesOf(model);
    const row = (name: string, c: number) => Math.max(...[...numbersOf(model.graph.initializers.get(name)!)].slice(c * 24, c * 24 + 24).map(Math.abs));
    assert.deepEqual([...siteWeightMaxima(model.graph, site!)], Array.from({ length: CHANNELS }, (_, c) => Math.max(row('q_w', c), row('k_w', c))));
  });
});
