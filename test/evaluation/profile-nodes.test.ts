import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { profileNodesTask, type NodeTime } from '../../src/evaluation/profile-nodes.js';
import { float, GraphBuilder, noiseTensor, type OpSpec, SAME_PADS } from '../helpers/graph-builder.js';
import { recordingContext, stage, writeSamples } from './workshop.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-nodes-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const images = writeSamples(folder, 'images', { a: { x: noiseTensor([1, 16, 8, 8], 1) }, b: { x: noiseTensor([1, 16, 8, 8], 2) } });
const rows = writeSamples(folder, 'rows', { a: { x: noiseTensor([4, 32], 1) } });

async function profile(build: (g: GraphBuilder) => void, data = images, only = ['a.npz', 'b.npz']): Promise<NodeTime[]> {
  const model = stage(folder, 'model.onnx', build);
  return profileNodesTask.run({ model, data, only, threads: 1, runs: 4, warmup: 1, scratchPrefix: join(folder, 'trace') }, recordingContext());
}

const image = (g: GraphBuilder) => g.input('x', [1, 16, 8, 8]);
const conv = (g: GraphBuilder, name: string, x: string) => g.op(name, 'Conv', [x, g.weight(`${name}_w`, [16, 16, 3, 3])], { attributes: SAME_PADS });
const integerConv = (g: GraphBuilder, name: string, x: string) => g.op(name, 'Conv', [x, g.quantizedWeight(`${name}_w`, [16, 16, 3, 3], { axis: 0 })], { attributes: SAME_PADS });

/** Names by operator, of what is no change of layout. */
const kernels = (times: readonly NodeTime[]) => times.filter(({ opType }) => !/^Reorder|^Transpose$/.test(opType)).map(({ opType, names }) => `${opType}: ${names.join(', ')}`);

describe('profileNodesTask: which nodes a kernel stands for', () => {
  test('float convolutions, whose kernels are named after what they make', async () => {
    assert.deepEqual(kernels(await profile((g) => g.output(g.op('end', 'Softmax', [conv(g, 'b', conv(g, 'a', image(g)))])))), ['Conv: a', 'Conv: b', 'Softmax: end']);
  });

  const activations: readonly [string, OpSpec][] = [
    ['Relu', {}],
    ['LeakyRelu', { attributes: { alpha: float(0.1) } }],
    ['Sigmoid', {}],
    ['Tanh', {}],
    ['HardSigmoid', {}],
  ];
  for (const [opType, spec] of activations) {
    test(`a convolution that takes ${opType} along is named first`, async () => {
      const [kernel, ...others] = (await profile((g) => g.output(g.op('act', opType, [conv(g, 'a', image(g))], spec)))).filter(({ names }) => names.length > 0);
      assert.deepEqual([kernel!.names[0], others], ['a', []]);
    });
  }

  test('a residual, whose Add and Relu the convolution takes along', async () => {
    const residual = (g: GraphBuilder) => {
      const first = g.op('relu', 'Relu', [conv(g, 'a', image(g))]);
      g.output(conv(g, 'c', g.op('end', 'Relu', [g.op('sum', 'Add', [conv(g, 'b', first), first])])));
    };
    const times = await profile(residual);
    assert.deepEqual(times.filter(({ names }) => names.length > 0).map(({ names }) => names[0]), ['a', 'b', 'c']);
  });

  test('a product with its bias and activation', async () => {
    const product = (g: GraphBuilder) => g.output(g.op('relu', 'Relu', [g.op('sum', 'Add', [g.op('m', 'MatMul', [g.input('x', [4, 32]), g.weight('w', [32, 16])]), g.weight('b', [16])])]));
    assert.deepEqual(kernels(await profile(product, rows, ['a.npz'])), ['FusedGemm: m']);
  });

  test('integer kernels and conversions keep their names', async () => {
    const build = (g: GraphBuilder) => g.output(g.pair(g.op('act', 'LeakyRelu', [g.pair(integerConv(g, 'a', g.pair(image(g))))], { attributes: { alpha: float(0.1) } })));
    assert.deepEqual(kernels(await profile(build)), ['QuantizeLinear: x_q', 'QLinearConv: a', 'QLinearLeakyRelu: act', 'DequantizeLinear: act_q_dq']);
  });
});

