import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { encodeNpz } from '../../src/data/npz.js';
import { quantize, type QuantizeOptions, type QuantizeResult } from '../../src/index.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { encoderSample, outlierEncoder, type EncoderSpec } from '../helpers/outlier-encoder.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-migration-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const SAMPLES = 12;

function subject(name: string, spec: EncoderSpec): { model: string; data: string[]; output: string } {
  const data = join(folder, name);
  mkdirSync(data);
  writeFileSync(`${data}.onnx`, encodeModel(outlierEncoder(spec)));
  for (let i = 0; i < SAMPLES; i++) writeFileSync(join(data, `${i}.npz`), encodeNpz(encoderSample(i, spec)));
  return { model: `${data}.onnx`, data: [data], output: `${data}.int8.onnx` };
}

/** As many nodes on integers as the budget allows: nothing is decided by the clock. */
const INTEGERS = { target: 'ort-x64', threads: 1, prefer: 'integer' } as const satisfies Partial<QuantizeOptions>;

const best = ({ search }: QuantizeResult, isMoved: boolean, label: RegExp) =>
  Math.max(...search!.candidates.filter((candidate) => label.test(candidate.label) && candidate.label.includes('scales moved') === isMoved).map(({ sqnrDb }) => sqnrDb!));

describe('quantize an encoder with outlier channels', () => {
  for (const [name, spec, nodes] of [['before', { preNorm: true }, 0], ['after', { preNorm: false }, 4], ['decomposed', { decomposed: true, layers: 1 }, 0]] as const) {
    test(`scales move into weights: normalized ${name}`, async () => {
      const one = subject(name, spec);
      const record = join(folder, `${name}.plan.json`);
      const result = await quantize({ ...one, ...INTEGERS, mode: 'static', planOut: record });
      const [without, moved] = [best(result, false, /^all static/), best(result, true, /^all static/)];
      assert.ok(without < 15 && moved > without + 12, `${without} → ${moved} dB`);
      const change = result.changes.find(({ pass }) => pass === 'scale-migration')!;
      assert.match(change.message, new RegExp(`${without.toFixed(1)} dB → ${moved.toFixed(1)} dB`));
      assert.ok(result.check!.sqnrDb['y']! > without + 12);
      // A Mul before the products stays in float where the residual needs the values as they were.
      assert.equal(result.nodes.filter(({ reason }) => reason === 'it scales channels before they are quantized').length, nodes);
      const again = await quantize({ model: one.model, plan: record, output: join(folder, `${name}.again.onnx`) });
      assert.equal(again.output!.sha256, result.output!.sha256);
    });
  }

  test('dynamic products gain too', async () => {
    const result = await quantize({ ...subject('dynamic', { preNorm: false, layers: 1 }), ...INTEGERS });
    assert.ok(best(result, true, /^all static/) > 25);
    const dynamic = result.search!.candidates.find(({ label }) => label === 'products dynamic, the rest float')!;
    assert.ok(dynamic.sqnrDb! > 25, `${dynamic.sqnrDb} dB`);
  });

  test('none are moved where the budget is kept without', async () => {
    const result = await quantize({ ...subject('plain', { outliers: {}, layers: 1 }), ...INTEGERS, minSqnr: 5 });
    assert.ok(result.search!.candidates.every(({ label }) => !label.includes('scales moved')));
    assert.ok(!result.changes.some(({ pass }) => pass === 'scale-migration'));
  });
});
