import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { CalibrateResult } from '../../src/calibrate.js';
import type { CompareResult } from '../../src/compare.js';
import type { InspectResult } from '../../src/inspect.js';
import type { QuantizeResult } from '../../src/quantize.js';
import type { RunResult } from '../../src/run.js';
import { linesOf, runCli, type CliResult } from './run-cli.js';
import { writeSamples, writeTinyModel } from './tiny-model.js';

const cwd = mkdtempSync(join(tmpdir(), 'qdq-test-'));
after(() => rmSync(cwd, { recursive: true, force: true }));

const FAST = ['--runs', '6', '--warmup', '1', '--threads', '1'];
const read = (name: string) => readFileSync(join(cwd, name), 'utf8');

async function qdq(...args: readonly string[]): Promise<CliResult> {
  return runCli(args, { cwd });
}

/** Runs a command with --json and returns its result. */
async function qdqJson<T>(...args: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await qdq(...args, '--json');
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as T;
}

before(async () => {
  writeTinyModel(cwd);
  mkdirSync(join(cwd, 'data'));
  writeSamples(join(cwd, 'data'), 8);
  const { code, stderr } = await qdq('quantize', 'tiny.onnx', '--data', 'data', '-o', 'int8.onnx', '--quiet', '--report', 'quantize.md', '--depfile', 'int8.d', '--effort', 'none');
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
});

