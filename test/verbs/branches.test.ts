import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { Model } from '../../src/graph/model.js';
import { readTable } from '../../src/calibration/table-file.js';
import { allNodes } from '../../src/graph/traversal.js';
import { calibrate, quantize, readModel, type QuantizeOptions } from '../../src/index.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { noise, writeSample } from '../cli/tiny-model.js';
import { parseModel } from '../helpers/graph-text.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-branches-'));
after(() => rmSync(folder, { recursive: true, force: true }));

async function made(name: string, model: Model, sample: (i: number) => Readonly<Record<string, Tensor>>, more: Partial<QuantizeOptions> = {}) {
  const at = join(folder, name);
  mkdirSync(at);
  writeFileSync(`${at}.onnx`, encodeModel(model));
  for (let i = 0; i < 8; i++) writeSample(join(at, `${i}.npz`), sample(i));
  const result = await quantize({ model: `${at}.onnx`, output: `${at}.q.onnx`, data: [at], threads: 1, target: 'ort-x64', ...more });
  return { ...result, opTypes: [...allNodes((await readModel(`${at}.q.onnx`)).graph)].map(({ opType }) => opType) };
}

const bool = (value: boolean) => tensorFromArray('bool', [], Uint8Array.of(value ? 1 : 0));

/** Rows whose first column outweighs all others, and a weight that takes no notice of it: what dynamic quantization cannot do. */
const outweighed = (seed: number): Tensor => tensorFromArray('float32', [4, 64], Float32Array.from(numbersOf(noise([4, 64], seed)), (value, i) => (i % 64 === 0 ? 5000 : value)));
function withBlindRow({ graph, ...model }: Model, name: string): Model {
  const weight = graph.initializers.get(name)!;
  const columns = weight.dims[1]!;
  const values = Float32Array.from(numbersOf(weight), (value, i) => (i < columns ? 0 : value));
  return { ...model, graph: { ...graph, initializers: new Map(graph.initializers).set(name, tensorFromArray('float32', weight.dims, values)) } };
}

