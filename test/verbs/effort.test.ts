import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { judgeTask } from '../../src/evaluation/judge.js';
import { calibrate, quantize, readModel, type QuantizeOptions, type QuantizeResult } from '../../src/index.js';
import { listSamples, partitionSamples } from '../../src/partition-samples.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import { stagedFile } from '../../src/runtime/staged-model.js';
import { showsGain } from '../../src/search/choose-plan.js';
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

function tiny(name = 'data'): Subject {
  const data = join(folder, name);
  mkdirSync(data);
  writeSamples(data, LIMIT);
  return { model: join(folder, writeTinyModel(folder)), data };
}

async function make({ model, data }: Subject, output: string, more: Partial<QuantizeOptions> = {}): Promise<QuantizeResult> {
  return quantize({ model, data: [data], limit: LIMIT, output: join(folder, output), effort: 'normal', target: 'ort-x64', threads: 1, ...more });
}

/** SQNR of the worst output on the samples that judged, as the kernels of this machine compute it. */
async function sqnrOnJudging({ model, data }: Subject, output: string): Promise<number> {
  const spec = { paths: [data], limit: LIMIT };
  const { judging } = partitionSamples(await listSamples(host, (await readModel(model)).graph, spec, false));
  assert.equal(judging.length, 3);
  const { candidates } = await host.run(judgeTask, { baseline: stagedFile(model), candidates: [{ model: stagedFile(join(folder, output)) }], data: spec, only: judging });
  return Math.min(...candidates[0]!.outputs.map(({ sqnrDb }) => sqnrDb!));
}

/** What holds whatever was measured: nodes that the search names say what each form costs, and all others are as the report says. */
function assertSound({ nodes, changes, integer, search }: QuantizeResult): void {
  const found = changes.filter(({ pass }) => pass === 'search');
  assert.ok(found.length <= 1);
  const named = new Set(found.flatMap(({ names }) => names));
  const measured = nodes.filter(({ reason }) => reason !== null && / by measurement$|^measured: /.test(reason));
  assert.deepEqual(new Set(measured.map(({ name }) => name)), named);
  for (const { reason } of measured) {
    assert.match(reason!, /by measurement$|^measured: ([\d.e-]+ ms (static and conversions at its edges|dynamic|blocks), )*[\d.e-]+ ms in float/);
  }
  const planned = nodes.filter(({ decision, opType }) => decision !== 'float' && /Conv|MatMul|Gemm/.test(opType)).map(({ name }) => name);
  assert.deepEqual(integer!.nodes.filter(({ runsAs }) => runsAs === 'integer').map(({ name }) => name), planned);
  assert.ok(planned.length > 0);
  assert.equal(integer!.danglingQdqNodes, 0);
  const chosen = search!.candidates.filter((candidate) => candidate.chosen);
  assert.equal(chosen.length, 1);
  assert.ok(chosen[0]!.speedup! > 0 && chosen[0]!.integerNodes === planned.length);
  assert.equal(search!.candidates[0]!.label, 'all static');
}

