import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { runModel, sqnrDb } from '../helpers/run-model.js';
import { observe, planWith, selectIn, verifyStatic } from './quantize-graph.js';
import { buildRandomCarriers, CARRIER_SHAPES } from './random-carriers.js';

/** In the last one, of sequences, a product gives its result to a Reshape that goes back to float. */
const SEEDS = [...Array.from({ length: 24 }, (_, i) => i), 38];

let host: RuntimeHost;
before(() => void (host = new RuntimeHost()));
after(() => host.close());

for (const shape of CARRIER_SHAPES) {
  describe(`random graphs of ${shape}s whose values are moved to several readers: nothing dangles after the closed loop`, () => {
    for (const seed of SEEDS) {
      test(`seed ${seed}`, async () => {
        const g = new GraphBuilder(13);
        buildRandomCarriers(g, shape, seed);
        const selected = await selectIn(host, g.model());
        const { samples, ranges } = await observe(selected, 2);
        const plan = planWith(selected, ranges, {}, 'refuse');
        const { model } = selected.prepared;
        const { planned: { plan: verified }, quantized: { model: quantized }, integer } = await verifyStatic(host, selected, plan);
        assert.deepEqual(checkGraph(quantized.graph), []);
        assert.equal(integer.danglingQdqNodes, 0);
        const products = (planned: typeof plan) => planned.nodes.filter(({ kernel, opType }) => kernel !== undefined && /Conv|MatMul|Gemm/.test(opType)).map(({ name }) => name);
        assert.deepEqual(products(verified), products(plan), 'no product went back to float');
        assert.equal(integer.integerNodes, products(plan).length);
        const exact = await runModel(encodeModel(model), samples[0]!);
        const real = await runModel(encodeModel(quantized), samples[0]!);
        for (const [name, expected] of exact) assert.ok(sqnrDb(expected, real.get(name)!) > 15, `${name} is far from the float model`);
      });
    }
  });
}
