import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { Graph } from '../../src/graph/model.js';
import { fusedGraph, markNodes } from '../../src/runtime/fused-graph.js';
import type { FusedReport } from '../../src/runtime/integer-report.js';
import { integerReport } from '../../src/runtime/kernel-coverage.js';
import { withProfile } from '../../src/runtime/measured-report.js';
import { profileRuns, type ProfiledNode } from '../../src/runtime/profile.js';
import { float, GraphBuilder, SAME_PADS } from '../helpers/graph-builder.js';
import { randomFeeds } from '../helpers/run-model.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-profile-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const SETTINGS = { runs: 3, warmup: 1, threads: 1, externalDataFolder: folder, scratchPrefix: join(folder, 'profile') };

async function measure(build: (g: GraphBuilder) => void, opset = 13): Promise<{ report: FusedReport; profiled: readonly ProfiledNode[] }> {
  const g = new GraphBuilder(opset);
  build(g);
  const model = g.model();
  const marked = markNodes(model);
  const report = integerReport(model, await fusedGraph(marked, folder, join(folder, 'fused.onnx')));
  const profiled = await profileRuns(marked.bytes, [await randomFeeds(marked.bytes)], SETTINGS);
  return { report: withProfile(report, model, marked, profiled, SETTINGS.runs), profiled };
}

const image = (g: GraphBuilder, channels = 16) => g.input('x', [2, channels, 8, 12]);
const QUANTIZED = { dims: [16, 16, 3, 3], positions: 2 * 8 * 12 } as const;