describe('quantize with effort normal', () => {
  test('is the default where there is data, and keeps its budget with a margin', async () => {
    const glyphs = sample('glyphs');
    const result = await make(glyphs, 'glyphs.onnx', { effort: undefined });
    assertShape(result, QUANTIZE);
    assertSound(result);
    const chosen = result.search!.candidates.find((candidate) => candidate.chosen)!;
    assert.ok(chosen.sqnrDb! >= 31);
    // Ranges are those of all samples in the end, and were those of half of them while plans were compared.
    assert.ok((await sqnrOnJudging(glyphs, 'glyphs.onnx')) >= chosen.sqnrDb! - 3);
    assert.ok(!result.warnings.some(({ code }) => code === 'error-budget'));
  });

  test('takes a drop of the task metric as its budget, with classes counted over all folders', async () => {
    const result = await make(sample('glyphs'), 'drop.onnx', { limit: 24, maxDrop: 0.5 });
    assertSound(result);
    const { task, samples } = result.check!;
    assert.deepEqual([task!.metric, samples], ['top1', 6]);
    assert.ok(task!.baseline! > 0.6 && task!.drop! <= 0.5, JSON.stringify(task));
    assert.ok(result.search!.candidates.every(({ drop }) => drop !== null));
  });

  test('leaves the noisiest nodes out where more is asked for than all static ones give, and replays what it decided', async () => {
    const tokens = sample('tokens');
    const record = join(folder, 'tokens.plan.json');
    const result = await make(tokens, 'tokens.onnx', { minSqnr: 30, planOut: record });
    assertShape(result, QUANTIZE);
    assertSound(result);
    const [allStatic] = result.search!.candidates;
    const chosen = result.search!.candidates.find((candidate) => candidate.chosen)!;
    assert.ok(allStatic!.sqnrDb! < 41 && chosen.sqnrDb! > allStatic!.sqnrDb!, `${allStatic!.sqnrDb} → ${chosen.sqnrDb}`);
    // Alone, what is left out makes noise that is told in dB.
    assert.ok(result.search!.candidates.some(({ label }) => label.startsWith('node by node')));

    const again = await quantize({ model: tokens.model, plan: record, output: join(folder, 'again.onnx') });
    assertShape(again, QUANTIZE);
    assert.equal(again.output!.sha256, result.output!.sha256);
    assert.deepEqual([again.nodes, again.ranges], [result.nodes, result.ranges]);
    const { metadata } = await readModel(again.output!.path);
    assert.equal((JSON.parse(metadata.get('qdq.plan')!) as { ranges: string }).ranges, result.ranges);
    await assert.rejects(quantize({ model: sample('glyphs').model, plan: record, output: join(folder, 'other.onnx') }), { code: 'plan-mismatch', message: /made for another model/ });
    await assert.rejects(quantize({ model: tokens.model, plan: record, overrides: 'x', output: join(folder, 'other.onnx') }), { code: 'usage' });
    await assert.rejects(quantize({ model: tokens.model, plan: join(folder, 'none.json'), output: join(folder, 'other.onnx') }), { code: 'file-not-found' });
    assert.ok(!existsSync(join(folder, 'other.onnx')));
  });

  test('replays a plan for another machine as it was made: looked up as that machine fuses, speed not judged', { skip: process.arch === 'arm64' }, async () => {
    const subject = tiny('replay');
    const record = join(folder, 'arm.plan.json');
    const made = await make(subject, 'arm.onnx', { target: 'ort-arm64', planOut: record });
    const again = await quantize({ model: subject.model, plan: record, data: [subject.data], limit: LIMIT, output: join(folder, 'arm-again.onnx'), threads: 1 });
    assert.equal(again.output!.sha256, made.output!.sha256);
    assert.equal(again.integer!.integerNodes, made.integer!.integerNodes);
    assert.deepEqual([made.check!.speedup, again.check!.speedup], [null, null]);
    assert.ok(again.warnings.some(({ code }) => code === 'target-machine'));
  });

  test('says so where the budget cannot be met', async () => {
    const result = await make(tiny(), 'searched.onnx', { minSqnr: 190, mode: 'static' });
    assertSound(result);
    const warning = result.warnings.find(({ code }) => code === 'error-budget')!;
    assert.match(warning.message, /^output "logits" has [\d.]+ dB, and 190 dB were asked for/);
  });

  test('prefers more integers, or smaller files, where that is asked for', async () => {
    const tokens = sample('tokens');
    const figures = async (prefer: 'integer' | 'size') => {
      const { search } = await make(tokens, `${prefer}.onnx`, { prefer, minSqnr: 5 });
      const good = search!.candidates.filter(({ sqnrDb, speedup }) => sqnrDb! >= 16 && speedup !== null);
      return { good, chosen: good.find((candidate) => candidate.chosen)! };
    };
    const integer = await figures('integer');
    assert.equal(integer.chosen.integerNodes, Math.max(...integer.good.map(({ integerNodes }) => integerNodes)));
    const size = await figures('size');
    assert.equal(size.chosen.weightBytes, Math.min(...size.good.map(({ weightBytes }) => weightBytes)));
  });

  test('says where integers that were chosen show no gain by a second measurement', async () => {
    const { search, warnings } = await make(tiny('no-gain'), 'no-gain.onnx', { prefer: 'integer', minSqnr: 5 });
    const chosen = search!.candidates.find((candidate) => candidate.chosen)!;
    assert.ok(chosen.integerNodes > 0 && search!.integerNodes === chosen.integerNodes);
    const [last] = search!.confirmations.slice(-1);
    assert.equal(search!.noGain === null, showsGain({ integerNodes: chosen.integerNodes, speedup: last!.speedup }));
    const warning = warnings.find(({ code }) => code === 'no-gain');
    assert.equal(warning === undefined, search!.noGain === null);
    // Three products of a few microseconds: conversions take longer.
    assert.match(warning!.message, /shows no gain over float: .*measured again/);
  });

  test('writes nothing where a required speed-up is not reached', async () => {
    const subject = tiny('required');
    const result = await make(subject, 'fast.onnx', { requireSpeedup: 1000 });
    assert.equal(result.output, null);
    assert.deepEqual(result.thresholds.map(({ name, limit, met }) => [name, limit, met]), [['min-speedup', 1000, false]]);
    assert.ok(!existsSync(join(folder, 'fast.onnx')));
    const met = await make(subject, 'fast.onnx', { requireSpeedup: 0.001, effort: 'none' });
    assert.deepEqual([met.thresholds[0]!.met, met.output!.path], [true, join(folder, 'fast.onnx')]);
    assert.ok(existsSync(join(folder, 'fast.onnx')));
  });

  test('ends early with the best so far where it is stopped', async () => {
    const stop = new AbortController();
    let ended = false;
    const earlyStop = {
      begin: () => {
        stop.abort();
        return stop.signal;
      },
      end: () => void (ended = true),
    };
    const result = await make(tiny('stopped'), 'stopped.onnx', { earlyStop });
    assert.ok(ended);
    assert.deepEqual(result.search!.candidates.map(({ label, chosen }) => [label, chosen]), [['all static', true]]);
  });

  test('needs data: from a table alone nothing is measured', async () => {
    const tokens = sample('tokens');
    const table = join(folder, 'tokens.json');
    await calibrate({ ...tokens, data: [tokens.data], limit: 4, output: table });
    const result = await quantize({ model: tokens.model, calibration: table, output: join(folder, 'from-table.onnx'), effort: 'normal' });
    assert.equal(result.search, null);
    assert.equal(result.check, null);
  });
});