describe('nodes in the branches of an If', () => {
  test('are static where the sizes of the input settle which branch is taken', async () => {
    const text = `
ir 8
opset 13
input x float32[N,1,64]
const w float32[64,64] ~1
const place int64[] 1
const one int64[] 1
const axes int64[1] 1
s = Shape(x)
d = Gather(s, place)
c = Equal(d, one)
h = If(c)
  then_branch:
    t = Squeeze(x, axes)
    product: m = MatMul(t, w)
    r = Relu(m)
    output r float32[N,64]
  else_branch:
    e = Flatten(x) axis=1
    output e float32[N,64]
y = MatMul(h, w)
output y float32[N,64]`;
    const result = await made('settled', parseModel(text), (i) => ({ x: noise([4, 1, 64], i) }), { effort: 'none' });
    assert.equal(result.mode, 'static');
    assert.deepEqual([result.integer!.integerNodes, result.integer!.computeNodes, result.integer!.danglingQdqNodes], [2, 2, 0]);
    assert.ok(!result.opTypes.includes('If') && !result.opTypes.includes('DynamicQuantizeLinear'));
    assert.equal(result.nodes.find(({ name }) => name === 'product')?.decision, 'quantized');
    assert.ok(result.changes.some(({ pass }) => pass === 'take-branches'));
    assert.ok(Object.values(result.check!.sqnrDb).every((sqnrDb) => sqnrDb! > 25), JSON.stringify(result.check!.sqnrDb));
  });

  test('are static where samples show their ranges, each branch with its own, and a record replays them', async () => {
    const text = `
ir 8
opset 13
input x float32[1,16,N]
input loud bool[]
input deep bool[]
const long int64[3] 1 16 32
a = Relu(x)
y = If(loud)
  then_branch:
    const w float32[16,16,3] ~1
    conv: m = Conv(a, w) pads=[1,1]
    r = Relu(m)
    inner: k = If(deep)
      then_branch:
        const v float32[16,16,3] ~2
        conv: n = Conv(r, v) pads=[1,1]
        output n float32[1,16,N]
      else_branch:
        n = Neg(r)
        output n float32[1,16,N]
    output k float32[1,16,N]
  else_branch:
    const w float32[16,16,3] ~3
    fixed = Reshape(a, long)
    conv: m = Conv(fixed, w) pads=[1,1]
    output m float32[1,16,32]
output y float32[1,16,N]`;
    // The branch that is not taken cannot be computed: 48 columns are no 32.
    const sample = (i: number) => ({ x: noise([1, 16, i % 2 ? 48 : 32], i), loud: bool(i % 2 === 1), deep: bool(true) });
    const record = join(folder, 'both.json');
    const searched = await made('both', parseModel(text), sample, { prefer: 'integer', planOut: record });
    const plain = await made('both-plain', parseModel(text), sample, { effort: 'none' });
    for (const { mode, nodes, integer, check } of [searched, plain]) {
      assert.equal(mode, 'static');
      const convolutions = nodes.filter(({ opType }) => opType === 'Conv');
      assert.deepEqual(convolutions.map(({ decision }) => decision), ['quantized', 'quantized', 'quantized']);
      assert.equal(new Set(convolutions.map(({ name }) => name)).size, 3);
      assert.deepEqual([integer!.integerNodes, integer!.computeNodes, integer!.danglingQdqNodes], [3, 3, 0]);
      assert.ok(check!.sqnrDb['y']! > 25, JSON.stringify(check!.sqnrDb));
    }
    assert.ok(searched.search!.candidates.length > 0);
    const again = await quantize({ model: join(folder, 'both.onnx'), plan: record, output: join(folder, 'again.onnx') });
    assert.equal(again.output!.sha256, searched.output!.sha256);
    const table = join(folder, 'both.table.json');
    await calibrate({ model: join(folder, 'both.onnx'), data: [join(folder, 'both')], output: table });
    const { tensors } = await readTable(table);
    assert.deepEqual(['a', 'r', 'n'].map((name) => tensors[name]?.samples), [8, 4, 4]);
    const dry = await quantize({ model: join(folder, 'both.onnx'), calibration: table, dryRun: true });
    assert.deepEqual(dry.plan!.nodes.filter(({ opType, decision }) => opType === 'Conv' && decision === 'quantized').length, 3);
    const operators = await made('both-operators', parseModel(text), sample, { effort: 'none', format: 'qoperator' });
    assert.equal(operators.opTypes.filter((opType) => opType === 'QLinearConv').length, 3);
  });

  test('are searched as others are: what is loud in a branch does not keep the rest of it in float', async () => {
    const text = `
ir 8
opset 13
input x float32[64,256]
input o float32[64,64]
input c bool[]
const w float32[256,256] ~1
const v float32[64,64] ~2
y, z = If(c)
  then_branch:
    fine: m = MatMul(x, w)
    loud: n = MatMul(o, v)
    output m float32[64,256]
    output n float32[64,64]
  else_branch:
    other: p = MatMul(x, w)
    q = Neg(o)
    output p float32[64,256]
    output q float32[64,64]
output y float32[64,256]
output z float32[64,64]`;
    const outliers = (seed: number) => tensorFromArray('float32', [64, 64], Float32Array.from(numbersOf(noise([64, 64], seed)), (value, i) => (i % 64 === 0 ? 5000 : value)));
    const result = await made('alone-loud', withBlindRow(parseModel(text), 'v'), (i) => ({ x: noise([64, 256], i), o: outliers(50 + i), c: bool(i % 2 === 0) }));
    const runsAs = (name: string) => result.integer!.nodes.find((node) => node.name === name)!.runsAs;
    assert.deepEqual(['fine', 'other'].map(runsAs), ['integer', 'integer']);
    assert.ok(Object.values(result.check!.sqnrDb).every((sqnrDb) => sqnrDb! > 25), JSON.stringify(result.check!.sqnrDb));
    assert.ok(result.search!.candidates.length > 1);
  });

  test('are not static in a branch that no sample takes, which says so', async () => {
    const text = `
ir 8
opset 13
input x float32[1,16,64]
input c bool[]
const w float32[64,64] ~1
y = If(c)
  then_branch:
    taken: m = MatMul(x, w)
    output m float32[1,16,64]
  else_branch:
    const v float32[16,16,3] ~2
    conv: n = Conv(x, v) pads=[1,1]
    product: p = MatMul(n, w)
    output p float32[1,16,64]
output y float32[1,16,64]`;
    const sample = (i: number) => ({ x: noise([1, 16, 64], i), c: bool(true) });
    const result = await made('untaken', parseModel(text), sample, { effort: 'none' });
    const of = (name: string) => result.nodes.find((node) => node.name === name)!;
    assert.equal(of('taken').decision, 'quantized');
    assert.equal(of('conv').decision, 'float');
    assert.match(of('conv').reason!, /no sample took its branch/);
    assert.match(of('product').reason!, /quantized dynamically, because no sample took its branch/);
    assert.ok(result.opTypes.includes('DynamicQuantizeLinear'));
    const only = await made('untaken-static', parseModel(text), sample, { effort: 'none', mode: 'static' });
    assert.match(only.nodes.find(({ name }) => name === 'product')!.reason!, /no sample took its branch/);
    assert.match(only.integer!.nodes.find(({ name }) => name === 'product')!.reason!, /no sample took its branch/);
  });

  /** In a loop that does not say of what type its state is, so that its body stays closed. */
  const branches = (before: string) => `
ir 8
opset 13
input x float32[N,64]
input o float32[N,64]
input c bool[]
const w float32[64,64] ~1
const v float32[64,64] ~2
const u float32[64,64] ~3
const once int64[] 1
${before}
y = Loop(once, , x)
  body:
    input i int64[]
    input go bool[]
    input s
    more = Identity(go)
    b = If(c)
      then_branch:
        fine: m = MatMul(h, w)
        loud: n = MatMul(o, v)
        t = Add(m, n)
        output t float32[N,64]
      else_branch:
        unseen: p = MatMul(o, u)
        output p float32[N,64]
    output more bool[]
    output b float32[N,64]
output y float32[N,64]`;
  const sample = (i: number) => ({ x: noise([4, 64], i), o: outweighed(50 + i), c: bool(true) });

  test('stay float in closed bodies where dynamic quantization would leave the error budget, beside static ones', async () => {
    const result = await made('beside', withBlindRow(parseModel(branches('h = MatMul(x, u)')), 'v'), sample, { prefer: 'integer' });
    assert.equal(result.mode, 'static');
    const of = (name: string) => result.nodes.find((node) => node.name === name);
    assert.equal(of('loud')?.decision, 'float');
    assert.match(of('loud')!.reason!, /left in float by measurement/);
    // No sample takes its branch, and others like it are too loud.
    assert.equal(of('unseen')?.decision, 'float');
    assert.equal(of('fine')?.decision, 'quantized');
    assert.ok(Object.values(result.check!.sqnrDb).every((sqnrDb) => sqnrDb! > 20), JSON.stringify(result.check!.sqnrDb));
    assert.match(result.integer!.nodes.find(({ name }) => name === 'loud')!.reason!, /left in float by measurement/);
  });

  test('likewise where nothing can be static, and nothing is left out where --mode dynamic asks for all', async () => {
    const model = withBlindRow(parseModel(branches('h = Neg(x)')), 'v');
    const auto = await made('alone', model, sample, { prefer: 'integer' });
    assert.equal(auto.mode, 'dynamic');
    assert.deepEqual(['fine', 'loud', 'unseen'].map((name) => auto.nodes.find((node) => node.name === name)?.decision), ['quantized', 'float', 'float']);
    assert.ok(Object.values(auto.check!.sqnrDb).every((sqnrDb) => sqnrDb! > 20), JSON.stringify(auto.check!.sqnrDb));
    const asked = await made('asked', model, sample, { mode: 'dynamic' });
    assert.equal(asked.nodes.find(({ name }) => name === 'loud')?.decision, 'quantized');
    assert.ok(asked.warnings.some(({ code }) => code === 'low-sqnr' || code === 'collapsed-output'));
  });
});

test('what a body captures of moved integers is handed to it as floats: onnxruntime would end the process otherwise', async () => {
  const text = `
ir 8
opset 13
input x float32[1,4,8,8]
input c bool[]
const w float32[8,4,1,1] ~1
const v float32[8,8,1,1] ~2
first: h = Conv(x, w)
second: z = Conv(h, v)
turned: t = Transpose(z) perm=[0,2,3,1]
y = If(c)
  then_branch:
    r = Relu(t)
    output r float32[1,8,8,8]
  else_branch:
    n = Neg(t)
    output n float32[1,8,8,8]
output y float32[1,8,8,8]`;
  const sample = (i: number) => ({ x: noise([1, 4, 8, 8], i), c: bool(i % 2 === 0) });
  const { integer, check, opTypes } = await made('captured', parseModel(text), sample, { effort: 'none', method: 'minmax' });
  assert.equal(integer!.integerNodes, 2);
  assert.ok(check!.sqnrDb['y']! > 25);
  // One pair more than the values that Conv reads and makes have.
  assert.equal(opTypes.filter((opType) => opType === 'QuantizeLinear').length, 4);
});
