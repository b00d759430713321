import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import type { Model } from '../../src/graph/model.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { correctBiases, withBiases } from '../../src/quantization/bias-correction.js';
import { applyStaticPlan } from '../../src/quantization/static-qdq.js';
import { switchableModel, type SwitchableModel } from '../../src/quantization/switchable.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { float, GraphBuilder, SAME_PADS } from '../helpers/graph-builder.js';
import { runModel } from '../helpers/run-model.js';
import { observe, planWith, selectIn, type SelectedModel } from './quantize-graph.js';

let host: RuntimeHost;
before(() => void (host = new RuntimeHost()));
after(() => host.close());

interface Switched {
  readonly selected: SelectedModel;
  readonly switchable: SwitchableModel;
  readonly quantized: Model;
  readonly sample: ReadonlyMap<string, Tensor>;
}

async function switched(build: (g: GraphBuilder) => void, opset = 13): Promise<Switched> {
  const g = new GraphBuilder(opset);
  build(g);
  const selected = await selectIn(host, g.model());
  const { samples, ranges } = await observe(selected, 2);
  const plan = planWith(selected, ranges);
  const { model } = selected.prepared;
  return { selected, switchable: switchableModel(model, { model, plan }), quantized: applyStaticPlan(model, plan), sample: samples[0]! };
}

const bool = (value: boolean) => tensorFromArray('bool', [], Uint8Array.of(value ? 1 : 0));

/** The outputs with these nodes switched on, all of them where none is named. */
async function runSwitched({ switchable, sample }: Switched, on: readonly string[] = [...switchable.switches.keys()]): Promise<Map<string, Float64Array>> {
  const feeds = new Map([...sample, ...[...switchable.switches].map(([node, input]) => [input, bool(on.includes(node))] as const)]);
  return runModel(encodeModel(switchable.model), feeds, { simulateQdq: true });
}

function largestDifference(a: ReadonlyMap<string, Float64Array>, b: ReadonlyMap<string, Float64Array>): number {
  assert.deepEqual([...a.keys()], [...b.keys()]);
  return Math.max(...[...a].flatMap(([name, values]) => Array.from(values, (value, i) => Math.abs(value - b.get(name)![i]!))));
}

const conv = (g: GraphBuilder, name: string, x: string, bias = true) =>
  g.op(name, 'Conv', [x, g.weight(`${name}_w`, [16, 16, 3, 3]), ...(bias ? [g.weight(`${name}_b`, [16], 0.5)] : [])], { attributes: SAME_PADS });
const image = (g: GraphBuilder) => g.input('x', [1, 16, 8, 8]);

const GRAPHS: readonly { readonly name: string; readonly build: (g: GraphBuilder) => void; readonly opset?: number; readonly switches: readonly string[] }[] = [
  { name: 'a chain with activations', build: (g) => void g.output(conv(g, 'b', g.op('relu', 'Relu', [conv(g, 'a', image(g))]), false)), switches: ['a', 'b'] },
  { name: 'a residual', build: (g) => void g.output(conv(g, 'c', g.op('sum', 'Add', [conv(g, 'b', conv(g, 'a', image(g))), 'a']))), switches: ['a', 'b', 'sum', 'c'] },
  { name: 'a squeeze and a gate', build: (g) => void g.output(conv(g, 'end', g.op('mul', 'Mul', [conv(g, 'a', image(g)), g.op('gate', 'Sigmoid', [conv(g, 'b', g.op('pool', 'GlobalAveragePool', ['a']))])]))), switches: ['a', 'pool', 'b', 'gate', 'mul', 'end'] },
  {
    name: 'halves that are joined the other way round',
    build: (g) => {
      g.opWithInts('split', 'Split', conv(g, 'a', image(g)), 'split', [8, 8], { attributes: { axis: 1 }, outputs: ['left', 'right'] });
      g.output(conv(g, 'b', g.op('join', 'Concat', ['right', 'left'], { attributes: { axis: 1 } })));
    },
    switches: ['a', 'split', 'join', 'b'],
  },
  { name: 'products with and without a constant', build: (g) => void g.output(g.op('scores', 'MatMul', [g.op('m', 'MatMul', [g.input('x', [2, 4, 32]), g.weight('w', [32, 32])]), g.op('t', 'Transpose', ['m'], { attributes: { perm: [0, 2, 1] } })])), switches: ['m', 't', 'scores'] },
  { name: 'a Gemm with its matrix turned', build: (g) => void g.output(g.op('y', 'Gemm', [g.input('x', [4, 32]), g.weight('w', [16, 32]), g.weight('b', [16])], { attributes: { transB: 1 } })), switches: ['y'] },
  { name: 'Q/DQ of com.microsoft, operator set 12', opset: 12, build: (g) => void g.output(conv(g, 'b', g.op('leaky', 'LeakyRelu', [conv(g, 'a', image(g))], { attributes: { alpha: float(0.1) } }))), switches: ['a', 'leaky', 'b'] },
  { name: 'a value that the graph gives too', build: (g) => void g.output(conv(g, 'b', conv(g, 'a', image(g))), 'a'), switches: ['a', 'b'] },
];

