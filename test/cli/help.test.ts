import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { EXACT_SAMPLES } from '../../src/calibration/collect-task.js';
import { QUANTIZE_DEFAULTS, TIMING_DEFAULTS } from '../../src/defaults.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { linesOf, runCli } from './run-cli.js';

const COMMANDS = ['calibrate', 'quantize', 'run', 'compare', 'inspect'];

test('qdq --help: the commands, each with a summary', async () => {
  const { code, stdout, stderr } = await runCli(['--help']);
  assert.equal(code, 0);
  assert.equal(stderr, '');
  for (const command of COMMANDS) assert.match(stdout, new RegExp(`^  ${command} .*  \\w+`, 'm'));
});

for (const command of COMMANDS) {
  test(`qdq ${command} --help: a summary, an example and the common options`, async () => {
    const { code, stdout, stderr } = await runCli([command, '--help']);
    assert.equal(code, 0);
    assert.equal(stderr, '');
    assert.match(stdout, new RegExp(`^Usage: qdq ${command} .*<.*\n\n[A-Z].*`));
    assert.match(stdout, new RegExp(`Examples?:\n  \\$ qdq ${command} .*\n`));
    for (const option of ['--json', '--report <file>', '--quiet', '--no-color', '--threads <n>', '--debug', '--config <file>']) assert.ok(stdout.includes(option), option);
  });
}

test('help shows the defaults of the library', async () => {
  const unwrapped = async (command: string) => (await runCli([command, '--help'])).stdout.replace(/\s+/g, ' ');
  const quantize = await unwrapped('quantize');
  for (const value of [QUANTIZE_DEFAULTS.mode, QUANTIZE_DEFAULTS.method, QUANTIZE_DEFAULTS.target]) assert.ok(quantize.includes(`default: "${value}")`), value);
  assert.ok(quantize.includes(`(default: ${QUANTIZE_DEFAULTS.percentile})`));
  assert.ok((await unwrapped('calibrate')).includes(`(default: for up to ${EXACT_SAMPLES} samples)`));
  assert.ok((await unwrapped('run')).includes(`timed runs; 0 for none (default: ${TIMING_DEFAULTS.runs})`));
});

/** Addresses of the modules that the help loads, where `bin` is the program. */
async function loadedByHelp(t: TestContext, bin?: string): Promise<string[]> {
  const folder = temporaryFolder(t);
  const { code } = await runCli(['--help'], { env: { NODE_V8_COVERAGE: folder }, ...(bin === undefined ? {} : { bin }) });
  assert.equal(code, 0);
  return readdirSync(folder).flatMap((name) => {
    const { result } = JSON.parse(readFileSync(join(folder, name), 'utf8')) as { result: { url: string }[] };
    return result.map(({ url }) => url).filter((url) => url.startsWith('file:'));
  });
}

test('help loads neither the runtime nor anything else that is slow to load', async (t) => {
  // The modules that the bundle is made of, because in it packages have no names.
  const bin = join(temporaryFolder(t), 'qdq.mjs');
  writeFileSync(bin, `import { start } from ${JSON.stringify(new URL('../../commands/start.js', import.meta.url).href)};\nprocess.exitCode = await start(process.argv);\n`);
  const urls = await loadedByHelp(t, bin);
  assert.ok(urls.some((url) => url.includes('/commands/program.js')), 'coverage lists what was loaded');
  const packages = new Set(urls.map((url) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1]).filter(Boolean));
  assert.deepEqual([...packages], ['commander']);
});

test('help loads a small part of the bundle and nothing beside it', async (t) => {
  const urls = await loadedByHelp(t);
  assert.deepEqual(urls.filter((url) => !/\/(bin\/qdq|dist\/cli\/[\w-]+)\.js$/.test(url)), []);
  assert.deepEqual(urls.filter((url) => /(verbs|tasks|works|child)\.js$/.test(url)), []);
  const sizeOf = (files: readonly string[]) => files.reduce((sum, file) => sum + statSync(file).size, 0);
  const bundle = fileURLToPath(new URL('../../cli/', import.meta.url));
  const whole = sizeOf(readdirSync(bundle).filter((name) => name.endsWith('.js')).map((name) => join(bundle, name)));
  const loaded = sizeOf(urls.map((url) => fileURLToPath(url)));
  assert.ok(loaded < whole / 5, `${loaded} of ${whole} bytes`);
});

test('qdq --version: of qdq, the runtime and Node', async () => {
  const versionOf = (name: string) => (createRequire(import.meta.url)(`${name}/package.json`) as { version: string }).version;
  assert.deepEqual(await runCli(['--version']), {
    code: 0,
    stdout: `qdq ${versionOf('qdq')}\nonnxruntime-node ${versionOf('onnxruntime-node')}\nnode ${process.version}\n`,
    stderr: '',
  });
});

test('qdq without a command: help on stderr, exit code 2', async () => {
  const { code, stdout, stderr } = await runCli([]);
  assert.equal(code, 2);
  assert.equal(stdout, '');
  assert.deepEqual(linesOf(stderr).slice(-2), ['error: no command was given', 'hint: See qdq --help.']);
});
