import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { unzipSync } from 'fflate';
import { calibrate, compare, inspect, quantize, run, type Comparison, type InspectResult, type IntegerReport, type QuantizeResult, type Warning } from '../../src/index.js';
import { sampleModels } from '../helpers/shared-models.js';
import { writeSamples, writeTinyModel } from '../cli/tiny-model.js';
import { CALIBRATE, COMPARE, COMPARE_SEVERAL, INSPECT, QUANTIZE, RUN } from './interface.js';
import { assertShape } from './shape.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-verbs-'));
after(() => rmSync(folder, { recursive: true, force: true }));

interface Case {
  readonly name: string;
  readonly model: string;
  readonly data: string;
  readonly test: string;
  readonly labels?: string;
  readonly computeNodes: number;
}

const samples = (name: string): string => dirname(sampleModels().find((model) => model.name.startsWith(name))!.path);

function tiny(): Case {
  const data = join(folder, 'data');
  mkdirSync(data);
  writeSamples(data, 8);
  const labels = join(folder, 'labels.json');
  writeFileSync(labels, JSON.stringify(Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`${i}.npz`, i % 4]))));
  return { name: 'a tiny classifier', model: join(folder, writeTinyModel(folder)), data, test: data, labels, computeNodes: 2 };
}

function sample(name: string, computeNodes: number): Case {
  const root = samples(name);
  return { name: `samples/${name}`, model: join(root, 'model.onnx'), data: join(root, 'calibration'), test: join(root, 'test'), labels: join(root, 'labels.json'), computeNodes };
}

const FAST = { threads: 1, runs: 6, warmup: 1 } as const;
const digest = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

/** What must hold of the section wherever it stands. */
function assertSound(integer: IntegerReport, computeNodes: number): void {
  assert.equal(integer.computeNodes, computeNodes);
  assert.equal(integer.nodes.length, computeNodes);
  assert.equal(integer.nodes.filter(({ runsAs }) => runsAs === 'integer').length, integer.integerNodes);
  for (const { name, runsAs, reason } of integer.nodes) assert.equal(reason === null, runsAs === 'integer', `${name}: a reason where it is float, and only there`);
  assert.ok(integer.weightBytes.integer <= integer.weightBytes.total);
}

for (const { name, model, data, test: held, labels, computeNodes } of [tiny(), sample('glyphs', 28), sample('tokens', 18)]) {
  describe(`the verbs in turn, on ${name}`, () => {
    const at = (file: string) => join(folder, `${computeNodes}-${file}`);
    let quantized: QuantizeResult;

    test('calibrate', async () => {
      const result = await calibrate({ model, data: [data], limit: 16, output: at('ranges.json'), threads: 1 });
      assertShape(result, CALIBRATE);
      assert.deepEqual(result.model, { path: model, sha256: digest(model) });
      assert.equal(result.output, at('ranges.json'));
      const table = JSON.parse(readFileSync(at('ranges.json'), 'utf8')) as { samples: unknown[]; tensors: object };
      assert.deepEqual([result.samples, result.tensors], [table.samples.length, Object.keys(table.tensors).length]);
      assert.ok(result.tensors >= computeNodes / 2);
      assert.deepEqual(result.nonFinite, []);
    });

    test('quantize from the table', async () => {
      quantized = await quantize({ model, calibration: at('ranges.json'), data: [data], limit: 24, output: at('int8.onnx'), target: 'ort-x64', threads: 1, effort: 'none' });
      assertShape(quantized, QUANTIZE);
      assert.deepEqual(quantized.output, { path: at('int8.onnx'), sizeBytes: statSync(at('int8.onnx')).size, sha256: digest(at('int8.onnx')) });
      assertSound(quantized.integer!, computeNodes);
      assert.equal(quantized.integer!.danglingQdqNodes, 0);
      assert.ok(Object.values(quantized.check!.sqnrDb).every((dB) => dB! > 15), JSON.stringify(quantized.check!.sqnrDb));
      assert.ok(Math.abs(quantized.check!.sizeRatio - quantized.output.sizeBytes / statSync(model).size) < 1e-12);
      const { total, ...phases } = quantized.durationMs;
      assert.ok(Object.values(phases).reduce((sum, ms) => sum + ms) <= total + 1);
      const planned = quantized.nodes.filter(({ decision, opType }) => decision !== 'float' && /Conv|MatMul|Gemm/.test(opType));
      assert.equal(planned.length, quantized.integer!.integerNodes);
    });

    test('run', async () => {
      const result = await run({ model: at('int8.onnx'), data: [held], limit: 3, outputs: at('outputs'), ...FAST });
      assertShape(result, RUN);
      assert.deepEqual([result.samples, result.latencyMs!.n, result.files.length], [3, 6, 3]);
      for (const file of result.files) assert.deepEqual(Object.keys(unzipSync(readFileSync(file))), result.outputs.map((output) => `${output.name}.npy`));
      assertSound(result.integer, computeNodes);
      assert.ok(result.integer.macsShare! > 0.5 && result.integer.timeShare! > 0);
      const { min, median, p95, max } = result.latencyMs!;
      assert.ok(min <= median && median <= p95 && p95 <= max);
    });

    test('compare', async () => {
      const result = await compare({ baseline: model, candidates: [at('int8.onnx')], data: [held], limit: 12, ...(labels ? { labels } : {}), minSqnr: 10, minInteger: 0.5, maxSize: 0.9, ...FAST });
      assertShape(result, COMPARE);
      const comparison = result as Comparison & typeof result;
      assert.deepEqual(comparison.baseline, { path: model, sizeBytes: statSync(model).size });
      assert.deepEqual(comparison.candidate, { path: at('int8.onnx'), sizeBytes: quantized.output!.sizeBytes });
      assert.equal(comparison.latency.baselineMs!.n, 6);
      assert.equal(comparison.task!.metric, 'top1');
      assert.ok(Math.abs(comparison.task!.baseline! - comparison.task!.candidate! - comparison.task!.drop!) < 1e-9);
      assertSound(comparison.integer, computeNodes);
      const thresholds = comparison.thresholds.map(({ name: threshold, limit }) => [threshold, limit]);
      assert.deepEqual(thresholds, [['min-sqnr', 10], ['min-integer', 0.5], ['max-size', 0.9]]);
      assert.deepEqual(comparison.thresholds.map(({ met }) => met).slice(0, 2), [true, true]);
    });

    test('inspect, before and after', async () => {
      const before: InspectResult = await inspect({ model });
      const after: InspectResult = await inspect({ model: at('int8.onnx'), probe: true });
      for (const result of [before, after]) {
        assertShape(result, INSPECT);
        assertSound(result.integer!, computeNodes);
        assert.deepEqual([result.integer!.macsShare, result.integer!.timeShare, result.model.sha256], [null, null, digest(result.model.path)]);
      }
      assert.equal(before.integer!.integerNodes, 0);
      assert.equal(after.integer!.integerNodes, quantized.integer!.integerNodes);
      assert.deepEqual([after.inputs, after.outputs], [before.inputs, before.outputs]);
      assert.ok((after.operators['QuantizeLinear'] ?? 0) > 0 && (after.operators['DequantizeLinear'] ?? 0) > 0);
      assert.ok(after.initializers.byType['int8']!.bytes > after.initializers.byType['float32']!.bytes / 10);
      assert.equal(typeof after.probe!.exact, 'boolean');
    });
  });
}

