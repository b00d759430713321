import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createNode } from '../../src/graph/graph-editor.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { BIN, linesOf, runCli, startCli } from './run-cli.js';
import { noise, tinyModel, writeSample, writeTinyModel } from './tiny-model.js';

const cwd = mkdtempSync(join(tmpdir(), 'qdq-test-'));
after(() => rmSync(cwd, { recursive: true, force: true }));

before(() => {
  writeTinyModel(cwd);
  const bytes = encodeModel(tinyModel());
  writeFileSync(join(cwd, 'truncated.onnx'), bytes.subarray(0, bytes.length / 2));
  writeFileSync(join(cwd, 'text.onnx'), 'hello');
  writeFileSync(join(cwd, 'broken.json'), '{');
  mkdirSync(join(cwd, 'empty'));
  const { graph, ...rest } = tinyModel();
  const foreign = createNode({ name: 'foreign', opType: 'NoSuchOperator', inputs: ['b'], outputs: ['c'] });
  writeFileSync(join(cwd, 'foreign.onnx'), encodeModel({ ...rest, graph: { ...graph, nodes: graph.nodes.map((node) => (node.name === 'pool' ? foreign : node)) } }));
  writeSample(join(cwd, 'good.npz'), { image: noise([1, 3, 8, 8], 1) });
  writeSample(join(cwd, 'name.npz'), { picture: noise([1, 3, 8, 8], 1) });
  writeSample(join(cwd, 'shape.npz'), { image: noise([1, 3, 7, 8], 1) });
  writeSample(join(cwd, 'type.npz'), { image: tensorFromArray('int32', [1, 3, 8, 8], new Int32Array(192)) });
  writeSample(join(cwd, 'nan.npz'), { image: tensorFromArray('float32', [1, 3, 8, 8], new Float32Array(192).fill(NaN)) });
});

/** Expects exit code 1, one line that says what is wrong and one hint, no stack, and no file that was not there before. */
async function fails(args: readonly string[], error: RegExp): Promise<void> {
  const filesBefore = readdirSync(cwd, { recursive: true });
  const { code, stdout, stderr } = await runCli(args, { cwd });
  const [first, second, ...others] = linesOf(stderr);
  assert.deepEqual({ code, stdout, others }, { code: 1, stdout: '', others: [] }, stderr);
  assert.match(first ?? '', error);
  assert.match(second ?? '', /^hint: [A-Za-z-].*/);
  assert.deepEqual(readdirSync(cwd, { recursive: true }), filesBefore);
}

const quantizeTo = (output: string) => ['quantize', 'tiny.onnx', '--data', 'good.npz', '-o', output];

