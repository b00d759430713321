import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { allNodes } from '../../src/graph/traversal.js';
import { calibrate, quantize, readModel, type QuantizeOptions } from '../../src/index.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { int64Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { noise, writeSample } from '../cli/tiny-model.js';
import { runCli } from '../cli/run-cli.js';
import { parseModel } from '../helpers/graph-text.js';
import { outputsOf } from '../helpers/same-outputs.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

/** Two networks in the branches of an If that an input decides, as a voice detector for two rates has them. */
const TEXT = `
ir 8
opset 13
input x float32[1,16,32]
input rate int64[]
const k int64[] 16000
c = Equal(rate, k)
y = If(c)
  then_branch:
    const w float32[16,16,3] ~1
    const v float32[16,16,3] ~2
    high: a = Conv(x, w) pads=[1,1]
    b = Relu(a)
    d = Conv(b, v) pads=[1,1]
    output d float32[1,16,32]
  else_branch:
    const u float32[16,16,1] ~3
    low: e = Conv(x, u)
    output e float32[1,16,32]
output y float32[1,16,32]`;

type Options = Pick<QuantizeOptions, 'model' | 'data' | 'target' | 'threads' | 'effort'>;

function made(t: TestContext, rate: (i: number) => number | undefined = () => 16000): { folder: string; options: Options } {
  const folder = temporaryFolder(t);
  const data = join(folder, 'data');
  mkdirSync(data);
  writeFileSync(join(folder, 'm.onnx'), encodeModel(parseModel(TEXT.replaceAll('', ''))));
  for (let i = 0; i < 8; i++) {
    const value = rate(i);
    writeSample(join(data, `${i}.npz`), { x: noise([1, 16, 32], i), ...(value !== undefined && { rate: int64Tensor(value) }) });
  }
  return { folder, options: { model: join(folder, 'm.onnx'), data: [data], target: 'ort-x64', threads: 1, effort: 'none' } };
}

test('a frozen input settles the branch that it decides, which is then static; callers go on feeding it, and it changes nothing', async (t) => {
  const { folder, options } = made(t);
  const result = await quantize({ ...options, output: join(folder, 'q.onnx'), freeze: { rate: 16000 } });
  assert.deepEqual([result.integer!.computeNodes, result.integer!.integerNodes], [2, 2]);
  assert.equal(result.nodes.find(({ name }) => name === 'high')?.decision, 'quantized');
  assert.match(result.changes[0]!.message, /^--freeze rate=16000: /);
  assert.ok(result.check!.sqnrDb['y']! > 25, JSON.stringify(result.check));
  assert.ok(!result.warnings.some(({ code }) => code === 'fixed-input'));
  const model = await readModel(join(folder, 'q.onnx'));
  assert.deepEqual(model.graph.inputs.map(({ name }) => name), ['x', 'rate']);
  assert.ok(![...allNodes(model.graph)].some(({ opType }) => opType === 'If'));
  const fed = async (rate: number) => [...numbersOf((await outputsOf(model, new Map([['x', noise([1, 16, 32], 9)], ['rate', int64Tensor(rate)]]))).get('y')!)];
  assert.deepEqual(await fed(16000), await fed(8000));
});

test('without it, a value that all samples feed is told, with the option to say; one that varies is not', async (t) => {
  const { folder, options } = made(t);
  const told: string[] = [];
  const onWarning = ({ code, message, advice }: { code: string; message: string; advice: string }) => code === 'fixed-input' && told.push(`${message}; ${advice}`);
  await quantize({ ...options, output: join(folder, 'q.onnx'), onWarning }).catch(() => undefined);
  await calibrate({ model: options.model, data: options.data, onWarning }).catch(() => undefined);
  assert.equal(told.length, 2);
  for (const text of told) assert.match(text, /"rate" the value 16000, which decides an If.*--freeze rate=16000/);
  const varying = made(t, (i) => (i % 2 ? 8000 : 16000));
  await quantize({ ...varying.options, output: join(folder, 'q.onnx'), onWarning }).catch(() => undefined);
  assert.equal(told.length, 2);
});

test('samples may lack a frozen input; one that feeds another value is an error that names it, and nothing is written', async (t) => {
  const { folder, options } = made(t, (i) => [16000, undefined][i % 2]);
  await quantize({ ...options, output: join(folder, 'q.onnx'), freeze: { rate: '16000' } });
  const mixed = made(t, (i) => (i === 5 ? 8000 : 16000));
  const output = join(mixed.folder, 'q.onnx');
  await assert.rejects(quantize({ ...mixed.options, output, freeze: { rate: 16000 } }), { code: 'data-invalid', message: '5.npz: input "rate" is frozen at 16000, received 8000' });
  assert.ok(!existsSync(output));
});

test('a table binds the frozen values, and so does a record, which freezes them again', async (t) => {
  const { folder, options } = made(t);
  const { model, target, threads } = options;
  const at = (name: string) => join(folder, name);
  const calibrated = await calibrate({ model, data: options.data, output: at('t.json'), freeze: { rate: 16000n }, threads: 1 });
  assert.deepEqual(calibrated.frozen, { rate: ['16000'] });
  assert.match(readFileSync(at('t.json'), 'utf8'), /"frozen":\{"rate":\["16000"\]\}/);
  const result = await quantize({ model, target, threads, calibration: at('t.json'), freeze: { rate: ['+16000'] }, output: at('q.onnx'), planOut: at('p.json') });
  for (const freeze of [undefined, { rate: 8000 }]) {
    await assert.rejects(quantize({ model, calibration: at('t.json'), output: at('no.onnx'), freeze }), { code: 'table-mismatch', message: /was made with --freeze rate=16000, not with (no --freeze|--freeze rate=8000)/ });
  }
  assert.equal((await calibrate({ model, data: options.data, output: at('plain.json') })).frozen, null);
  await assert.rejects(quantize({ model, calibration: at('plain.json'), output: at('no.onnx'), freeze: { rate: 16000 } }), { code: 'table-mismatch', message: /was made with no --freeze, not with --freeze rate=16000/ });
  const again = await quantize({ model, plan: at('p.json'), output: at('again.onnx') });
  assert.equal(again.output!.sha256, result.output!.sha256);
  assert.match(again.changes[0]!.message, /^--freeze rate=16000: /);
  await assert.rejects(quantize({ model, plan: at('p.json'), output: at('no.onnx'), freeze: { rate: 8000 } }), { code: 'usage' });
});

test('the command line takes it, and other modes keep to it', async (t) => {
  const { folder, options } = made(t);
  const line = ['quantize', options.model, '--mode', 'dynamic', '--op-types', 'Conv', '--freeze', 'rate=8000', '--json', '-o', join(folder, 'q.onnx')];
  const { stdout, code } = await runCli(line);
  assert.equal(code, 0, stdout);
  const { nodes } = JSON.parse(stdout) as { nodes: { name: string; decision: string }[] };
  assert.deepEqual(nodes.filter(({ decision }) => decision === 'quantized').map(({ name }) => name), ['low']);
  const wrong = await runCli(['quantize', options.model, '--freeze', 'rate', '-o', join(folder, 'q.onnx')]);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /as in sr=16000/);
});
