import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { nodeNoiseTask } from '../../src/evaluation/node-noise.js';
import type { DataSpec } from '../../src/data/data-spec.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { switchableModel, type SwitchableModel } from '../../src/quantization/switchable.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import type { StagedModel } from '../../src/runtime/staged-model.js';
import type { Tensor } from '../../src/tensor/tensor.js';
import { GraphBuilder, SAME_PADS } from '../helpers/graph-builder.js';
import { runModel } from '../helpers/run-model.js';
import { observe, planWith, quantizedBytes, selectIn, type SelectedModel } from '../quantization/quantize-graph.js';
import { recordingContext, writeSamples, writeStaged } from './workshop.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-noise-'));
const host = new RuntimeHost();
after(async () => {
  await host.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Two convolutions with a residual around the second, a product, and outputs of two sizes of signal. */
function network(): GraphBuilder {
  const g = new GraphBuilder();
  const conv = (name: string, x: string) => g.op(name, 'Conv', [x, g.weight(`${name}_w`, [16, 16, 3, 3]), g.weight(`${name}_b`, [16], 0.5)], { attributes: SAME_PADS });
  const first = g.op('relu', 'Relu', [conv('first', g.input('x', [1, 16, 8, 8]))]);
  const second = conv('second', first);
  const pooled = g.op('flat', 'Flatten', [g.op('pool', 'GlobalAveragePool', [g.op('tanh', 'Tanh', [second])])]);
  g.output(g.op('product', 'Gemm', [pooled, g.weight('p_w', [16, 24]), g.weight('p_b', [24])]));
  g.output(g.op('other', 'Tanh', [conv('side', first)]), g.op('best', 'ArgMax', ['product'], { attributes: { axis: 1 } }), g.op('zero', 'Sub', ['product', 'product']));
  return g;
}

const NODES = ['first', 'second', 'product', 'side'];

interface Bench {
  readonly selected: SelectedModel;
  readonly ranges: Awaited<ReturnType<typeof observe>>['ranges'];
  readonly samples: readonly ReadonlyMap<string, Tensor>[];
  readonly model: StagedModel;
  readonly switchable: SwitchableModel;
  readonly staged: StagedModel;
  readonly data: DataSpec;
}

let bench: Bench;
before(async () => {
  const selected = await selectIn(host, network().model());
  const { samples, ranges } = await observe(selected);
  const { model } = selected.prepared;
  const switchable = switchableModel(model, { model, plan: planWith(selected, ranges) });
  bench = {
    selected,
    ranges,
    samples,
    model: writeStaged(folder, 'float.onnx', model),
    switchable,
    staged: writeStaged(folder, 'switchable.onnx', switchable.model),
    data: writeSamples(folder, 'data', Object.fromEntries(samples.map((sample, i) => [String(i), Object.fromEntries(sample)]))),
  };
});

async function noiseOf(groups: readonly (readonly string[])[], only = ['0.npz', '1.npz', '2.npz', '3.npz'], context = recordingContext()): Promise<number[]> {
  const { switches } = bench.switchable;
  const bySwitch = groups.map((group) => group.map((name) => switches.get(name)!));
  return nodeNoiseTask.run({ model: bench.model, switchable: bench.staged, switches: [...switches.values()], groups: bySwitch, data: bench.data, only, threads: 1 }, context);
}

/** Noise over signal at the worst output of a model in which only these nodes are quantized, Q/DQ as float. */
async function noiseOfPlan(names: readonly string[], samples = bench.samples): Promise<number> {
  const only = await selectIn(host, network().model(), ({ name }) => (names.includes(name) ? undefined : 'not now'));
  const plan = planWith(only, bench.ranges);
  assert.deepEqual(plan.nodes.filter(({ kernel }) => kernel).map(({ name }) => name), names);
  const float = encodeModel(only.prepared.model);
  const sums = new Map(['product', 'other'].map((name) => [name, { signal: 0, noise: 0 }]));
  for (const sample of samples) {
    const expected = await runModel(float, sample);
    const received = await runModel(quantizedBytes(only, plan), sample, { simulateQdq: true });
    for (const [name, sum] of sums) {
      expected.get(name)!.forEach((value, i) => {
        sum.signal += value ** 2;
        sum.noise += (value - received.get(name)![i]!) ** 2;
      });
    }
  }
  return Math.max(...[...sums.values()].map(({ signal, noise }) => noise / signal));
}

const close = (received: number, expected: number) => assert.ok(Math.abs(received / expected - 1) < 0.01, `${received} instead of ${expected}`);

describe('nodeNoiseTask', () => {
  test('every planned node has a switch', () => {
    assert.deepEqual([...bench.switchable.switches.keys()], NODES);
  });

  test('a node switched on alone is a model with only that node quantized', async () => {
    const found = await noiseOf(NODES.map((name) => [name]));
    for (const [i, name] of NODES.entries()) close(found[i]!, await noiseOfPlan([name]));
    assert.ok(new Set(found).size === NODES.length && found.every((noise) => noise > 1e-7 && noise < 0.1), found.join());
  });

  test('switches of a group go on together', async () => {
    close((await noiseOf([['first', 'product']]))[0]!, await noiseOfPlan(['first', 'product']));
    close((await noiseOf([NODES]))[0]!, await noiseOfPlan(NODES));
  });

  test('over the samples named', async () => {
    close((await noiseOf([['second']], ['2.npz']))[0]!, await noiseOfPlan(['second'], [bench.samples[2]!]));
  });

  test('a group of nothing makes no noise', async () => {
    assert.deepEqual(await noiseOf([[]]), [0]);
  });

  test('tells its progress in runs', async () => {
    const context = recordingContext();
    await noiseOf([['first'], ['side']], ['0.npz', '1.npz'], context);
    assert.deepEqual(context.events, [1, 2, 3, 4].map((done) => ({ stage: 'measuring the noise of nodes', done, total: 4, unit: 'runs' })));
  });

  test('ends with what it has where its caller wants no more', async () => {
    const context = recordingContext();
    const found = await noiseOf(NODES.map((name) => [name]), ['0.npz', '1.npz'], { ...context, endsEarly: () => context.events.length === 2 });
    assert.equal(context.events.length, 2);
    assert.deepEqual(found.map((noise) => noise > 0), [true, true, false, false]);
  });
});