describe('switchableModel', () => {
  for (const { name, build, opset, switches } of GRAPHS) {
    test(`${name}: all off is the float model, all on the quantized one`, async () => {
      const all = await switched(build, opset);
      const { switchable, selected, quantized, sample } = all;
      assert.deepEqual([...switchable.switches.keys()], switches);
      assert.deepEqual(checkGraph(switchable.model.graph), []);
      const float = await runModel(encodeModel(selected.prepared.model), sample);
      const simulated = await runModel(encodeModel(quantized), sample, { simulateQdq: true });
      const rounding = largestDifference(simulated, float);
      assert.ok(rounding > 1e-3, 'quantization shows');
      assert.ok(largestDifference(await runSwitched(all, []), float) < 1e-5);
      assert.ok(largestDifference(await runSwitched(all), simulated) < rounding / 20);
      for (const one of switches) {
        const difference = largestDifference(await runSwitched(all, [one]), float);
        assert.ok(difference > 1e-5 && difference < 2 * rounding + 0.1, `${one}: ${difference}`);
      }
    });
  }

  test('keeps the inputs and outputs, and adds a bool scalar for each switch', async () => {
    const { switchable, selected } = await switched(GRAPHS[0]!.build);
    const { graph } = switchable.model;
    assert.deepEqual(graph.inputs.slice(0, 1), selected.prepared.model.graph.inputs);
    assert.deepEqual(graph.inputs.slice(1), ['a_switch', 'b_switch'].map((name) => ({ name, type: { kind: 'tensor', dtype: 'bool', shape: [] } })));
    assert.deepEqual(graph.outputs, selected.prepared.model.graph.outputs);
  });

  test('a name that is taken is not taken again', async () => {
    const { switchable } = await switched((g) => void g.output(g.op('end', 'Tanh', [conv(g, 'a', g.input('a_switch', [1, 16, 8, 8]))])));
    assert.deepEqual([...switchable.switches], [['a', 'a_switch_1']]);
  });

  test('a plan without integer nodes has no switches', async () => {
    const { switchable, selected } = await switched((g) => void g.output(g.op('y', 'Tanh', [g.input('x', [4, 32])])));
    assert.equal(switchable.switches.size, 0);
    assert.deepEqual(switchable.model.graph.nodes, selected.prepared.model.graph.nodes);
  });

  for (const bias of [true, false]) {
    test(`a corrected bias belongs to the quantized form, ${bias ? 'in place of the one' : 'where there was none'} before`, async () => {
      const g = new GraphBuilder();
      g.output(g.op('end', 'Tanh', [conv(g, 'a', image(g), bias)]));
      const selected = await selectIn(host, g.model());
      const { samples, ranges } = await observe(selected, 2);
      const float = selected.prepared.model;
      const means = new Map([['x', new Array<number>(16).fill(50)]]);
      const corrected = withBiases(float, correctBiases(float, planWith(selected, ranges), means));
      // The corrected model's nodes are others, so it is selected anew, as the search does.
      const again = await selectIn(host, corrected);
      const plan = planWith(again, ranges);
      const all = { selected, switchable: switchableModel(float, { model: corrected, plan }), quantized: applyStaticPlan(corrected, plan), sample: samples[0]! };
      const simulated = await runModel(encodeModel(all.quantized), all.sample, { simulateQdq: true });
      const uncorrected = await runModel(encodeModel(applyStaticPlan(float, planWith(selected, ranges))), all.sample, { simulateQdq: true });
      assert.ok(largestDifference(uncorrected, simulated) > 0.02, 'the correction shows');
      assert.ok(largestDifference(await runSwitched(all, []), await runModel(encodeModel(float), all.sample)) < 1e-5);
      assert.ok(largestDifference(await runSwitched(all), simulated) < 0.01);
    });
  }
});
