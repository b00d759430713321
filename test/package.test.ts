import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { promisify } from 'node:util';
import type { QuantizeResult } from '../src/index.js';
import { sampleModels } from './helpers/shared-models.js';

const tokens = dirname(sampleModels().find(({ name }) => name.startsWith('tokens'))!.path);
const root = join(tokens, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'qdq-package-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const MOST_BYTES = 1_000_000;
const PING_TIMEOUT_MS = 5_000;
const INSTALL_TIMEOUT_MS = 180_000;

/** Whoever runs the tests through npm has its settings in the environment; a user's shell has not. */
const plainEnvironment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name) && name !== 'INIT_CWD'));

const call = promisify(execFile);

async function npm(args: readonly string[], cwd: string, env: Readonly<Record<string, string>> = {}, timeout = INSTALL_TIMEOUT_MS): Promise<string> {
  const { stdout } = await call(args[0]!, args.slice(1), { cwd, timeout, env: { ...plainEnvironment, ...env }, maxBuffer: 1 << 26 });
  return stdout;
}

/** Why nothing can be installed here; false where it can. */
function whyOffline(): string | false {
  try {
    execFileSync('npm', ['ping', '--fetch-retries=0', `--fetch-timeout=${PING_TIMEOUT_MS}`], { timeout: PING_TIMEOUT_MS + 1_000, stdio: 'ignore', env: plainEnvironment });
    return false;
  } catch {
    return 'npm ping does not reach the registry, from which the dependencies would come';
  }
}

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly files: readonly { readonly path: string }[];
}

let packed: Packed;

describe('npm pack', () => {
  test('holds the program and its types, and nothing that only the project needs', async () => {
    [packed] = JSON.parse(await npm(['npm', 'pack', '--ignore-scripts', '--json', '--pack-destination', folder], root)) as [Packed];
    assert.equal(statSync(join(folder, packed.filename)).size, packed.size);
    assert.ok(packed.size < MOST_BYTES, `${packed.size} bytes`);
    const paths = packed.files.map(({ path }) => path);
    const places = new Set(paths.map((path) => (path.startsWith('dist/') ? path.split('/').slice(0, 2).join('/') : path.split('/')[0]!)));
    assert.deepEqual([...places].sort(), ['CHANGELOG.md', 'LICENSE', 'README.md', 'bin', 'dist/cli', 'dist/src', 'package.json']);
    assert.deepEqual(paths.filter((path) => /\.map$|\.test\.|\.tsbuildinfo$|\.onnx$|\.wat$|\.py$/.test(path)), []);
    assert.deepEqual(paths.filter((path) => path.startsWith('dist/') && !/\.(js|d\.ts)$/.test(path)), ['dist/cli/LICENSES.txt']);
    for (const needed of ['bin/qdq.js', 'dist/src/index.js', 'dist/src/index.d.ts', 'dist/cli/start.js', 'dist/cli/child.js', 'dist/src/runtime/child.js']) assert.ok(paths.includes(needed), needed);
  });
});

describe('the package in an empty folder', { skip: whyOffline() }, () => {
  const empty = join(folder, 'empty');
  const cache = join(folder, 'cache');
  const npx = async (...args: string[]) =>
    npm(['npx', '--yes', `--package=${join(folder, packed.filename)}`, 'qdq', ...args], empty, { npm_config_ignore_scripts: 'true', npm_config_prefer_offline: 'true', npm_config_cache: cache });

  test('npx qdq --help, with scripts turned off', async () => {
    mkdirSync(empty);
    mkdirSync(cache);
    // What npx installs stays here and goes with it; packages that npm has already need no download.
    const known = join((await npm(['npm', 'config', 'get', 'cache'], empty)).trim(), '_cacache');
    if (existsSync(known)) symlinkSync(known, join(cache, '_cacache'));
    const help = await npx('--help');
    assert.match(help, /^Usage: qdq \[options\] \[command\]/);
    for (const command of ['calibrate', 'quantize', 'run', 'compare', 'inspect']) assert.match(help, new RegExp(`^ +${command} `, 'm'));
    assert.deepEqual(readdirSync(empty), []);
  });

  test('quantizes the transformer of the samples on its samples', async () => {
    const stdout = await npx('quantize', join(tokens, 'model.onnx'), '--data', join(tokens, 'calibration'), '--limit', '8', '--method', 'minmax', '--effort', 'none', '-o', 'tokens.int8.onnx', '--json', '--quiet');
    const { schema, integer, output } = JSON.parse(stdout) as QuantizeResult;
    assert.equal(schema, 'qdq.quantize/1');
    assert.deepEqual([integer!.integerNodes, integer!.computeNodes, integer!.danglingQdqNodes], [18, 18, 0]);
    assert.deepEqual(readdirSync(empty), ['tokens.int8.onnx']);
    assert.equal(statSync(join(empty, 'tokens.int8.onnx')).size, output!.sizeBytes);
  });
});