describe('profileNodesTask: figures', () => {
  test('times of one run, and the elements that each node makes', async () => {
    const times = await profile((g) => g.output(g.op('pool', 'GlobalAveragePool', [conv(g, 'a', image(g))])));
    const byName = new Map(times.flatMap((time) => time.names.map((name) => [name, time] as const)));
    assert.deepEqual([byName.get('a')!.elements, byName.get('pool')!.elements], [16 * 64, 16]);
    for (const { timeMs } of times) assert.ok(timeMs >= 0 && timeMs < 1000, String(timeMs));
    assert.ok(byName.get('a')!.timeMs > 0);
  });

  test('a node in a body counts all its turns', async () => {
    const wide = writeSamples(folder, 'wide', { a: { x: noiseTensor([64, 128], 1) } });
    const loop = (g: GraphBuilder) => {
      const x = g.input('x', [64, 128]);
      const { value: body } = bodyOf(g);
      g.output(g.op('loop', 'Loop', [g.ints('ten', [10], []), '', x], { attributes: { body: { kind: 'graph', value: body } } }));
    };
    // Ten products are most of what the loop takes; one of them would be a tenth. A busy machine may hold up a few of the runs.
    const shares: number[] = [];
    while (shares.length < 5 && !shares.some((share) => share > 0.25)) {
      const times = await profile(loop, wide, ['a.npz']);
      const inner = times.find(({ names }) => names.includes('inner'))!;
      assert.equal(inner.opType, 'MatMul');
      shares.push(inner.timeMs / (inner.timeMs + times.find(({ names }) => names.includes('loop'))!.timeMs));
    }
    assert.ok(shares.at(-1)! > 0.25, shares.join());
  });

  test('leaves no trace behind', async () => {
    await profile((g) => g.output(conv(g, 'a', image(g))), images, ['b.npz']);
    assert.deepEqual(readdirSync(folder).filter((name) => name.startsWith('trace')), []);
  });
});

/** v ↦ v · w, as the body of a Loop. */
function bodyOf(g: GraphBuilder) {
  const Builder = g.constructor as new (opset: number) => GraphBuilder;
  const body = new Builder(g.opset);
  body.input('i', [], 'int64');
  body.input('go', [], 'bool');
  const v = body.input('v', [64, 128]);
  body.output(body.op('go_on', 'Identity', ['go']), body.op('inner', 'MatMul', [v, body.weight('inner_w', [128, 128])]));
  return { kind: 'graph', value: body.graph('body') } as const;
}

test('the time of a node with a body is its own, without that of the nodes in it', async () => {
  const rows = writeSamples(folder, 'large', { a: { x: noiseTensor([512, 512], 1) } });
  const body = () => {
    const inner = new GraphBuilder();
    return { kind: 'graph', value: inner.output(inner.op('product', 'MatMul', ['x', inner.weight('w', [512, 2048])])).graph() } as const;
  };
  const times = await profile(
    (g) => {
      const isAny = g.op('any', 'Greater', [g.op('sum', 'ReduceSum', [g.input('x', [512, 512])], { attributes: { keepdims: 0 } }), g.floats('zero', [0], [])]);
      g.output(g.op('chosen', 'If', [isAny], { attributes: { then_branch: body(), else_branch: body() } }));
    },
    rows,
    ['a.npz'],
  );
  const timeOf = (wanted: string) => times.filter(({ opType }) => opType === wanted).reduce((sum, { timeMs }) => sum + timeMs, 0);
  assert.ok(timeOf('MatMul') > 0);
  // The product takes milliseconds, what surrounds it microseconds.
  assert.ok(timeOf('If') < timeOf('MatMul') / 2, `${timeOf('If')} ms beside ${timeOf('MatMul')} ms`);
});