/** What each compute node of a graph multiplies, by hand. */
const COUNTS: readonly { readonly name: string; readonly build: (g: GraphBuilder) => void; readonly macs: readonly number[]; readonly opset?: number }[] = [
  { name: 'a float convolution', build: (g) => g.output(g.op('y', 'Conv', [image(g), g.weight('w', [16, 16, 3, 3])], { attributes: SAME_PADS })), macs: [2 * 8 * 12 * 16 * 16 * 9] },
  { name: 'with Relu, fused', build: (g) => g.output(g.op('r', 'Relu', [g.op('y', 'Conv', [image(g), g.weight('w', [16, 16, 3, 3])])])), macs: [2 * 6 * 10 * 16 * 16 * 9] },
  { name: 'of few channels', build: (g) => g.output(g.op('y', 'Conv', [image(g, 3), g.weight('w', [5, 3, 3, 3])])), macs: [2 * 6 * 10 * 5 * 3 * 9] },
  { name: 'with strides', build: (g) => g.output(g.op('y', 'Conv', [image(g), g.weight('w', [16, 16, 1, 1])], { attributes: { strides: [2, 2] } })), macs: [2 * 4 * 6 * 16 * 16] },
  { name: 'depthwise', build: (g) => g.output(g.op('y', 'Conv', [image(g), g.weight('w', [16, 1, 3, 3])], { attributes: { ...SAME_PADS, group: 16 } })), macs: [2 * 8 * 12 * 16 * 9] },
  { name: '1-D', build: (g) => g.output(g.op('y', 'Conv', [g.input('x', [2, 8, 20]), g.weight('w', [12, 8, 5])])), macs: [2 * 16 * 12 * 8 * 5] },
  { name: 'quantized', build: (g) => g.output(g.pair(g.op('y', 'Conv', [g.pair(image(g)), g.quantizedWeight('w', QUANTIZED.dims, { axis: 0 })], { attributes: SAME_PADS }))), macs: [QUANTIZED.positions * 16 * 16 * 9] },
  { name: 'quantized, depthwise', build: (g) => g.output(g.pair(g.op('y', 'Conv', [g.pair(image(g)), g.quantizedWeight('w', [16, 1, 3, 3], { axis: 0 })], { attributes: { ...SAME_PADS, group: 16 } }))), macs: [2 * 8 * 12 * 16 * 9] },
  { name: 'ConvTranspose', build: (g) => g.output(g.op('y', 'ConvTranspose', [image(g), g.weight('w', [16, 5, 2, 2])], { attributes: { strides: [2, 2] } })), macs: [2 * 8 * 12 * 16 * 5 * 4] },
  { name: 'MatMul', build: (g) => g.output(g.op('y', 'MatMul', [g.input('x', [4, 32]), g.weight('w', [32, 10])])), macs: [4 * 32 * 10] },
  { name: 'MatMul of stacks', build: (g) => g.output(g.op('y', 'MatMul', [g.input('x', [3, 2, 4, 32]), g.input('z', [3, 2, 32, 5])])), macs: [6 * 4 * 32 * 5] },
  { name: 'MatMul of a vector', build: (g) => g.output(g.op('y', 'MatMul', [g.input('x', [32]), g.weight('w', [32, 10])])), macs: [32 * 10] },
  { name: 'MatMul by a vector', build: (g) => g.output(g.op('y', 'MatMul', [g.input('x', [4, 32]), g.input('z', [32])])), macs: [4 * 32] },
  { name: 'MatMul of a turned left side', build: (g) => g.output(g.op('y', 'MatMul', [g.op('t', 'Transpose', [g.input('x', [32, 4])], { attributes: { perm: [1, 0] } }), g.input('z', [32, 5])])), macs: [4 * 32 * 5] },
  { name: 'MatMul with a constant on the left', build: (g) => g.output(g.op('y', 'MatMul', [g.weight('w', [10, 32]), g.input('x', [32, 4])])), macs: [10 * 32 * 4] },
  { name: 'MatMul with a quantized constant on the left', build: (g) => g.output(g.op('y', 'MatMul', [g.quantizedWeight('w', [10, 32], { dtype: 'uint8' }), g.pair(g.input('x', [32, 4]))])), macs: [10 * 32 * 4] },
  { name: 'MatMul with Add, made a Gemm', build: (g) => g.output(g.op('s', 'Add', [g.op('y', 'MatMul', [g.input('x', [2, 4, 32]), g.weight('w', [32, 10])]), g.weight('b', [10])])), macs: [8 * 32 * 10] },
  { name: 'MatMul, integer to float', build: (g) => g.output(g.op('y', 'MatMul', [g.pair(g.input('x', [2, 4, 32])), g.quantizedWeight('w', [32, 10], { axis: 1 })])), macs: [8 * 32 * 10] },
  { name: 'MatMul, integer', build: (g) => g.output(g.pair(g.op('y', 'MatMul', [g.pair(g.input('x', [4, 32])), g.quantizedWeight('w', [32, 10], { axis: 1 })]))), macs: [4 * 32 * 10] },
  { name: 'Gemm', build: (g) => g.output(g.op('y', 'Gemm', [g.input('x', [4, 32]), g.weight('w', [32, 10]), g.weight('b', [10])])), macs: [4 * 32 * 10] },
  { name: 'Gemm, both sides turned', build: (g) => g.output(g.op('y', 'Gemm', [g.input('x', [32, 4]), g.weight('w', [10, 32])], { attributes: { transA: 1, transB: 1 } })), macs: [4 * 32 * 10] },
  { name: 'Gemm, integer', build: (g) => g.output(g.op('y', 'Gemm', [g.pair(g.input('x', [4, 32])), g.quantizedWeight('w', [10, 32], { axis: 0 })], { attributes: { transB: 1 } })), macs: [4 * 32 * 10] },
  { name: 'weights in blocks', opset: 21, build: (g) => g.output(g.op('y', 'MatMul', [g.input('x', [4, 64]), g.blockWeight('w', [64, 16], 'int4', 32)])), macs: [4 * 64 * 16] },
  {
    name: 'LSTM in both directions',
    build: (g) => g.output(g.op('y', 'LSTM', [g.input('x', [5, 3, 8]), g.weight('w', [2, 16, 8]), g.weight('r', [2, 16, 4])], { attributes: { hidden_size: 4, direction: 'bidirectional' } })),
    macs: [5 * 3 * 2 * 16 * (8 + 4)],
  },
  {
    name: 'Attention of com.microsoft',
    build: (g) => g.output(g.op('y', 'Attention', [g.input('x', [2, 5, 32]), g.weight('w', [32, 48]), g.weight('b', [48])], { domain: 'com.microsoft', attributes: { num_heads: 2 } })),
    macs: [2 * 5 * 32 * 48 + 2 * 2 * 5 * 5 * 16],
  },
  {
    name: 'QAttention',
    build: (g) => {
      const [w, s, z] = g.integerWeight('w', [32, 48]);
      const q = g.quantize(g.input('x', [2, 5, 32]));
      g.output(g.op('y', 'QAttention', [q, w, g.weight('b', [48]), 'x_q_scale', s, '', 'x_q_zero', z], { domain: 'com.microsoft', attributes: { num_heads: 2 } }));
    },
    macs: [2 * 5 * 32 * 48 + 2 * 2 * 5 * 5 * 16],
  },
  {
    name: 'MultiHeadAttention',
    build: (g) => g.output(g.op('y', 'MultiHeadAttention', [g.input('q', [2, 5, 32]), g.input('k', [2, 7, 32]), g.input('v', [2, 7, 16])], { domain: 'com.microsoft', attributes: { num_heads: 2 } })),
    macs: [2 * 5 * 7 * 32 + 2 * 5 * 7 * 16],
  },
  {
    name: 'Attention of ONNX, heads in an axis of their own',
    opset: 23,
    build: (g) => g.output(g.op('y', 'Attention', [g.input('q', [2, 4, 5, 8]), g.input('k', [2, 4, 7, 8]), g.input('v', [2, 4, 7, 3])])),
    macs: [2 * 4 * 5 * 7 * (8 + 3)],
  },
  {
    name: 'a chain of three',
    build: (g) => {
      const first = g.op('a', 'Conv', [image(g), g.weight('aw', [8, 16, 3, 3])], { attributes: SAME_PADS });
      const leaky = g.op('leaky', 'LeakyRelu', [first], { attributes: { alpha: float(0.1) } });
      const second = g.op('b', 'Conv', [leaky, g.weight('bw', [4, 8, 1, 1])]);
      g.output(g.op('c', 'Gemm', [g.op('f', 'Flatten', [g.op('p', 'GlobalAveragePool', [second])]), g.weight('cw', [4, 7])]));
    },
    macs: [2 * 8 * 12 * 8 * 16 * 9, 2 * 8 * 12 * 4 * 8, 2 * 4 * 7],
  },
];

