import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { judgeTask } from '../../src/evaluation/judge.js';
import { calibrate, quantize, type QuantizeOptions, type QuantizeResult } from '../../src/index.js';
import { partitionSamples } from '../../src/partition-samples.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import { stagedFile } from '../../src/runtime/staged-model.js';
import { writeSamples, writeTinyModel } from '../cli/tiny-model.js';
import { sampleModels } from '../helpers/shared-models.js';
import { QUANTIZE } from './interface.js';
import { assertShape } from './shape.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-effort-'));
const host = new RuntimeHost();
after(async () => {
  await host.close();
  rmSync(folder, { recursive: true, force: true });
});

const LIMIT = 8;

interface Subject {
  readonly model: string;
  readonly data: string;
}

function sample(name: string): Subject {
  const root = dirname(sampleModels().find((model) => model.name.startsWith(name))!.path);
  return { model: join(root, 'model.onnx'), data: join(root, 'calibration') };
}

function tiny(): Subject {
  const data = join(folder, 'data');
  mkdirSync(data);
  writeSamples(data, LIMIT);
  return { model: join(folder, writeTinyModel(folder)), data };
}

async function make({ model, data }: Subject, output: string, more: Partial<QuantizeOptions> = {}): Promise<QuantizeResult> {
  return quantize({ model, data: [data], limit: LIMIT, output: join(folder, output), effort: 'normal', target: 'ort-x64', threads: 1, ...more });
}

/** SQNR of the worst output on the samples that decided, Q/DQ as float. */
async function sqnrOnDeciding({ model, data }: Subject, output: string): Promise<number> {
  const spec = { paths: [data], limit: LIMIT };
  const { deciding } = (await partitionSamples(host, model, spec, undefined))!;
  assert.equal(deciding.length, 6);
  const { candidates } = await host.run(judgeTask, { baseline: stagedFile(model), candidates: [{ model: stagedFile(join(folder, output)), simulate: true }], data: spec, only: deciding });
  return Math.min(...candidates[0]!.outputs.map(({ sqnrDb }) => sqnrDb!));
}

/** What holds whatever was measured: nodes that the search names are float and say what they cost, and all others are as the report says. */
function assertSound({ nodes, changes, integer }: QuantizeResult): void {
  const found = changes.filter(({ pass }) => pass === 'search');
  assert.ok(found.length <= 1);
  const byName = new Map(nodes.map((node) => [node.name, node]));
  for (const name of found.flatMap(({ names }) => names)) {
    assert.equal(byName.get(name)!.decision, 'float', name);
    assert.match(byName.get(name)!.reason!, /^measured: [\d.e-]+ ms on integers and conversions at its edges, against [\d.e-]+ ms in float/);
  }
  const measured = nodes.filter(({ reason }) => reason?.startsWith('measured: ')).map(({ name }) => name);
  assert.deepEqual(measured.sort(), found.flatMap(({ names }) => names).sort());
  const planned = nodes.filter(({ decision, opType }) => decision === 'quantized' && /Conv|MatMul|Gemm/.test(opType)).map(({ name }) => name);
  assert.deepEqual(integer!.nodes.filter(({ runsAs }) => runsAs === 'integer').map(({ name }) => name), planned);
  assert.ok(planned.length > 0);
  assert.equal(integer!.danglingQdqNodes, 0);
}

describe('quantize with effort normal', () => {
  test('keeps the default budget of 20 dB on its own samples', async () => {
    const glyphs = sample('glyphs');
    const result = await make(glyphs, 'glyphs.onnx');
    assertShape(result, QUANTIZE);
    assertSound(result);
    assert.ok((await sqnrOnDeciding(glyphs, 'glyphs.onnx')) >= 20);
    assert.ok(!result.warnings.some(({ code }) => code === 'error-budget'));
  });

  test('leaves the noisiest nodes in float where more is asked for than all integers give', async () => {
    const tokens = sample('tokens');
    const result = await make(tokens, 'tokens.onnx', { minSqnr: 42 });
    assertShape(result, QUANTIZE);
    assertSound(result);
    const [search] = result.changes.filter(({ pass }) => pass === 'search');
    const [, before, after] = /([\d.]+) → ([\d.]+) dB$/.exec(search!.message)!.map(Number);
    assert.ok(before! < 42 && after! >= 42, search!.message);
    assert.ok(Math.abs((await sqnrOnDeciding(tokens, 'tokens.onnx')) - after!) < 0.1);
    // Alone, what is left in float makes noise that is told in dB.
    assert.ok(result.nodes.some(({ reason }) => /alone it leaves \d+ dB$/.test(reason ?? '')));
  });

  test('is never noisier than without effort where the budget cannot be met, and says so', async () => {
    const subject = tiny();
    const result = await make(subject, 'searched.onnx', { minSqnr: 190 });
    assertSound(result);
    await make(subject, 'plain.onnx', { effort: 'none' });
    assert.ok((await sqnrOnDeciding(subject, 'searched.onnx')) >= (await sqnrOnDeciding(subject, 'plain.onnx')) - 0.01);
    const warning = result.warnings.find(({ code }) => code === 'error-budget')!;
    assert.match(warning.message, /^output "logits" has [\d.]+ dB, and 190 dB were asked for/);
  });

  test('needs data: from a table alone nothing is measured', async () => {
    const tokens = sample('tokens');
    const table = join(folder, 'tokens.json');
    await calibrate({ ...tokens, data: [tokens.data], limit: 4, output: table });
    const result = await quantize({ model: tokens.model, calibration: table, output: join(folder, 'from-table.onnx'), effort: 'normal' });
    assert.deepEqual(result.changes.filter(({ pass }) => pass === 'search'), []);
    assert.equal(result.check, null);
  });
});
