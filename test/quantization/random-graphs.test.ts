import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { applyStaticPlan } from '../../src/quantization/static-qdq.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import { integerReport } from '../../src/runtime/kernel-coverage.js';
import { fuse } from '../helpers/fuse.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { runModel, sqnrDb } from '../helpers/run-model.js';
import { observe, planWith, selectAgain, selectIn } from './quantize-graph.js';
import { buildRandomGraph, Dice, RANDOM_SHAPES } from './random-graph.js';
import { assertWeightAxes } from './weight-axes.js';

const SEEDS = Array.from({ length: 24 }, (_, i) => i);

let host: RuntimeHost;
before(() => void (host = new RuntimeHost()));
after(() => host.close());

for (const shape of RANDOM_SHAPES) {
  describe(`random graphs of ${shape}s: all that is planned runs on integers, and nothing else`, () => {
    for (const seed of SEEDS) {
      // Every other graph with a quarter of its nodes excluded, every third with the Q/DQ of operator set 12, every fifth symmetric.
      test(`seed ${seed}`, async () => {
        const g = new GraphBuilder(seed % 3 === 0 ? 12 : 13);
        buildRandomGraph(g, shape, seed);
        const whole = await selectIn(host, g.model());
        const { samples, ranges } = await observe(whole, 3);
        const dice = new Dice(seed + 1000);
        const selected = seed % 2 === 0 ? whole : selectAgain(whole.prepared, () => (dice.roll(4) === 0 ? 'excluded by --exclude' : undefined));
        const plan = planWith(selected, ranges, { symmetricActivations: seed % 5 === 0 }, 'refuse');
        const quantized = applyStaticPlan(selected.prepared.model, plan);
        assert.deepEqual(checkGraph(quantized.graph), []);
        assertWeightAxes(quantized.graph);
        const fused = await fuse(quantized);
        const report = integerReport(quantized, fused);
        const planned = new Set(plan.nodes.filter((node) => node.kernel !== undefined).map(({ name }) => name));
        for (const { name, runsAs, reason } of report.nodes) assert.equal(runsAs, planned.has(name) ? 'integer' : 'float', `${name}: ${reason}`);
        assert.equal(report.danglingQdqNodes, 0);
        const left = fused.graph.nodes.map(({ opType }) => opType);
        for (const { name, opType, kernel } of plan.nodes) {
          if (!kernel?.startsWith('QLinear') || opType === 'Conv' || opType === 'MatMul') continue;
          assert.ok(left.includes(kernel), `${name} runs on no ${kernel}`);
          left.splice(left.indexOf(kernel), 1);
        }
        const bytes = encodeModel(quantized);
        const exact = await runModel(encodeModel(selected.prepared.model), samples[0]!);
        const simulated = await runModel(bytes, samples[0]!, { simulateQdq: true });
        const real = await runModel(bytes, samples[0]!);
        for (const [name, expected] of exact) {
          assert.ok(sqnrDb(expected, simulated.get(name)!) > 18, `${name} is far from the float model`);
          assert.ok(sqnrDb(simulated.get(name)!, real.get(name)!) > 28, `${name}: integer kernels are far from their Q/DQ form`);
        }
      });
    }
  });
}
