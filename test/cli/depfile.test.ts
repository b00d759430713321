import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { makefileRules, writeDepfile } from '../../commands/depfile.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { tinyModel } from './tiny-model.js';

test('makefileRules: a rule, and an empty one for each file after the model', () => {
  assert.equal(makefileRules('o.onnx', 'm.onnx', ['a.npz', 'b.npz']), 'o.onnx: m.onnx \\\n  a.npz \\\n  b.npz\n\na.npz:\n\nb.npz:\n');
  assert.equal(makefileRules('o.onnx', 'm.onnx', []), 'o.onnx: m.onnx\n');
});

test('makefileRules: make reads back names with spaces, #, $, % and backslashes', { skip: spawnSync('make', ['--version']).error ? 'no make here' : false }, (t) => {
  const folder = temporaryFolder(t);
  const files = ['a b.npz', 'c#d.npz', 'e$f.npz', 'g\\h.npz', 'i%j.npz', 'k:l.npz'];
  for (const file of ['m.onnx', ...files]) writeFileSync(join(folder, file), '');
  const recipe = "o.onnx:\n\t@printf '%s\\n' $(foreach file,$^,'$(file)')\n";
  writeFileSync(join(folder, 'Makefile'), `${recipe}${makefileRules('o.onnx', 'm.onnx', files)}`);
  const { stdout, stderr } = spawnSync('make', ['o.onnx'], { cwd: folder, encoding: 'utf8' });
  assert.deepEqual({ stderr, names: stdout.split('\n').join(' ').trim() }, { stderr: '', names: ['m.onnx', ...files].join(' ') });
});

test('writeDepfile: every kind of data, and what decides how pictures are prepared', async (t) => {
  const folder = temporaryFolder(t);
  const at = (...names: string[]) => join(folder, ...names);
  writeFileSync(at('m.onnx'), encodeModel(tinyModel()));
  for (const path of ['data/set', 'data/pictures']) mkdirSync(at(path), { recursive: true });
  for (const name of ['data/a.npz', 'data/set/input_0.pb', 'data/set/output_0.pb', 'data/pictures/p.png', 'data/notes.txt', 'preprocessor_config.json', 'reader.mjs']) {
    writeFileSync(at(name), '');
  }
  await writeDepfile(at('o.d'), 'o.onnx', { model: at('m.onnx'), data: [at('data'), at('reader.mjs'), 'random:3'], files: [undefined, at('t.json')] });
  const [rule] = readFileSync(at('o.d'), 'utf8').split('\n\n');
  assert.deepEqual(rule?.split(' \\\n  ').map((name) => name.replace(`${folder}/`, '')), [
    'o.onnx: m.onnx',
    't.json',
    'data/a.npz',
    'data/pictures/p.png',
    'data/set/input_0.pb',
    'preprocessor_config.json',
    'reader.mjs',
  ]);
});