test('inspect: the result as text and as JSON', async () => {
  const { code, stdout, stderr } = await qdq('inspect', 'int8.onnx');
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  const lines = linesOf(stdout);
  assert.equal(lines[0], 'int8.onnx');
  assert.ok(lines.includes('Integers'), stdout);
  assert.ok(lines.some((line) => /^ {2}\d of 2 compute nodes runs? on integers \(.*QLinearConv 1/.test(line)), stdout);
  const { schema, integer } = await qdqJson<InspectResult>('inspect', 'int8.onnx');
  assert.equal(schema, 'qdq.inspect/1');
  assert.equal(integer?.computeNodes, 2);
});

test('calibrate, then quantize from its table', async () => {
  const calibrated = await qdqJson<CalibrateResult>('calibrate', 'tiny.onnx', '--data', 'data', '-o', 'ranges.json');
  assert.equal(calibrated.samples, 8);
  assert.ok(existsSync(join(cwd, 'ranges.json')));
  const quantized = await qdqJson<QuantizeResult>('quantize', 'tiny.onnx', '--calibration', 'ranges.json', '-o', 'table.onnx', '--no-verify');
  assert.equal(quantized.output?.path, 'table.onnx');
  assert.deepEqual({ integer: quantized.integer, check: quantized.check }, { integer: null, check: null });
});

test('quantize --report: the whole report, warnings too, although --quiet kept them from stderr', () => {
  assert.match(read('quantize.md'), /^# Quantized tiny\.onnx to int8\.onnx\n\n- \*\*size\*\*: /);
  assert.match(read('quantize.md'), /\n## Measured against the float model\n/);
});

test('quantize --depfile: a rule for make', () => {
  const samples = Array.from({ length: 8 }, (_, i) => `data/${i}.npz`);
  assert.equal(read('int8.d'), `int8.onnx: ${['tiny.onnx', ...samples].join(' \\\n  ')}\n${samples.map((file) => `\n${file}:\n`).join('')}`);
});

test('quantize --dry-run: prints the plan and writes nothing', async () => {
  const { code, stdout } = await qdq('quantize', 'tiny.onnx', '--data', 'data', '-o', 'dry.onnx', '--dry-run', '--depfile', 'dry.d', '--method', 'minmax', '--mode', 'static', '--effort', 'none');
  assert.equal(code, 0);
  assert.equal(linesOf(stdout)[0], 'Plan for tiny.onnx (dry run: nothing was written)');
  assert.match(stdout, /\n {2}conv +Conv +quantized +QLinearConv/);
  assert.match(stdout, /\n {2}image +u8 +[\d.]+ +\d+ +-[\d.]+ … [\d.]+/);
  assert.deepEqual([existsSync(join(cwd, 'dry.onnx')), existsSync(join(cwd, 'dry.d'))], [false, false]);
});

test('run: outputs as npz, and the latency', async () => {
  const { samples, latencyMs, files, outputs } = await qdqJson<RunResult>('run', 'int8.onnx', '--data', 'data', '--outputs', 'outputs.npz', ...FAST);
  assert.deepEqual({ samples, n: latencyMs?.n, files, outputs }, { samples: 8, n: 6, files: ['outputs.npz'], outputs: [{ name: 'logits', type: 'float32', shape: [1, 4] }] });
  const folder = await qdqJson<RunResult>('run', 'int8.onnx', '--data', 'data', '--outputs', 'new/folder', '--limit', '2', '--runs', '0');
  assert.deepEqual({ latencyMs: folder.latencyMs, files: folder.files }, { latencyMs: null, files: ['new/folder/0.npz', 'new/folder/4.npz'] });
});

test('compare: thresholds that are met', async () => {
  const { code, stdout } = await qdq('compare', 'tiny.onnx', 'int8.onnx', '--data', 'data', '--min-sqnr', '10', '--min-integer', '0.5', ...FAST);
  assert.equal(code, 0);
  assert.match(stdout, /\nThresholds\n {2}- min-sqnr is met: [\d.]+ dB at output "logits", expected at least 10 dB\n {2}- min-integer is met: [\d.]+, expected at least 0\.5\n/);
});

test('compare: a threshold that is not met gives exit code 3 and a line on stderr', async () => {
  const { code, stdout, stderr } = await qdq('compare', 'tiny.onnx', 'int8.onnx', '--data', 'data', '--min-sqnr', '150', '--json', '--quiet', '--report', 'compare.json', ...FAST);
  assert.equal(code, 3);
  assert.match(stderr, /^error: min-sqnr is not met: [\d.]+ dB at output "logits", expected at least 150 dB\n$/);
  assert.equal(read('compare.json'), stdout);
  const result = JSON.parse(stdout) as CompareResult;
  assert.ok('thresholds' in result);
  assert.deepEqual(result.thresholds.map(({ name, met }) => ({ name, met })), [{ name: 'min-sqnr', met: false }]);
});

test('compare: several candidates, the failing one named', async () => {
  symlinkSync('tiny.onnx', join(cwd, 'same.onnx'));
  const { code, stdout, stderr } = await qdq('compare', 'tiny.onnx', 'int8.onnx', 'same.onnx', '--data', 'data', '--min-sqnr', '150', '--quiet', ...FAST);
  assert.equal(code, 3);
  assert.match(stderr, /^error: int8\.onnx: min-sqnr is not met: .*\n$/);
  assert.match(linesOf(stdout)[1] ?? '', /^ +tiny\.onnx \(baseline\) +int8\.onnx +same\.onnx$/);
});

test('warnings go to stderr as they come and are not said again on stdout; --quiet leaves them to stdout', async () => {
  const args = ['compare', 'tiny.onnx', 'int8.onnx', '--data', 'random:2', ...FAST];
  const loud = await qdq(...args);
  assert.match(loud.stderr, /^warning: the figures come from 2 samples only\nhint: /m);
  assert.doesNotMatch(loud.stdout, /Warnings|samples only/);
  const quiet = await qdq(...args, '--quiet');
  assert.equal(quiet.stderr, '');
  assert.match(quiet.stdout, /\nWarnings\n[^]*the figures come from 2 samples only\. /);
});

test('--config: options by their long names, which the command line overrides', async () => {
  writeFileSync(join(cwd, 'qdq.config.json'), JSON.stringify({ data: ['data'], output: 'config.onnx', 'no-verify': true, method: 'minmax', 'op-types': ['Conv'], json: true, 'min-sqnr': 20 }));
  const { code, stdout, stderr } = await qdq('quantize', 'tiny.onnx', '--config', 'qdq.config.json', '--method', 'percentile');
  assert.equal(code, 0, stderr);
  const { output, method, integer, nodes } = JSON.parse(stdout) as QuantizeResult;
  assert.deepEqual({ path: output?.path, method, integer }, { path: 'config.onnx', method: 'percentile', integer: null });
  assert.match(nodes.find(({ opType }) => opType === 'Gemm')?.reason ?? '', /--op-types/);
});

test('color: for terminals only, unless FORCE_COLOR asks for it and neither NO_COLOR nor --no-color forbids it', async () => {
  const escape = '\u001b[';
  const shows = async (env: Record<string, string>, ...more: string[]) => (await runCli(['inspect', 'tiny.onnx', ...more], { cwd, env })).stdout.includes(escape);
  assert.equal(await shows({}), false);
  assert.equal(await shows({ FORCE_COLOR: '1' }), true);
  assert.equal(await shows({ FORCE_COLOR: '1', NO_COLOR: '1' }), false);
  assert.equal(await shows({ FORCE_COLOR: '1' }, '--no-color'), false);
});
