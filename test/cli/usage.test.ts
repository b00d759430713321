import assert from 'node:assert/strict';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { linesOf, runCli } from './run-cli.js';
import { writeTinyModel } from './tiny-model.js';

/** Expects exit code 2, nothing on stdout, and these lines on stderr. */
async function refuses(args: readonly string[], expected: readonly string[], cwd?: string): Promise<void> {
  const { code, stdout, stderr } = await runCli(args, cwd === undefined ? {} : { cwd });
  assert.deepEqual({ code, stdout, stderr: linesOf(stderr) }, { code: 2, stdout: '', stderr: expected });
}

test('an unknown option comes with a suggestion', () => refuses(['inspect', 'm.onnx', '--jsn'], ["error: unknown option '--jsn'", 'hint: Did you mean --json?']));

test('an unknown option that is like none', () => refuses(['inspect', 'm.onnx', '--xyz'], ["error: unknown option '--xyz'", 'hint: See qdq inspect --help.']));

test('an unknown command comes with a suggestion', () => refuses(['inspct'], ["error: unknown command 'inspct'", 'hint: Did you mean inspect?']));

test('a missing argument', () => refuses(['inspect'], ["error: missing required argument 'model'", 'hint: See qdq inspect --help.']));

test('a model that --data took', () =>
  refuses(
    ['run', '--data', 'samples', 'm.onnx'],
    ["error: missing required argument 'model'", 'hint: --data takes all paths that follow it, so name the model before it. See qdq run --help.'],
  ));

test('too many arguments', () => refuses(['inspect', 'a', 'b'], ["error: too many arguments for 'inspect'. Expected 1 argument but got 2.", 'hint: See qdq inspect --help.']));

const BAD_VALUES: readonly [command: string, flags: string, value: string, expected: string][] = [
  ['run', '--threads <n>', '0', 'Expected a whole number from 1 on.'],
  ['run', '--runs <n>', '1.5', 'Expected a whole number from 0 on.'],
  ['run', '--limit <n>', '', 'Expected a whole number from 1 on.'],
  ['run', '--resize <size>', '224x', 'Expected pixels: one number, or width and height as in 224x192.'],
  ['run', '--mean <list>', '0.5,x', 'Expected numbers with commas between.'],
  ['run', '--scale <factor>', '1/0', 'Expected a number or a fraction such as 1/255.'],
  ['run', '--shape <name=dims>', 'image', 'Expected an input name and its dimensions, as in image=1,3,224,224.'],
  ['run', '--layout <order>', 'nhcw', 'Allowed choices are nchw, nhwc.'],
  ['quantize', '--percentile <p>', '101', 'Expected a percentage above 0, up to 100.'],
  ['quantize', '--op-types <list>', 'Conv,,Gemm', 'Expected names with commas between.'],
  ['compare', '--min-agreement <share>', '99', 'Expected a share from 0 to 1.'],
  ['compare', '--min-sqnr <dB>', 'high', 'Expected a number.'],
];

for (const [command, flags, value, expected] of BAD_VALUES) {
  test(`a bad value of ${flags}: "${value}"`, () =>
    refuses([command, 'a.onnx', 'b.onnx', flags.split(' ')[0]!, value], [`error: option '${flags}' argument '${value}' is invalid. ${expected}`, `hint: See qdq ${command} --help.`]));
}

test('no output', () => refuses(['calibrate', 'm.onnx', '--data', 'random:1'], ['error: no output was named', 'hint: Name the table to write with -o.']));

test('an output that is the input, by another name too', async (t) => {
  const cwd = temporaryFolder(t);
  const model = writeTinyModel(cwd);
  symlinkSync(model, join(cwd, 'link.onnx'));
  for (const output of [model, join(cwd, model), 'link.onnx']) {
    await refuses(['quantize', model, '--data', 'random:1', '-o', output], [`error: --output ${output} would overwrite ${model}`, 'hint: Name another file.'], cwd);
  }
});

test('two outputs in one place, and an output in place of the data', async (t) => {
  const cwd = temporaryFolder(t);
  const model = writeTinyModel(cwd);
  await refuses(
    ['calibrate', model, '--data', 'random:1', '-o', 'a.json', '--report', 'a.json'],
    ['error: --report a.json would overwrite what --output names', 'hint: Name another file.'],
    cwd,
  );
  await refuses(['run', model, '--data', '.', '--outputs', '.'], ['error: --outputs . would overwrite .', 'hint: Name another file.'], cwd);
});

test('a report of an unknown form', () =>
  refuses(['inspect', 'm.onnx', '--report', 'r.pdf'], ['error: --report r.pdf: expected a file that ends in .json or .md', 'hint: See qdq inspect --help.']));

test('with --json the error is one object on stdout', async () => {
  const { code, stdout, stderr } = await runCli(['inspect', 'm.onnx', '--json', '--jsn']);
  assert.deepEqual({ code, stderr, json: JSON.parse(stdout) as unknown }, {
    code: 2,
    stderr: '',
    json: { schema: 'qdq.error/1', error: { code: 'usage', message: "unknown option '--jsn'", hint: 'Did you mean --json?' } },
  });
});

const FORM = 'hint: Expected long options without dashes, such as { "data": ["calibration/"], "method": "mse", "per-tensor": true }.';
const BAD_CONFIGS: readonly [content: string, expected: readonly string[]][] = [
  ['{"foo": 1}', ['error: c.json: unknown option "foo"', 'hint: Names are the long options without dashes; see qdq quantize --help.']],
  ['[1]', ['error: c.json: expected a JSON object', FORM]],
  ['{"stacked": "yes"}', ['error: c.json: "stacked": expected true or false, received "yes"', FORM]],
  ['{"data": true}', ['error: c.json: "data": expected a text, a number, or a list of them, received true', FORM]],
  ['{"output": ["a", "b"]}', ['error: c.json: "output": expected a text or a number, received ["a","b"]', FORM]],
  ['{"limit": 0}', ['error: c.json: "limit" is 0. Expected a whole number from 1 on.', 'hint: See qdq quantize --help.']],
  ['{"method": "best"}', ['error: c.json: "method" is "best". Allowed choices are auto, minmax, percentile, entropy, mse.', 'hint: See qdq quantize --help.']],
];

for (const [content, expected] of BAD_CONFIGS) {
  test(`a config file that does not fit: ${content}`, async (t) => {
    const cwd = temporaryFolder(t);
    writeFileSync(join(cwd, 'c.json'), content);
    await refuses(['quantize', 'm.onnx', '--config', 'c.json'], expected, cwd);
  });
}