describe('multiply–accumulates of one run', () => {
  for (const { name, build, macs, opset } of COUNTS) {
    test(name, async () => {
      const { report } = await measure(build, opset);
      assert.deepEqual(report.nodes.map((node) => node.macs), macs);
    });
  }
});

describe('withProfile', () => {
  const quantizedConv = (g: GraphBuilder, name: string, x: string) => g.op(name, 'Conv', [x, g.quantizedWeight(`${name}_w`, QUANTIZED.dims, { axis: 0 })], { attributes: SAME_PADS });

  test('all in integers', async () => {
    const { report } = await measure((g) => g.output(g.pair(quantizedConv(g, 'b', g.pair(quantizedConv(g, 'a', g.pair(image(g))))))));
    assert.equal(report.macsShare, 1);
    assert.ok(report.timeShare! > 0 && report.timeShare! < 1, 'Q and DQ at the edges are no integer work');
    const { totalMs, computeMs, otherIntegerMs, conversionMs, otherMs } = report.time!;
    assert.ok(computeMs.integer > 0 && conversionMs > 0 && otherIntegerMs >= 0);
    assert.deepEqual([computeMs.float, otherMs], [0, {}]);
    assert.ok(Math.abs(totalMs - computeMs.integer - otherIntegerMs - conversionMs) < 1e-9, 'the parts are the whole');
    assert.equal(report.timeShare, (computeMs.integer + otherIntegerMs) / totalMs);
    assert.deepEqual(report.nodes.map(({ runsAs }) => runsAs), ['integer', 'integer']);
    assert.ok(report.nodes.every(({ timeMs }) => timeMs! > 0));
  });

  test('half in integers', async () => {
    const { report } = await measure((g) => {
      const first = g.pair(quantizedConv(g, 'a', g.pair(image(g))));
      g.output(g.op('b', 'Conv', [first, g.weight('w', [16, 16, 3, 3])], { attributes: SAME_PADS }));
    });
    assert.equal(report.macsShare, 0.5);
    assert.deepEqual(report.nodes.map(({ runsAs, reason }) => [runsAs, reason]), [['integer', null], ['float', 'only its input is quantized: its weight "w" is float32']]);
  });

  test('none in integers', async () => {
    const { report } = await measure((g) => g.output(g.op('a', 'Conv', [image(g), g.weight('w', [16, 16, 3, 3])])));
    assert.deepEqual([report.macsShare, report.timeShare, report.integerNodes], [0, 0, 0]);
  });

  test('without compute nodes there is no share of their arithmetic', async () => {
    const { report } = await measure((g) => g.output(g.op('y', 'Relu', [image(g)])));
    assert.deepEqual([report.macsShare, report.timeShare], [null, 0]);
    assert.deepEqual(Object.keys(report.time!.otherMs), ['Relu']);
  });

  test('only the branch that ran has times', async () => {
    const { report } = await measure((g) => {
      const x = g.input('x', [4, 32]);
      const branch = (name: string, columns: number): { readonly kind: 'graph'; readonly value: Graph } => {
        const inner = new GraphBuilder(13);
        inner.output(inner.op(`${name}_y`, 'MatMul', [x, inner.weight(`${name}_w`, [32, columns])]));
        return { kind: 'graph', value: inner.graph(name) };
      };
      g.constant('yes', { dtype: 'bool', dims: [1], storage: { byteLength: 1, read: () => Uint8Array.of(1), readRange: () => Uint8Array.of(1) } });
      const condition = g.op('condition', 'Or', [g.op('positive', 'Greater', [g.op('sum', 'ReduceMax', [x], { attributes: { keepdims: 0 } }), g.floats('far', [-1e9], [])]), 'yes']);
      g.output(g.op('y', 'If', [condition], { attributes: { then_branch: branch('then', 8), else_branch: branch('else', 4) } }));
    });
    const [taken, left] = report.nodes;
    assert.deepEqual([taken!.macs, left!.macs], [4 * 32 * 8, null]);
    assert.ok(taken!.timeMs! > 0);
    assert.equal(left!.timeMs, null);
    assert.equal(report.macsShare, 0, 'the branch that did not run has no part in it');
  });
});

