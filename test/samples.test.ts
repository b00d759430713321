import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { unzipSync } from 'fflate';
import { decodeNpy } from '../src/data/decode-npy.js';
import { compare, quantize, run, type Comparison } from '../src/index.js';
import { numbersOf } from '../src/tensor/values.js';
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
      await quantize({ model, data: [join(root, 'calibration')], output: join(folder, `${name}.int8.onnx`), target: 'ort-x64', verify: false });
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
