import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test, type TestContext } from 'node:test';
import { prove, proveTask } from '../../src/evaluation/prove.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import type { IntegerReport } from '../../src/runtime/integer-report.js';
import { Session } from '../../src/runtime/session.js';
import { stagedFile, type StagedModel } from '../../src/runtime/staged-model.js';
import { type GraphBuilder, noiseTensor, SAME_PADS } from '../helpers/graph-builder.js';
import { sampleModels } from '../helpers/shared-models.js';
import { recordingContext, stage, writeSamples } from './workshop.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-prove-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** An image through two convolutions, one depthwise, and a Gemm; and a sequence through an LSTM and a MatMul. */
function build(g: GraphBuilder, weight: (name: string, dims: readonly number[], axis: number) => string, pair: (value: string) => string): void {
  const a = pair(g.op('a', 'Conv', [pair(g.input('image', ['n', 16, 8, 12])), weight('a_w', [32, 16, 3, 3], 0)], { attributes: SAME_PADS }));
  const depthwise = pair(g.op('depthwise', 'Conv', [a, weight('d_w', [32, 1, 3, 3], 0)], { attributes: { group: 32, strides: [2, 2] } }));
  const pooled = g.op('flat', 'Flatten', [g.op('pool', 'GlobalAveragePool', [depthwise])]);
  g.output(g.op('gemm', 'Gemm', [pair(pooled), weight('g_w', [10, 32], 0)], { attributes: { transB: 1 } }));
  const lstm = g.op('lstm', 'LSTM', [g.input('sequence', ['t', 'b', 16]), g.weight('w', [1, 32, 16]), g.weight('r', [1, 32, 8])], { attributes: { hidden_size: 8 } });
  g.output(g.op('product', 'MatMul', [pair(lstm), weight('m_w', [8, 24], 1)]));
}

/** By hand, for n = 2, t = 5, b = 3: outputs times what each of them sums up. */
const MACS = {
  a: 2 * 32 * 8 * 12 * 16 * 9,
  depthwise: 2 * 32 * 3 * 5 * 9,
  gemm: 2 * 10 * 32,
  lstm: 5 * 3 * 4 * 8 * (16 + 8),
  product: 5 * 3 * 24 * 8,
};

const data = writeSamples(folder, 'data', Object.fromEntries(Array.from({ length: 6 }, (_, i) => [String(i), { image: noiseTensor([2, 16, 8, 12], i), sequence: noiseTensor([5, 3, 16], 10 + i) }])));
const float = stage(folder, 'float.onnx', (g) => build(g, (name, dims) => g.weight(name, dims), (value) => value));
const quantized = stage(folder, 'quantized.onnx', (g) => build(g, (name, dims, axis) => g.quantizedWeight(name, dims, { axis }), (value) => g.pair(value)));

async function report(model: StagedModel, only?: readonly string[]): Promise<IntegerReport> {
  const args = { model, data, threads: 1, scratchPath: join(folder, 'fused.onnx'), scratchPrefix: join(folder, 'trace') };
  return proveTask.run({ ...args, ...(only ? { only } : {}) }, recordingContext());
}

const macsOf = ({ nodes }: IntegerReport) => Object.fromEntries(nodes.map(({ name, macs }) => [name, macs]));

describe('proveTask', () => {
  test('multiply–accumulates are those computed by hand, in float and on integers', async () => {
    assert.deepEqual(macsOf(await report(float)), MACS);
    assert.deepEqual(macsOf(await report(quantized)), MACS);
  });

  test('the share of multiply–accumulates is that of the nodes on integers', async () => {
    const { macsShare, integerNodes, computeNodes, nodes, timeShare } = await report(quantized);
    assert.deepEqual(nodes.map(({ name, runsAs }) => [name, runsAs]), [['a', 'integer'], ['depthwise', 'integer'], ['gemm', 'integer'], ['lstm', 'float'], ['product', 'integer']]);
    const all = Object.values(MACS).reduce((sum, macs) => sum + macs);
    assert.ok(Math.abs(macsShare! - (all - MACS.lstm) / all) < 1e-12);
    assert.deepEqual([integerNodes, computeNodes], [4, 5]);
    assert.ok(timeShare! > 0 && timeShare! < 1);
    const compute = nodes.reduce((sum, { timeMs }) => sum + timeMs!, 0);
    assert.ok(compute > 0 && nodes.every(({ timeMs }) => timeMs! >= 0));
  });

  test('nothing is on integers in a float model', async () => {
    const { macsShare, timeShare, integerNodes, nodes } = await report(float);
    assert.deepEqual([macsShare, timeShare, integerNodes], [0, 0, 0]);
    assert.ok(nodes.every(({ reason }) => reason !== null && reason.length > 10));
  });

  async function feedsOf(t: TestContext, only?: readonly string[]): Promise<Set<unknown>> {
    const feeds = new Set<unknown>();
    const runRaw = Session.prototype.runRaw;
    t.mock.method(Session.prototype, 'runRaw', function (this: Session, ...args: Parameters<typeof runRaw>) {
      feeds.add(args[0]);
      return runRaw.apply(this, args);
    });
    await report(quantized, only);
    return feeds;
  }

  test('runs on four samples at most', async (t) => {
    assert.equal((await feedsOf(t)).size, 4);
  });

  test('runs on four of those named at most', async (t) => {
    assert.equal((await feedsOf(t, [0, 1, 2, 3, 4, 5].map((i) => `${i}.npz`))).size, 4);
  });

  test('runs on the samples named', async (t) => {
    assert.equal((await feedsOf(t, ['1.npz', '5.npz'])).size, 2);
  });
});

describe('prove', () => {
  test('shares of a real model lie between 0 and 1, and its parts add up', async (t) => {
    const glyphs = sampleModels().find(({ name }) => name.startsWith('glyphs'))!;
    const host = new RuntimeHost();
    t.after(() => host.close());
    const shown = await prove(host, { model: stagedFile(glyphs.path), data: { paths: [join(glyphs.path, '..', 'test')], limit: 2 }, threads: 1 });
    assert.deepEqual([shown.macsShare, shown.timeShare, shown.integerNodes], [0, 0, 0]);
    assert.equal(shown.computeNodes, 28);
    assert.equal(shown.nodes.length, 28);
    assert.ok(shown.nodes.every(({ macs, timeMs }) => macs! > 0 && timeMs! >= 0));
    const scratch = await host.temporaryPath('.');
    assert.deepEqual(readdirSync(scratch).filter((name) => name.startsWith('profile')), [], 'the trace is gone');
    await host.close();
    assert.equal(existsSync(scratch), false);
  });
});