describe('the forms that the results take', () => {
  const model = join(folder, 'tiny.onnx');
  const data = [join(folder, 'data')];

  test('calibrate without an output writes nothing', async () => {
    const before = readdirSync(folder);
    const result = await calibrate({ model, data });
    assertShape(result, CALIBRATE);
    assert.equal(result.output, null);
    assert.deepEqual(readdirSync(folder), before);
  });

  test('quantize without verification knows nothing of kernels', async () => {
    const result = await quantize({ model, data, output: join(folder, 'unverified.onnx'), verify: false, method: 'minmax' });
    assertShape(result, QUANTIZE);
    assert.deepEqual([result.integer, result.check], [null, null]);
    assert.ok(existsSync(join(folder, 'unverified.onnx')));
  });

  test('run without timed runs has no latency', async () => {
    const result = await run({ model, data, runs: 0, limit: 1 });
    assertShape(result, RUN);
    assert.equal(result.latencyMs, null);
  });

  test('compare with several candidates, in their order; without labels no task', async () => {
    const candidates = [join(folder, '2-int8.onnx'), join(folder, 'unverified.onnx')];
    const result = await compare({ baseline: model, candidates, data, limit: 2, ...FAST });
    assertShape(result, COMPARE_SEVERAL);
    assert.ok('candidates' in result);
    assert.deepEqual(result.candidates.map(({ candidate, task }) => [candidate.path, task]), candidates.map((path) => [path, null]));
    assert.ok(result.candidates.every(({ warnings }) => warnings.some(({ code }) => code === 'few-samples')));
  });

  test('inspect: symbolic dimensions by name, operator sets by domain', async () => {
    const { model: file, inputs, outputs, operators } = await inspect({ model });
    assert.deepEqual([inputs, outputs], [[{ name: 'image', type: 'float32', shape: ['N', 3, 8, 8] }], [{ name: 'logits', type: 'float32', shape: ['N', 4] }]]);
    assert.deepEqual([file.irVersion, file.opsets, file.producer], [8, { 'ai.onnx': 13 }, 'test']);
    assert.deepEqual(operators, { Conv: 1, Flatten: 1, Gemm: 1, GlobalAveragePool: 1, Relu: 1 });
  });

  test('warnings are both returned and passed on as they come', async () => {
    const seen: Warning[] = [];
    const result = await compare({ baseline: model, candidates: [join(folder, '2-int8.onnx')], data: ['random:2'], ...FAST, onWarning: (warning) => seen.push(warning) });
    assert.deepEqual(seen.map(({ code }) => code).filter((code) => code !== 'slower').sort(), ['few-samples', 'random-data']);
    assert.deepEqual((result as Comparison).warnings.map(({ code }) => code).sort(), seen.map(({ code }) => code).sort());
  });
});
