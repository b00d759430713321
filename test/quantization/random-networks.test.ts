import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import { quantize, readModel } from '../../src/index.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import type { IntegerReport } from '../../src/runtime/integer-report.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { runModel } from '../helpers/run-model.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { observe, planWith, selectIn, verifyStatic } from './quantize-graph.js';
import { buildRandomNetwork, NETWORK_SHAPES } from './random-networks.js';

const SEEDS = Array.from({ length: 12 }, (_, i) => i);

/** Why a compute node of these networks may stay float. */
const REASONS = [/^ConvTranspose has no integer kernel in onnxruntime$/, /^it adds up only \d+ products, which is slower in integers than in float \(below 16\)$/];

function assertIntegers(report: IntegerReport, planned: readonly { readonly name: string; readonly reason: string | null }[]): void {
  const reasons = new Map(planned.map(({ name, reason }) => [name, reason]));
  for (const { name, runsAs, reason } of report.nodes) {
    const given = reasons.get(name) ?? '';
    assert.ok(runsAs === 'integer' || REASONS.some((known) => known.test(given)), `${name} runs in float: ${given || reason}`);
  }
  assert.equal(report.danglingQdqNodes, 0);
}

function network(shape: (typeof NETWORK_SHAPES)[number], seed: number, opset = 13): GraphBuilder {
  const g = new GraphBuilder(opset);
  buildRandomNetwork(g, shape, seed);
  return g;
}

let host: RuntimeHost;
before(() => void (host = new RuntimeHost()));
after(() => host.close());

for (const shape of NETWORK_SHAPES) {
  describe(`random networks, ${shape}: every product that a kernel takes runs on integers, and nothing dangles`, () => {
    for (const seed of SEEDS) {
      test(`seed ${seed}`, async () => {
        const selected = await selectIn(host, network(shape, seed, seed % 4 === 3 ? 12 : 13).model());
        const { samples, ranges } = await observe(selected, 2);
        const { planned, quantized, integer } = await verifyStatic(host, selected, planWith(selected, ranges, {}, 'refuse'));
        assert.deepEqual(checkGraph(quantized.model.graph), []);
        assertIntegers(integer, planned.plan.nodes);
        const [expected, simulated] = [await runModel(encodeModel(selected.prepared.model), samples[0]!), await runModel(encodeModel(quantized.model), samples[0]!, { simulateQdq: true })];
        for (const [name, values] of expected) {
          const received = simulated.get(name)!;
          assert.equal(received.length, values.length);
          assert.ok(received.every(Number.isFinite), `${name} is not finite`);
        }
      });
    }

    test('from file to file, without a search', async (t) => {
      const folder = temporaryFolder(t);
      const [model, output] = ['model.onnx', 'model.int8.onnx'].map((name) => join(folder, name)) as [string, string];
      writeFileSync(model, encodeModel(network(shape, 100).model()));
      const { integer, nodes } = await quantize({ model, output, data: ['random:2'], ...(shape === 'open image' ? { shape: { x: [1, 16, 8, 8] } } : {}), effort: 'none', mode: 'static', threads: 1 });
      assertIntegers(integer!, nodes);
      assert.deepEqual(checkGraph((await readModel(output)).graph), []);
    });
  });
}
