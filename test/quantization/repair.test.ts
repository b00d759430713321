import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { QuantizationPlan } from '../../src/quantization/plan.js';
import { repairPlan, type FusionEvidence } from '../../src/quantization/repair.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import { GraphBuilder, SAME_PADS } from '../helpers/graph-builder.js';
import { attention } from './random-carriers.js';
import { planText, planWith, selectIn, verifyStatic, type SelectedModel } from './quantize-graph.js';

let host: RuntimeHost;
before(() => void (host = new RuntimeHost()));
after(() => host.close());

async function selected(build: (g: GraphBuilder) => void, opset?: number): Promise<SelectedModel> {
  const g = new GraphBuilder(opset);
  build(g);
  return selectIn(host, g.model());
}

const conv = (g: GraphBuilder, name: string, x: string) => g.op(name, 'Conv', [x, g.weight(`${name}_w`, [16, 16, 3, 3])], { attributes: SAME_PADS });
const convolutions = (g: GraphBuilder) => void g.output(conv(g, 'last', g.op('relu', 'Relu', [conv(g, 'first', g.input('x', [1, 16, 8, 8]))])));
const product = (g: GraphBuilder) => void g.output(g.op('y', 'Add', [g.op('m', 'MatMul', [g.input('x', [4, 32]), g.weight('w', [32, 16])]), g.weight('b', [16])]));

function evidence({ kernels = {}, float = [], readDequantized = [] }: { kernels?: Record<string, string>; float?: string[]; readDequantized?: string[] }): FusionEvidence {
  return { kernels: new Map(Object.entries(kernels)), float: new Map(float.map((name) => [name, 'onnxruntime did not fuse it with its Q/DQ nodes'])), readDequantized: new Set(readDequantized) };
}

const nodeOf = (plan: QuantizationPlan, name: string) => plan.nodes.find((node) => node.name === name)!;

describe('repairPlan', () => {
  test('finds nothing to do where all fused', async () => {
    const plan = planWith(await selected(convolutions));
    assert.equal(repairPlan(plan, evidence({ kernels: { first: 'QLinearConv', last: 'QLinearConv' } }), new Set()), undefined);
  });

  test('minds no float node that was not planned', async () => {
    const model = await selectIn(host, buildModel(convolutions), ({ name }) => (name === 'last' ? 'excluded by --exclude' : undefined));
    assert.equal(repairPlan(planWith(model), evidence({ float: ['last'], readDequantized: ['last'] }), new Set()), undefined);
  });

  const unfused: readonly [string, FusionEvidence][] = [
    ['a compute node in float', evidence({ float: ['first'] })],
    ['a node that reads from DequantizeLinear', evidence({ readDequantized: ['first'] })],
  ];
  for (const [name, found] of unfused) {
    test(`takes ${name} back to float, with what it took along and its tensors`, async () => {
      const plan = planWith(await selected(convolutions));
      const repair = repairPlan(plan, found, new Set())!;
      assert.equal(
        planText(repair.plan),
        [
          'first Conv: float, onnxruntime did not fuse it with its Q/DQ nodes',
          'relu Relu: float, the node before it stays float',
          'last Conv: reads 0:relu, 1:int8@0, makes last',
          '--',
          'relu: uint8 scale 0.01176 zero 0',
          'last: uint8 scale 0.01569 zero 64',
        ].join('\n'),
      );
      assert.deepEqual(repair.changes.map(({ names }) => names), [['first']]);
      assert.equal(nodeOf(plan, 'first').decision, 'quantized', 'the plan given is as it was');
    });
  }

  test('stores a bias the other way first, and gives up where that was tried', async () => {
    const plan = planWith(await selected(product));
    assert.equal(nodeOf(plan, 'm').biasAdd!.as, 'int32');
    const tried = new Set<string>();
    const first = repairPlan(plan, evidence({ float: ['m'] }), tried)!;
    assert.equal(nodeOf(first.plan, 'm').biasAdd!.as, 'float');
    const second = repairPlan(first.plan, evidence({ float: ['m'] }), tried)!;
    assert.deepEqual(second.plan.nodes.map(({ decision }) => decision), ['float', 'float']);
    assert.deepEqual(second.plan.tensors, {});
    assert.equal(repairPlan(second.plan, evidence({ float: ['m'] }), tried), undefined);
  });

  test('stores an int32 bias as float where the Add stayed apart, once', async () => {
    const tried = new Set<string>();
    const repair = repairPlan(planWith(await selected(product)), evidence({ kernels: { m: 'MatMulIntegerToFloat' } }), tried)!;
    assert.equal(nodeOf(repair.plan, 'm').biasAdd!.as, 'float');
    assert.equal(repairPlan(repair.plan, evidence({ kernels: { m: 'MatMulIntegerToFloat' } }), tried), undefined);
  });
});

