import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { comparisonsOf } from '../../src/compare.js';
import { readModel } from '../../src/onnx/read-model.js';
import { writeModel } from '../../src/onnx/write-model.js';
import { compare, inspect, quantize, run, type CompareResult, type Comparison, type InspectResult, type RunResult } from '../../src/index.js';
import { describeRun } from '../../src/report/run-report.js';
import { renderMarkdown } from '../../src/report/markdown.js';
import { BIN, runCli } from '../cli/run-cli.js';
import { writeSamples, writeTinyModel } from '../cli/tiny-model.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { floatSampleModels } from '../helpers/shared-models.js';
import { COMPARE, INSPECT, RUN } from './interface.js';
import { assertShape } from './shape.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-web-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const FAST = { runs: 3, warmup: 1, threads: 1, runtime: 'web' } as const;
const WEB = /^onnxruntime-web \d+\.\d+\.\d+$/;

for (const { name, path } of floatSampleModels()) {
  describe(`--runtime web on samples/${name}`, () => {
    const at = (file: string) => join(folder, `${name.replaceAll(/\W/g, '-')}-${file}`);
    const data = [join(dirname(path), 'test')];
    const [dynamic, blocks] = [at('dynamic.onnx'), at('q4.onnx')];

    before(async () => {
      await quantize({ model: path, output: dynamic, mode: 'dynamic', weightType: 'uint8', opTypes: ['MatMul', 'Gemm', 'Conv', 'Gather'], verify: false });
      await quantize({ model: path, output: blocks, mode: 'weight-only', weightType: 'int4', format: 'contrib', verify: false });
    });

    test('run: outputs are those of onnxruntime-node', async () => {
      const outputs = { web: at('web.npz'), node: at('node.npz') };
      const result = await run({ ...FAST, model: path, data, limit: 4, outputs: outputs.web });
      assertShape(result, RUN);
      assert.deepEqual([result.samples, result.threads, result.latencyMs!.n], [4, 1, 3]);
      assert.match(result.integer.runtime, WEB);
      await run({ model: path, data, limit: 4, outputs: outputs.node, runs: 0 });
      assert.equal(readFileSync(outputs.web).length, readFileSync(outputs.node).length);
      const text = renderMarkdown(describeRun(result, path, { warnings: true }));
      assert.match(text, /onnxruntime-web [\d.]+, wasm, 1 thread \(/);
      assert.match(text, /from the profile of a run/);
    });

    test('compare: baseline and candidates run there, on integers where there are kernels', async () => {
      const result = await compare({ ...FAST, baseline: path, candidates: [dynamic, blocks], data, limit: 4, minInteger: 0.5 });
      const [eight, four] = comparisonsOf(result);
      const { outputs, integer, latency, thresholds, candidate } = eight!;
      assert.match(integer.runtime, WEB);
      assert.equal(latency.threads, 1);
      assert.ok(outputs[0]!.sqnrDb! > 30, `${candidate.path}: ${outputs[0]!.sqnrDb} dB`);
      assert.ok(integer.integerNodes! >= integer.computeNodes / 2);
      assert.deepEqual(thresholds.map(({ name, met }) => [name, met]), [['min-integer', true]]);
      assert.equal(four!.integer.integerNodes, 0);
      assert.ok(four!.integer.nodes.some(({ kernel, reason }) => kernel === 'MatMulNBits' && /makes floats of them/.test(reason!)));
      assert.deepEqual(four!.thresholds.map(({ name, met }) => [name, met]), [['min-integer', false]]);
    });

    test('inspect: what ran on random samples', async () => {
      const result = await inspect({ model: dynamic, runtime: 'web' });
      assertShape(result, INSPECT);
      assert.ok(result.integer!.integerNodes! > 0 && result.integer!.macsShare! > 0);
      assert.equal(result.integer!.provider, 'wasm');
    });
  });
}

describe('--runtime web', () => {
  test('a model with side files', async () => {
    const g = new GraphBuilder();
    g.output(g.op('y', 'MatMul', [g.input('x', ['n', 64]), g.weight('w', [64, 64])]));
    const model = join(folder, 'side.onnx');
    await writeModel(model, g.model(), { externalData: 'always' });
    const baseline = join(folder, 'whole.onnx');
    writeFileSync(baseline, encodeModel(g.model()));
    const result = (await compare({ ...FAST, baseline, candidates: [model], data: ['random:8'] })) as CompareResult & Comparison;
    assertShape(result, COMPARE);
    assert.equal(result.outputs[0]!.maxAbsError, 0);
    assert.equal(result.integer.computeNodes, 1);
  });

  test('threads that are asked for are those that run', async () => {
    const model = join(folder, writeTinyModel(folder));
    const { threads, integer } = await run({ model, data: ['random:1'], runtime: 'web', runs: 2, threads: 2 });
    assert.deepEqual([threads, integer.threads], [2, 2]);
  });

  test('the result alone is on stdout: the trace that the runtime prints is nowhere', async () => {
    writeTinyModel(folder);
    mkdirSync(join(folder, 'data'));
    writeSamples(join(folder, 'data'), 8);
    for (const args of [['run', 'tiny.onnx', '--data', 'data'], ['compare', 'tiny.onnx', 'tiny.onnx', '--data', 'data'], ['inspect', 'tiny.onnx']]) {
      const runs = args[0] === 'inspect' ? [] : ['--runs', '2'];
      const { code, stdout, stderr } = await runCli([...args, ...runs, '--runtime', 'web', '--json'], { cwd: folder });
      assert.deepEqual([code, stderr.includes('kernel_time')], [0, false], stderr);
      const { integer } = JSON.parse(stdout) as RunResult | InspectResult;
      assert.match(integer!.runtime, WEB);
    }
    const { code, stderr } = await runCli(['run', 'tiny.onnx', '--data', 'data', '--runtime', 'wasm'], { cwd: folder });
    assert.equal(code, 2);
    assert.match(stderr, /Allowed choices are node, web/);
  });

  test('quantize takes it for a preset only', async () => {
    const { code, stderr } = await runCli(['quantize', writeTinyModel(folder), '--runtime', 'web', '--dry-run'], { cwd: folder });
    assert.equal(code, 2);
    assert.match(stderr, /--runtime web is for --preset/);
  });

  test('an operator that it lacks: run fails, inspect shows the rest with a warning', async () => {
    const g = new GraphBuilder(17);
    g.output(g.op('y', 'NoSuchOperator', [g.input('x', [1, 4])]));
    const model = join(folder, 'unknown.onnx');
    writeFileSync(model, encodeModel(g.model()));
    await assert.rejects(run({ ...FAST, model, data: ['random:1'] }), { code: 'operator-missing', message: /^onnxruntime-web: it has no kernel for the operator NoSuchOperator/ });
    const { integer, warnings, operators } = await inspect({ model, runtime: 'web' });
    assert.deepEqual([integer, operators], [null, { NoSuchOperator: 1 }]);
    assert.match(warnings[0]!.message, /could not be run on random samples .* NoSuchOperator/);
    assert.equal((await readModel(model)).graph.nodes.length, 1);
  });

  test('where it is not installed, the error says what to install', async () => {
    // The program beside all packages but that one, as a user has it who did not ask for it.
    const root = dirname(dirname(BIN));
    const place = join(folder, 'installed');
    for (const part of ['bin', 'dist/src', 'dist/cli', 'package.json']) cpSync(join(root, part), join(place, part), { recursive: true });
    mkdirSync(join(place, 'node_modules'));
    for (const name of readdirSync(join(root, 'node_modules'))) if (name !== 'onnxruntime-web') symlinkSync(join(root, 'node_modules', name), join(place, 'node_modules', name));
    const model = join(folder, writeTinyModel(folder));
    const cli = async (...args: string[]) => runCli(args, { cwd: folder, bin: join(place, 'bin', 'qdq.js') });
    const { code, stdout } = await cli('run', model, '--data', 'random:1', '--runtime', 'web', '--json');
    assert.equal(code, 1);
    const { error } = JSON.parse(stdout) as { error: { code: string; message: string; hint: string } };
    assert.deepEqual([error.code, error.hint], ['runtime-missing', 'npm install onnxruntime-web']);
    assert.match(error.message, /onnxruntime-web, which is not installed/);
    const { code: inspected } = await cli('inspect', model, '--runtime', 'web');
    assert.equal(inspected, 1);
    assert.equal((await cli('run', model, '--data', 'random:1', '--runs', '1')).code, 0, 'without it, it works');
  });
});
