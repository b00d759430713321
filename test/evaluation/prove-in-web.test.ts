import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { DataSpec } from '../../src/data/data-spec.js';
import { proveInWebTask, proveTask } from '../../src/evaluation/prove.js';
import type { IntegerReport } from '../../src/runtime/integer-report.js';
import { stagedFile, type StagedModel } from '../../src/runtime/staged-model.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { GraphBuilder, SAME_PADS } from '../helpers/graph-builder.js';
import { floatSampleModels } from '../helpers/shared-models.js';
import { KERNEL_PATTERNS } from '../runtime/kernel-patterns.js';
import { recordingContext, stage } from './workshop.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-prove-in-web-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const RANDOM: DataSpec = { paths: ['random:2'] };

async function inWeb(model: StagedModel): Promise<IntegerReport> {
  return proveInWebTask.run({ model, data: RANDOM, threads: 1, scratchPrefix: join(folder, 'trace') }, recordingContext());
}

async function inNode(model: StagedModel): Promise<IntegerReport> {
  return proveTask.run({ model, data: RANDOM, threads: 1, scratchPath: join(folder, 'fused.onnx'), scratchPrefix: join(folder, 'trace') }, recordingContext());
}

let count = 0;
const staged = (build: (g: GraphBuilder) => void, opset = 13) => stage(folder, `${count++}.onnx`, build, opset);
const short = ({ nodes }: IntegerReport) => nodes.map(({ name, kernel, runsAs }) => `${name}: ${kernel} ${runsAs}`);

function blockProduct(g: GraphBuilder, level: number): void {
  g.constant('w', tensorFromArray('uint8', [16, 2, 16], Uint8Array.from({ length: 512 }, (_, i) => (i * 37) & 255)));
  const attributes = { K: 64, N: 16, bits: 4, block_size: 32, accuracy_level: level };
  g.output(g.op('product', 'MatMulNBits', [g.input('x', ['n', 64]), 'w', g.floats('s', new Array<number>(32).fill(0.01))], { domain: 'com.microsoft', attributes }));
}

describe('proveIn web', () => {
  test('a report says what runs it, and what it does not know', async () => {
    const report = await inWeb(staged((g) => void g.output(g.pair(g.op('conv', 'Conv', [g.pair(g.input('x', ['n', 8, 6, 6])), g.quantizedWeight('w', [8, 8, 3, 3], { axis: 0 })], { attributes: SAME_PADS })))));
    assert.match(report.runtime, /^onnxruntime-web \d/);
    assert.deepEqual([report.provider, report.threads, report.danglingQdqNodes, report.weightBytes.residentInteger], ['wasm', 1, null, null]);
    assert.deepEqual([report.integerNodes, report.computeNodes, report.macsShare], [1, 1, 1]);
    assert.deepEqual(report.nodes.map(({ kernel, runsAs, macs, weights, reason }) => [kernel, runsAs, macs, weights, reason]), [['QLinearConv', 'integer', 8 * 8 * 9 * 36, 's8 per channel', null]]);
    assert.ok(report.nodes[0]!.timeMs! > 0 && report.time!.totalMs >= report.nodes[0]!.timeMs!);
  });

  // What is fused decides, and that is the same code: arithmetic and multiply–accumulates agree, block products aside.
  const rows = KERNEL_PATTERNS.filter(({ name }) => /^(Conv|MatMul|Gemm|Dynamic|residual)/.test(name) && !/one scale a channel for its input/.test(name));
  test(`${rows.length} patterns run as onnxruntime-node fuses them`, async () => {
    assert.ok(rows.length > 50);
    for (const row of rows) {
      const model = staged(row.build, row.opset);
      const [web, node] = [await inWeb(model), await inNode(model)];
      const seen = ({ nodes }: IntegerReport) => nodes.map(({ name, runsAs, macs, reason }) => [name, runsAs, macs, reason]);
      assert.deepEqual(seen(web), seen(node), row.name);
      assert.equal(web.integerNodes, node.integerNodes, row.name);
    }
  });

  test('dynamic products and convolutions are on integers', async () => {
    const dynamic = (name: string) => staged(KERNEL_PATTERNS.find((row) => row.name === name)!.build);
    assert.deepEqual(short(await inWeb(dynamic('DynamicQuantizeLinear → ConvInteger'))), ['conv: ConvInteger integer']);
    assert.match(short(await inWeb(dynamic('DynamicQuantizeLinear → MatMulInteger → Cast → Mul, one reader')))[0]!, /: DynamicQuantizeMatMul integer$/);
  });

  test('MatMulNBits multiplies floats at every level, and the reason says so', async () => {
    for (const level of [0, 4]) {
      const report = await inWeb(staged((g) => blockProduct(g, level), 17));
      assert.deepEqual([short(report), report.integerNodes, report.macsShare], [['product: MatMulNBits float'], 0, 0]);
      assert.match(report.nodes[0]!.reason!, level === 4 ? /onnxruntime-web has no kernel that multiplies blocks of 4 bits as integers/ : /accuracy level 0/);
    }
    const fused = staged(KERNEL_PATTERNS.find(({ name }) => name.startsWith('DQ(uint4 in blocks of 32)'))!.build, 21);
    const [node] = (await inWeb(fused)).nodes;
    assert.deepEqual([node!.kernel, node!.runsAs], ['MatMulNBits', 'float']);
    assert.match(node!.reason!, /blocks of 4 bits/);
  });

  test('what did not run is unknown, not float and not 0', async () => {
    const branch = (name: string, value: number) => {
      const g = new GraphBuilder();
      g.output(g.op(name, 'MatMul', ['x', g.constant(`${name}_w`, tensorFromArray('float32', [4, 4], new Float32Array(16).fill(value)))]));
      return { kind: 'graph', value: g.model().graph } as const;
    };
    const report = await inWeb(
      staged((g) => {
        g.input('x', [2, 4]);
        const never = g.op('never', 'Less', [g.op('norm', 'ReduceL2', ['x'], { attributes: { keepdims: 0 } }), g.floats('limit', [-1], [])]);
        g.output(g.op('y', 'If', [never], { attributes: { then_branch: branch('a', 1), else_branch: branch('b', 2) } }));
      }),
    );
    const byName = Object.fromEntries(report.nodes.map((node) => [node.name, node]));
    assert.deepEqual([byName['b']!.runsAs, byName['b']!.kernel], ['float', 'MatMul']);
    assert.deepEqual([byName['a']!.runsAs, byName['a']!.kernel, byName['a']!.macs, byName['a']!.timeMs], [null, null, null, null]);
    assert.match(byName['a']!.reason!, /not known/);
    assert.deepEqual([report.integerNodes, report.macsShare, report.computeNodes], [null, null, 2]);
  });

  test('a model without compute nodes has none on integers', async () => {
    const report = await inWeb(staged((g) => void g.output(g.op('y', 'Relu', [g.input('x', [2, 2])]))));
    assert.deepEqual([report.computeNodes, report.integerNodes, report.nodes], [0, 0, []]);
  });

  for (const { name, path } of floatSampleModels()) {
    test(`samples/${name}: every compute node is found, as in onnxruntime-node`, async () => {
      const [web, node] = [await inWeb(stagedFile(path)), await inNode(stagedFile(path))];
      assert.ok(web.integerNodes !== null && web.macsShare !== null);
      assert.deepEqual(web.nodes.map(({ name, macs }) => [name, macs]), node.nodes.map(({ name, macs }) => [name, macs]));
    });
  }
});