describe('verifyPlan', () => {
  test('leaves a plan alone that fuses', async () => {
    const model = await selected(convolutions);
    const plan = planWith(model);
    const verified = await verifyStatic(host, model, plan);
    assert.equal(verified.planned.plan, plan);
    assert.deepEqual(verified.changes, []);
    assert.deepEqual([verified.integer.integerNodes, verified.integer.danglingQdqNodes], [2, 0]);
  });

  test('takes everything back that no kernel takes, and leaves no Q/DQ', async () => {
    const model = await selected(convolutions, 21);
    const verified = await verifyStatic(host, model, planWith(model, {}, { activationType: 'uint16' }));
    assert.deepEqual([verified.integer.integerNodes, verified.integer.danglingQdqNodes], [0, 0]);
    assert.deepEqual(verified.quantized.model.graph.nodes.map(({ opType }) => opType), ['Conv', 'Relu', 'Conv']);
    assert.ok(verified.changes.length > 0);
  });

  for (const by of ['slices', 'gathers'] as const) {
    test(`leaves no Q/DQ where query, key and value are cut from one product by ${by}`, async () => {
      const model = await selected((g) => void g.output(attention(g, 'y', g.input('x', ['n', 'm', 32]), by)));
      const plan = planWith(model);
      const verified = await verifyStatic(host, model, plan);
      assert.deepEqual([verified.integer.integerNodes, verified.integer.computeNodes, verified.integer.danglingQdqNodes], [4, 4, 0]);
      // The keys are turned twice, which the runtime makes one turn of, past the other readers' Q/DQ.
      const keys = by === 'slices' ? ['y_all', 'y_s1', 'y_part1', 'y_kt'] : ['y_all', 'y_part1', 'y_kt'];
      assert.deepEqual(verified.changes.map(({ pass, names }) => [pass, ...names]), [['repair', ...keys]]);
      assert.deepEqual(keys.map((name) => nodeOf(verified.planned.plan, name).decision), keys.map(() => 'float'));
      assert.ok(nodeOf(plan, 'y_all').kernel !== undefined, 'the plan given is as it was');
    });
  }

  test('finds the form of a bias that was planned wrong', async () => {
    const build = (g: GraphBuilder) => void g.output(g.op('y', 'Add', [g.op('m', 'MatMul', [g.input('x', ['n', 4, 32]), g.weight('w', [32, 16])]), g.weight('b', [16])]));
    for (const [graph, as, kernel] of [[product, 'float', 'QGemm'], [build, 'int32', 'MatMulIntegerToFloat']] as const) {
      const model = await selected(graph);
      const plan = planWith(model);
      const wrong = { ...plan, nodes: plan.nodes.map((node) => (node.biasAdd ? { ...node, biasAdd: { ...node.biasAdd, as } } : node)) };
      const verified = await verifyStatic(host, model, wrong);
      assert.deepEqual(verified.planned.plan, plan);
      assert.deepEqual(verified.integer.nodes.map((node) => node.kernel), [kernel]);
      assert.equal(verified.integer.danglingQdqNodes, 0);
    }
  });
});

function buildModel(build: (g: GraphBuilder) => void) {
  const g = new GraphBuilder();
  build(g);
  return g.model();
}
