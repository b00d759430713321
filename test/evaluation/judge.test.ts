import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { judgeTask, type JudgeArguments, type JudgeResult } from '../../src/evaluation/judge.js';
import { Session } from '../../src/runtime/session.js';
import type { StagedModel } from '../../src/runtime/staged-model.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { floats, longs } from '../metrics/tensors.js';
import { recordingContext, stage, writeSamples } from './workshop.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-judge-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** y = x · W, [1, 2] · [2, 3]. */
const product = (name: string, weight: readonly number[]): StagedModel =>
  stage(folder, name, (g) => void g.output(g.op('y', 'MatMul', [g.input('x', [1, 2]), g.floats('w', weight, [2, 3])])));

const baseline = product('baseline.onnx', [1, 2, 0, 0, 1, 3]);
const candidate = product('candidate.onnx', [1, 2, 1, 0, 1, 3]);
const turned = product('turned.onnx', [2, 1, 0, 1, 0, 3]);

// Baseline y: [1, 3, 3] [2, 4, 0] [0, 1, 3]; candidate: [1, 3, 4] [2, 4, 2] [0, 1, 3].
const SAMPLES = { a: { x: floats([1, 2], [1, 1]) }, b: { x: floats([1, 2], [2, 0]) }, c: { x: floats([1, 2], [0, 1]) } };
const data = writeSamples(folder, 'plain', SAMPLES);

async function judge(more: Partial<JudgeArguments>): Promise<JudgeResult> {
  return judgeTask.run({ baseline, candidates: [{ model: candidate }], data, threads: 1, ...more }, recordingContext());
}

/** The code of the error that a promise is rejected with. */
const code = (expected: string, message: RegExp) => (error: Error & { code?: string }) => {
  assert.equal(error.code, expected);
  assert.match(error.message, message);
  return true;
};

const near = (received: number | null | undefined, expected: number) => assert.ok(Math.abs(received! - expected) < 1e-9, `${received} instead of ${expected}`);

describe('judge: errors', () => {
  test('of two models, computed by hand', async () => {
    const { samples, candidates, baselineMetric } = await judge({});
    assert.deepEqual({ samples, baselineMetric, count: candidates.length }, { samples: 3, baselineMetric: null, count: 1 });
    const [output] = candidates[0]!.outputs;
    // Σ y² = 1+9+9 + 4+16 + 1+9 = 49, errors 1 and 2.
    near(output!.sqnrDb, 10 * Math.log10(49 / 5));
    // Σ yc = 1+9+12 + 4+16 + 1+9 = 52, Σ c² = 1+9+16 + 4+16+4 + 1+9 = 60.
    near(output!.cosine, 52 / Math.sqrt(49 * 60));
    near(output!.meanAbsError, 3 / 9);
    assert.deepEqual(
      { name: output!.name, max: output!.maxAbsError, agreement: output!.agreement, samples: output!.samples, elements: output!.elements, collapsed: output!.collapsed },
      // argmax of [1, 3, 3] is the first of the equals, of [1, 3, 4] the last.
      { name: 'y', max: 2, agreement: 2 / 3, samples: 3, elements: 9, collapsed: false },
    );
    assert.equal(candidates[0]!.metric, null);
  });

  test('of several candidates, each against the baseline', async () => {
    const { candidates } = await judge({ candidates: [{ model: baseline }, { model: candidate }] });
    assert.deepEqual(candidates.map(({ outputs }) => [outputs[0]!.maxAbsError, outputs[0]!.agreement]), [[0, 1], [2, 2 / 3]]);
  });

  test('over the samples named', async () => {
    const { samples, candidates } = await judge({ only: ['b.npz', 'c.npz'] });
    assert.equal(samples, 2);
    near(candidates[0]!.outputs[0]!.sqnrDb, 10 * Math.log10(30 / 4));
  });

  test('with Q/DQ as written, where that is asked for', async (t) => {
    // x · w with both rounded to quarters: 1.1 · 0.6 → 1.0 · 0.5.
    const rounded = stage(folder, 'rounded.onnx', (g) => {
      const x = g.pair(g.input('x', [1, 2]), { scale: 1 / 4 });
      g.constant('w_q', tensorFromArray('int8', [2, 3], Int8Array.of(2, 0, 0, 0, 0, 4)));
      g.output(g.op('y', 'MatMul', [x, g.op('w', 'DequantizeLinear', ['w_q', g.floats('w_s', [1 / 4], [])])]));
    });
    const exact = product('exact.onnx', [0.6, 0, 0, 0, 0, 1]);
    const one = writeSamples(folder, 'one', { a: { x: floats([1, 2], [1.1, 3]) } });
    const open = t.mock.method(Session, 'open');
    const { candidates } = await judge({ baseline: exact, candidates: [{ model: rounded, simulate: true }, { model: rounded }], data: one });
    // Integer kernels agree with the float form here, so what the sessions were asked for tells the two apart.
    assert.deepEqual(open.mock.calls.map(({ arguments: [, options] }) => options?.simulateQdq ?? false), [false, true, false]);
    for (const { outputs } of candidates) assert.ok(Math.abs(outputs[0]!.maxAbsError! - (1.1 * 0.6 - 0.5)) < 1e-6);
  });

  test('several outputs, integers too', async () => {
    const build = (extra: number) => (g: Parameters<Parameters<typeof stage>[2]>[0]) => {
      const x = g.input('x', [1, 2]);
      g.output(g.op('y', 'Mul', [x, g.floats('k', [1 + extra], [])]), g.op('best', 'ArgMax', [g.op('z', 'Add', [x, g.floats('c', [extra, 0])])], { attributes: { axis: 1 } }));
    };
    const { candidates } = await judge({ baseline: stage(folder, 'two-a.onnx', build(0)), candidates: [{ model: stage(folder, 'two-b.onnx', build(1.5)) }] });
    const [y, best] = candidates[0]!.outputs;
    near(y!.sqnrDb, -20 * Math.log10(1.5));
    // Argmax of [1, 1] [2, 0] [0, 1] is 0 0 1; with 1.5 on the first, 0 0 0.
    assert.deepEqual([y!.equalShare, best!.name, best!.equalShare], [null, 'best', 2 / 3]);
  });

  test('tells its progress', async () => {
    const context = recordingContext();
    await judgeTask.run({ baseline, candidates: [], data }, context);
    assert.deepEqual(context.events, [1, 2, 3].map((done) => ({ stage: 'judging', done, total: 3, unit: 'samples' })));
  });

  test('passes warnings of the data on', async () => {
    const context = recordingContext();
    await judgeTask.run({ baseline, candidates: [], data: { paths: ['random:1'] } }, context);
    assert.deepEqual(context.warnings.map((warning) => warning.code), ['random-data']);
  });
});

