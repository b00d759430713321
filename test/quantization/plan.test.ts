import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import type { QuantizationPlan } from '../../src/quantization/plan.js';
import type { StaticOptions } from '../../src/quantization/plan-static.js';
import { applyStaticPlan } from '../../src/quantization/static-qdq.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import { integerReport } from '../../src/runtime/kernel-coverage.js';
import { expressionText } from '../helpers/expression-text.js';
import { fuse } from '../helpers/fuse.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { runModel, sqnrDb } from '../helpers/run-model.js';
import { CONVOLUTION_CASES } from './plan-cases.js';
import { PRODUCT_CASES } from './plan-cases-products.js';
import type { PlanCase } from './plan-case.js';
import { observe, planText, planWith, quantizedBytes, selectAgain, selectIn, type Observed, type SelectedModel } from './quantize-graph.js';

const CASES = [...CONVOLUTION_CASES, ...PRODUCT_CASES];
const LEAST_SQNR_DB = 25;
/** Integer kernels may round once more than their Q/DQ form. */
const LEAST_KERNEL_SQNR_DB = 40;

const OTHER_OPTIONS: Readonly<Record<string, Partial<StaticOptions>>> = {
  's8 activations and weights': { target: 'ort-arm64', activationType: 'int8', reduceRange: false },
  'u8 weights': { weightType: 'uint8' },
  'one scale a weight': { perChannel: false, reduceRange: false },
  'symmetric activations': { symmetricActivations: true },
};

let host: RuntimeHost;
before(() => void (host = new RuntimeHost()));
after(() => host.close());

for (const row of CASES) {
  describe(row.name, () => {
    let selected: SelectedModel;
    let observed: Observed;
    let plan: QuantizationPlan;
    before(async () => {
      selected = await selectCase(row);
      observed = await observe(selected);
      plan = planWith(selected, observed.ranges, row.options);
    });

    test('is planned', () => assert.equal(planText(planWith(selected, row.ranges, row.options)), dedent(row.plan)));

    test('runs on the kernels that the plan names', async () => {
      const quantized = applyStaticPlan(selected.prepared.model, plan);
      assert.deepEqual(checkGraph(quantized.graph), []);
      const fused = await fuse(quantized);
      assert.equal(expressionText(fused.graph), row.fused);
      const report = integerReport(quantized, fused);
      assert.equal(report.danglingQdqNodes, 0);
      assert.deepEqual(namesOf(report.nodes.filter((node) => node.runsAs === 'integer')), plannedOf(plan, report.nodes));
    });

    if (row.opset === undefined) {
      test('runs on the same kernels at operator set 12', async () => {
        const older = await selectCase({ ...row, opset: 12 });
        const quantized = applyStaticPlan(older.prepared.model, planWith(older, observed.ranges, row.options));
        assert.equal(expressionText((await fuse(quantized)).graph), row.fused);
      });
    }

    test('stays close to the float model', async () => {
      const exact = encodeModel(selected.prepared.model);
      const quantized = quantizedBytes(selected, plan);
      for (const sample of observed.samples.slice(0, 2)) {
        const expected = await runModel(exact, sample);
        const simulated = await runModel(quantized, sample, { simulateQdq: true });
        assertClose(simulated, expected, row.leastSqnrDb ?? LEAST_SQNR_DB, 'Q/DQ in float');
        assertClose(await runModel(quantized, sample), simulated, LEAST_KERNEL_SQNR_DB, 'integer kernels');
      }
    });

    for (const [name, options] of Object.entries(OTHER_OPTIONS)) {
      test(`stays close with ${name}`, async () => {
        const [sample] = observed.samples;
        const expected = await runModel(encodeModel(selected.prepared.model), sample!);
        const quantized = quantizedBytes(selected, planWith(selected, observed.ranges, { ...row.options, ...options }));
        assertClose(await runModel(quantized, sample!, { simulateQdq: true }), expected, (row.leastSqnrDb ?? LEAST_SQNR_DB) - 1, name);
      });
    }

    test('leaves a node in float that is excluded, without asking for new ranges', async () => {
      for (const { name, kernel } of plan.nodes) {
        if (!kernel) continue;
        const without = selectAgain(selected.prepared, keptFloat([name, ...(row.exclude ?? [])]));
        const changed = planWith(without, observed.ranges, row.options, 'refuse');
        const quantized = applyStaticPlan(without.prepared.model, changed);
        assert.deepEqual(checkGraph(quantized.graph), [], name);
        const report = integerReport(quantized, await fuse(quantized));
        assert.deepEqual(namesOf(report.nodes.filter((node) => node.runsAs === 'integer')), plannedOf(changed, report.nodes), `without ${name}`);
        if (!row.danglesWithout?.includes(name)) assert.equal(report.danglingQdqNodes, 0, `without ${name}`);
      }
    });

    test('is carried out alike from its JSON form, and leaves the model as it was', () => {
      const { model } = selected.prepared;
      const bytesBefore = encodeModel({ ...model });
      const bytes = encodeModel(applyStaticPlan(model, plan));
      const again = encodeModel(applyStaticPlan(model, JSON.parse(JSON.stringify(plan)) as QuantizationPlan));
      assert.ok(Buffer.from(bytes).equals(again));
      assert.ok(Buffer.from(bytesBefore).equals(encodeModel({ ...model })));
    });
  });
}

function selectCase(row: PlanCase): Promise<SelectedModel> {
  const g = new GraphBuilder(row.opset);
  row.build(g);
  return selectIn(host, g.model(), keptFloat(row.exclude ?? []));
}

const keptFloat = (names: readonly string[]) => ({ name }: { readonly name: string }) => (names.includes(name) ? 'excluded by --exclude' : undefined);

const namesOf = (nodes: readonly { readonly name: string }[]) => nodes.map(({ name }) => name).sort();

/** Names of the compute nodes that a plan quantizes. */
function plannedOf(plan: QuantizationPlan, nodes: readonly { readonly name: string }[]): string[] {
  const planned = new Set(plan.nodes.filter(({ kernel }) => kernel !== undefined).map(({ name }) => name));
  return namesOf(nodes.filter(({ name }) => planned.has(name)));
}

function assertClose(received: ReadonlyMap<string, Float64Array>, expected: ReadonlyMap<string, Float64Array>, leastDb: number, what: string): void {
  for (const [name, values] of expected) {
    const found = sqnrDb(values, received.get(name)!);
    assert.ok(found >= leastDb, `${what}: ${name} has ${found.toFixed(1)} dB, at least ${leastDb} expected`);
  }
}

function dedent(text: string): string {
  const lines = text.split('\n').slice(1, -1);
  const indent = Math.min(...lines.filter(Boolean).map((line) => line.search(/\S/)));
  return lines.map((line) => line.slice(indent)).join('\n');
}
