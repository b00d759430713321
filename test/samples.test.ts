import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { unzipSync } from 'fflate';
import { decodeNpy } from '../src/data/decode-npy.js';
import { compare, quantize, run, type Comparison } from '../src/index.js';
import { numbersOf } from '../src/tensor/values.js';
import { runCli } from './cli/run-cli.js';
import { sampleModels } from './helpers/shared-models.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-samples-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** What the training script measured with its own preprocessing, in Python. */
interface Reference {
  readonly accuracy: number;
  readonly correct: number;
  readonly count: number;
  readonly logits: Readonly<Record<string, readonly number[]>>;
}

/** Accuracy that int8 may lose, of 1. */
const MOST_LOST = 0.03;

const samples = join(dirname(sampleModels()[0]!.path), '..');

for (const name of ['glyphs', 'tokens']) {
  describe(`samples/${name}`, () => {
    const root = dirname(sampleModels().find((model) => model.name.startsWith(name))!.path);
    const model = join(root, 'model.onnx');
    const data = [join(root, 'test')];
    const labels = join(root, 'labels.json');
    const reference = JSON.parse(readFileSync(join(root, 'reference.json'), 'utf8')) as Reference;

    test('the first samples give the logits that training gave: they are prepared alike', async () => {
      const { outputs } = await run({ model, data, outputs: join(folder, name), runs: 0, threads: 1 });
      assert.equal(outputs.length, 1);
      const output = outputs[0]!.name;
      assert.equal(Object.keys(reference.logits).length, 3);
      for (const [sample, logits] of Object.entries(reference.logits)) {
        const file = join(folder, name, `${sample.replace(/\.\w+$/, '').replaceAll('/', '__')}.npz`);
        const received = Array.from(numbersOf(decodeNpy(Buffer.from(unzipSync(readFileSync(file))[`${output}.npy`]!), sample)));
        assert.equal(received.length, logits.length);
        logits.forEach((logit, i) => assert.ok(Math.abs(received[i]! - logit) < 1e-4, `${sample}, class ${i}: ${received[i]} instead of ${logit}`));
      }
    });

    test('fp32 has the accuracy of the reference, and int8 is within 3 points of it', async () => {
      // The target whose products are exact on every machine.
      await quantize({ model, data: [join(root, 'calibration')], output: join(folder, `${name}.int8.onnx`), target: 'ort-x64', verify: false, effort: 'none' });
      const result = await compare({ baseline: model, candidates: [join(folder, `${name}.int8.onnx`)], data, labels, runs: 1, warmup: 0, maxDrop: MOST_LOST });
      const { task, samples, thresholds, integer } = result as Comparison & typeof result;
      assert.deepEqual([samples, task!.samples], [reference.count, reference.count]);
      assert.equal(task!.baseline, reference.accuracy);
      assert.equal(task!.baseline, reference.correct / reference.count);
      assert.ok(reference.accuracy > 0.8 && reference.accuracy < 1, 'there is something to lose');
      assert.ok(task!.candidate! >= reference.accuracy - MOST_LOST, `${task!.candidate} instead of ${reference.accuracy}`);
      assert.deepEqual(thresholds.map((threshold) => [threshold.name, threshold.met]), [['max-drop', true]]);
      assert.equal(integer.integerNodes, integer.computeNodes);
    });
  });
}

describe('samples/Makefile', { skip: spawnSync('make', ['--version']).status === 0 ? false : 'there is no make here' }, () => {
  const { MAKEFLAGS: _, MAKELEVEL: __, ...env } = process.env;
  const make = (...args: string[]) =>
    spawnSync('make', ['MODELS=tokens/model', `OUT=${join(folder, 'made')}`, 'QUANTIZE_FLAGS=--target ort-x64 --method minmax --no-verify', ...args], { cwd: samples, env, encoding: 'utf8' });
  const made = (file: string) => join(folder, 'made', 'tokens', file);

  test('makes the int8 model and its report, and again only where a sample changed', () => {
    const first = make();
    assert.equal(first.status, 0, first.stderr);
    assert.ok(statSync(made('model.int8.onnx')).size < statSync(join(samples, 'tokens/model.onnx')).size / 2);
    assert.match(readFileSync(made('model.compare.md'), 'utf8'), /min-integer is met/);
    // -q asks whether something is to be done, -W takes a file for new.
    assert.equal(make('-q').status, 0);
    assert.equal(make('-q', '-W', 'tokens/calibration/calibration-007.npz').status, 1);
    assert.equal(make('-q', '-W', 'tokens/model.onnx').status, 1);
    assert.equal(make('-q', '-W', 'glyphs/model.onnx').status, 0);
  });

  test('fails where a threshold is not met, and keeps the model but no report', () => {
    const failed = make('THRESHOLDS=--min-sqnr 150', '-W', 'tokens/model.onnx');
    assert.equal(failed.status, 2);
    assert.match(failed.stderr, /min-sqnr is not met/);
    assert.deepEqual([existsSync(made('model.int8.onnx')), existsSync(made('model.compare.md'))], [true, false]);
  });
});

test('the options that the walk-through and the CI example use exist', async () => {
  const texts = ['README.md', 'ci-example.yml', 'Makefile'].map((file) => readFileSync(join(samples, file), 'utf8').replace(/\n {10}(?=--)/g, ' '));
  const commands = texts.join('\n').matchAll(/(?:qdq|\$\(QDQ\)) (calibrate|quantize|run|compare|inspect) (.*)/g);
  const used = new Map<string, Set<string>>();
  for (const [, command, rest] of commands) {
    const options = used.get(command!) ?? new Set();
    for (const [option] of rest!.matchAll(/--[a-z-]+/g)) options.add(option);
    used.set(command!, options);
  }
  assert.deepEqual([...used.keys()].sort(), ['calibrate', 'compare', 'inspect', 'quantize', 'run']);
  for (const [command, options] of used) {
    const { stdout } = await runCli([command, '--help']);
    for (const option of options) assert.match(stdout, new RegExp(`(^|\\s)${option}\\b`), `qdq ${command} ${option}`);
  }
  assert.ok(used.get('compare')!.has('--max-size'), 'lines that go on are read too');
});