describe('judge: tasks', () => {
  // Argmax of the baseline: a 1, b 1, c 2; of `turned`, y = [3, 1, 3] [4, 2, 0] [1, 0, 3]: a 0, b 0, c 2.
  const labels = join(folder, 'labels.json');
  writeFileSync(labels, JSON.stringify({ 'a.npz': 1, 'b.npz': 0, 'c.npz': 2 }));

  test('accuracy by a labels file', async () => {
    const { baselineMetric, candidates, higherIsBetter } = await judge({ candidates: [{ model: turned }, { model: baseline }], labels });
    assert.deepEqual(baselineMetric, { metric: 'top1', value: 2 / 3, samples: 3 });
    assert.deepEqual(candidates.map(({ metric }) => metric), [{ metric: 'top1', value: 2 / 3, samples: 3 }, { metric: 'top1', value: 2 / 3, samples: 3 }]);
    assert.equal(higherIsBetter, true);
  });

  test('only samples with a label count', async () => {
    const path = join(folder, 'few.csv');
    writeFileSync(path, 'file,label\na.npz,0\nc.npz,2\n');
    const { baselineMetric, candidates, samples } = await judge({ candidates: [{ model: turned }], labels: path });
    assert.equal(samples, 3);
    assert.deepEqual([baselineMetric, candidates[0]!.metric], [{ metric: 'top1', value: 0.5, samples: 2 }, { metric: 'top1', value: 1, samples: 2 }]);
  });

  test('accuracy by the names of folders, which are classes in their order', async () => {
    // Folders sorted: ant 0, bee 1, cow 2.
    const { a, b, c } = SAMPLES;
    const folders = writeSamples(folder, 'folders', { 'cow/1': c, 'ant/1': a, 'bee/1': b });
    const { baselineMetric, candidates } = await judge({ data: folders, candidates: [{ model: turned }] });
    assert.deepEqual([baselineMetric?.value, candidates[0]!.metric?.value], [2 / 3, 2 / 3]);
    const { baselineMetric: wide } = await judge({ data: folders, candidates: [], metric: 'top5' });
    assert.deepEqual(wide, { metric: 'top5', value: 1, samples: 3 });
  });

  test('folders whose samples a split or a limit leaves out are classes too', async () => {
    const { a, b, c } = SAMPLES;
    const { paths } = writeSamples(folder, 'parted', { 'ant/1': a, 'bee/1': b, 'cow/1': c });
    // Of the second sample alone, in the folder of class 1, the argmax is 1.
    const { baselineMetric, samples } = await judge({ data: { paths, split: 'odd' }, candidates: [] });
    assert.deepEqual([samples, baselineMetric], [1, { metric: 'top1', value: 1, samples: 1 }]);
    const { baselineMetric: both } = await judge({ data: { paths, split: 'even', limit: 2 }, candidates: [] });
    assert.deepEqual(both, { metric: 'top1', value: 0.5, samples: 2 });
  });

  test('a labels file goes before folders', async () => {
    const { a, b } = SAMPLES;
    const folders = writeSamples(folder, 'folders2', { 'x/a': a, 'y/b': b });
    const { baselineMetric } = await judge({ data: folders, candidates: [], labels });
    assert.deepEqual(baselineMetric, { metric: 'top1', value: 0.5, samples: 2 });
  });

  test('a metric module', async () => {
    const path = join(folder, 'distance.mjs');
    writeFileSync(path, 'export const higherIsBetter = false;\nexport default (outputs, label) => Math.abs(outputs.y.data[2] - label);\n');
    const { baselineMetric, candidates, higherIsBetter } = await judge({ metric: path, labels });
    // |3 − 1|, |0 − 0|, |3 − 2| and |4 − 1|, |2 − 0|, |3 − 2|.
    assert.deepEqual([baselineMetric, candidates[0]!.metric, higherIsBetter], [{ metric: 'distance', value: 1, samples: 3 }, { metric: 'distance', value: 2, samples: 3 }, false]);
  });

  test('a metric without labels is refused', async () => {
    await assert.rejects(judge({ metric: 'top1' }), code('usage', /^--metric top1 needs labels$/));
  });

  test('labels that fit no sample are refused, with the form that they must have', async () => {
    const path = join(folder, 'strange.json');
    writeFileSync(path, JSON.stringify({ 'z.npz': 1 }));
    await assert.rejects(judge({ labels: path }), (error: Error & { hint?: string }) => {
      code('data-invalid', /strange\.json: no label fits any of the 3 samples$/)(error);
      assert.match(error.hint ?? '', /"a\.npz"/);
      return true;
    });
  });

  test('a label beyond the classes is refused', async () => {
    const path = join(folder, 'beyond.json');
    writeFileSync(path, JSON.stringify({ 'a.npz': 3 }));
    await assert.rejects(judge({ labels: path }), code('data-invalid', /a class index below 3/));
  });
});