const CASES: readonly [what: string, args: readonly string[], error: RegExp][] = [
  ['a missing model', ['inspect', 'none.onnx'], /^error: none\.onnx does not exist; expected an ONNX file\.$/],
  ['a folder as model', ['inspect', 'empty'], /^error: empty is a folder; expected an ONNX file\.$/],
  ['a text file as model', ['inspect', 'text.onnx'], /^error: text\.onnx is not an ONNX model: .*"hello"/],
  ['a truncated model', ['inspect', 'truncated.onnx'], /^error: truncated\.onnx is not an ONNX model, or is damaged: /],
  ['an operator that the runtime lacks', ['run', 'foreign.onnx', '--data', 'good.npz'], /^error: .*NoSuchOperator/],
  ['a missing sample', ['run', 'tiny.onnx', '--data', 'none.npz'], /^error: none\.npz: no such file or folder$/],
  ['an empty folder', ['run', 'tiny.onnx', '--data', 'empty'], /^error: empty: the folder holds no samples, expected /],
  ['a file that is no data', ['run', 'tiny.onnx', '--data', 'text.onnx'], /^error: text\.onnx: not a kind of data that qdq reads, expected /],
  ['a wrong input name', ['run', 'tiny.onnx', '--data', 'name.npz'], /^error: name\.npz: no array for input "image"; expected "image", received "picture"$/],
  ['a wrong shape', ['run', 'tiny.onnx', '--data', 'shape.npz'], /^error: shape\.npz: input "image" expects float32\[N,3,8,8\], received float32\[1,3,7,8\]$/],
  ['a wrong type', ['run', 'tiny.onnx', '--data', 'type.npz'], /^error: type\.npz: input "image" expects float32\[N,3,8,8\], received int32\[1,3,8,8\]$/],
  ['samples of NaN only', ['quantize', 'tiny.onnx', '--data', 'nan.npz', '-o', 'o.onnx'], /^error: calibration saw no finite number at "image": sample "nan\.npz" made it NaN or infinite$/],
  ['a table that is none', ['quantize', 'tiny.onnx', '--calibration', 'broken.json', '-o', 'o.onnx'], /^error: broken\.json/],
  ['a missing table', ['quantize', 'tiny.onnx', '--calibration', 'none.json', '-o', 'o.onnx'], /^error: none\.json/],
  ['a folder that is not there', quantizeTo('none/o.onnx'), /^error: Cannot write none\/o\.onnx: the folder none does not exist\.$/],
  ['a folder as output', quantizeTo('empty'), /^error: Cannot write empty: it is a folder\.$/],
  ['a place without permission', quantizeTo('/sys/o.onnx'), /^error: Cannot write \/sys\/o\.onnx: no permission to write in \/sys\.$/],
  ['a device as output', quantizeTo('/dev/full'), /^error: Cannot write \/dev\/full: it is not a regular file\.$/],
  ['a report that cannot be written', ['inspect', 'tiny.onnx', '--report', 'none/r.md'], /^error: Cannot write none\/r\.md: the folder none does not exist\.$/],
  ['outputs below a file', ['run', 'tiny.onnx', '--data', 'good.npz', '--outputs', 'good.npz/o'], /^error: --outputs good\.npz\/o: .*good\.npz is a file; expected a folder\.$/],
  ['a missing config file', ['inspect', 'tiny.onnx', '--config', 'none.json'], /^error: none\.json cannot be read: /],
  ['filters that leave nothing', [...quantizeTo('o.onnx'), '--mode', 'static', '--include', 'nothing'], /^error: tiny\.onnx has no node that static quantization can bring to integers/],
];

for (const [what, args, error] of CASES) {
  const skip = args.some((arg) => /^\/(sys|dev)\//.test(arg)) && process.platform !== 'linux';
  test(`${what}: one line, a hint, exit code 1`, { skip }, () => fails(args, error));
}

test('a table of another model', async () => {
  const { graph, ...rest } = tinyModel();
  writeFileSync(join(cwd, 'other.onnx'), encodeModel({ ...rest, graph: { ...graph, name: 'other' } }));
  assert.equal((await runCli(['calibrate', 'other.onnx', '--data', 'good.npz', '-o', 'other.json'], { cwd })).code, 0);
  await fails(['quantize', 'tiny.onnx', '--calibration', 'other.json', '-o', 'o.onnx'], /^error: the calibration table is of another model: expected SHA-256 [0-9a-f]{64} \(.*\), received [0-9a-f]{64} \(other\.onnx\)$/);
});

test('stdout that cannot be written', { skip: process.platform !== 'linux' }, () => {
  const full = spawnSync('sh', ['-c', `"${process.execPath}" "${BIN}" inspect tiny.onnx > /dev/full`], { cwd, encoding: 'utf8' });
  assert.deepEqual({ code: full.status, stderr: linesOf(full.stderr) }, { code: 1, stderr: ['error: the result cannot be written to stdout: ENOSPC: no space left on device, write'] });
});

test('a reader of stdout that leaves early is no failure', async () => {
  const { child, result } = startCli(['inspect', 'tiny.onnx'], { cwd });
  child.stdout?.destroy();
  const { code, stderr } = await result;
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
});

test('--debug shows the stack, and only then', async () => {
  const { stderr } = await runCli(['inspect', 'none.onnx', '--debug'], { cwd });
  assert.deepEqual(linesOf(stderr).slice(0, 3), ['error: none.onnx does not exist; expected an ONNX file.', 'hint: Check the path.', 'QdqError: none.onnx does not exist; expected an ONNX file.']);
  // The bundle has no files of modules, but their functions keep their names.
  assert.match(stderr, /\n {4}at .*readModel /);
});

test('with --json the error is one object on stdout, with what to do', async () => {
  const { code, stdout, stderr } = await runCli(['run', 'tiny.onnx', '--data', 'none.npz', '--json'], { cwd });
  assert.deepEqual({ code, stderr, json: JSON.parse(stdout) as unknown }, {
    code: 1,
    stderr: '',
    json: { schema: 'qdq.error/1', error: { code: 'file-not-found', message: 'none.npz: no such file or folder', hint: 'Check the path.' } },
  });
});