describe('profileRuns', () => {
  test('times each node as often as asked, after the warm-up', async () => {
    const { profiled } = await measure((g) => g.output(g.pair(g.op('y', 'Conv', [g.pair(image(g)), g.quantizedWeight('w', QUANTIZED.dims, { axis: 0 })], { attributes: SAME_PADS }))));
    assert.ok(profiled.some(({ opType }) => opType === 'QLinearConv'));
    for (const node of profiled) assert.equal(node.timesMs.length, SETTINGS.runs, node.name);
  });

  test('tells the types and shapes that a kernel received', async () => {
    const { profiled } = await measure((g) => g.output(g.op('y', 'MatMul', [g.pair(g.input('x', [4, 32])), g.quantizedWeight('w', [32, 10], { axis: 1 })])));
    const product = profiled.find(({ opType }) => opType === 'MatMulIntegerToFloat')!;
    assert.deepEqual(product.inputs[0], { type: 'uint8', dims: [4, 32] });
    assert.deepEqual(product.outputs, [{ type: 'float', dims: [4, 10] }]);
  });

  test('takes feeds in turn, of other shapes too', async () => {
    const g = new GraphBuilder();
    g.output(g.op('y', 'MatMul', [g.input('x', ['n', 32]), g.weight('w', [32, 10])]));
    const marked = markNodes(g.model());
    const feeds = [await randomFeeds(marked.bytes, 1), await randomFeeds(marked.bytes, 2)];
    const [node] = await profileRuns(marked.bytes, feeds, { ...SETTINGS, runs: 5, warmup: 0 });
    assert.equal(node!.timesMs.length, 5);
  });

  test('leaves no file behind', () => {
    assert.ok(existsSync(folder));
    assert.deepEqual(readdirSync(folder).filter((name) => name.startsWith('profile')), []);
  });
});