describe('judge: what it refuses', () => {
  test('a candidate without one of the outputs', async () => {
    const other = stage(folder, 'other.onnx', (g) => void g.output(g.op('z', 'MatMul', [g.input('x', [1, 2]), g.floats('w', [1, 2, 0, 0, 1, 3], [2, 3])])));
    await assert.rejects(judge({ candidates: [{ model: other }] }), code('model-invalid', /no output "y"/));
  });

  test('an output of another shape is counted and not compared', async () => {
    const other = stage(folder, 'narrow.onnx', (g) => void g.output(g.op('y', 'MatMul', [g.input('x', [1, 2]), g.floats('w', [1, 2], [2, 1])])));
    const { candidates } = await judge({ candidates: [{ model: other }] });
    assert.deepEqual([candidates[0]!.outputs[0]!.shapeMismatches, candidates[0]!.outputs[0]!.sqnrDb], [3, null]);
  });

  test('a candidate with other inputs', async () => {
    const other = stage(folder, 'inputs.onnx', (g) => void g.output(g.op('y', 'MatMul', [g.input('image', [1, 2]), g.floats('w', [1, 2, 0, 0, 1, 3], [2, 3])])));
    await assert.rejects(judge({ candidates: [{ model: other }] }), code('runtime-rejected', /image/));
  });

  test('samples of another type', async () => {
    const wrong = writeSamples(folder, 'wrong', { a: { x: longs([1, 2], [1, 2]) } });
    await assert.rejects(judge({ data: wrong }), code('data-invalid', /x/));
  });
});
