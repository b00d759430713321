import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { Model } from '../../src/graph/model.js';
import { subgraphsOf } from '../../src/graph/attributes.js';
import { allNodes } from '../../src/graph/traversal.js';
import { readTable } from '../../src/calibration/table-file.js';
import { calibrate, inspect, quantize, readModel, type QuantizeOptions } from '../../src/index.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { noise, writeSample } from '../cli/tiny-model.js';
import { parseModel } from '../helpers/graph-text.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-loops-'));
after(() => rmSync(folder, { recursive: true, force: true }));

type Sample = (i: number) => Readonly<Record<string, Tensor>>;

/** Where a model lies, without its ending, and samples for it. */
function written(name: string, model: Model, sample: Sample): string {
  const at = join(folder, name);
  mkdirSync(at);
  writeFileSync(`${at}.onnx`, encodeModel(model));
  for (let i = 0; i < 8; i++) writeSample(join(at, `${i}.npz`), sample(i));
  return at;
}

async function made(name: string, model: Model, sample: Sample, more: Partial<QuantizeOptions> = {}) {
  const at = written(name, model, sample);
  const output = `${at}.q.onnx`;
  const result = await quantize({ model: `${at}.onnx`, output, data: [at], threads: 1, target: 'ort-x64', ...more });
  return { ...result, opTypes: [...allNodes((await readModel(output)).graph)].map(({ opType }) => opType) };
}

const int = (value: number) => tensorFromArray('int64', [1], BigInt64Array.of(BigInt(value)));

interface Case {
  readonly name: string;
  readonly text: string;
  readonly sample: Sample;
  /** Compute nodes, all of them in bodies. */
  readonly computing: number;
  /** Integer operators that stand in the file with --format qoperator. */
  readonly operators: Readonly<Record<string, number>>;
}

const CASES: readonly Case[] = [
  {
    name: 'a decoder with a carried state',
    text: `
ir 8
opset 13
input memory float32[4,64]
input start float32[4,64]
input rounds int64[1]
const steps int64[1] 6
last, states = Loop(steps, , start)
  body:
    input i int64[]
    input go bool[]
    input h float32[4,64]
    const wq float32[64,64] ~1
    const wv float32[64,64] ~2
    const bv float32[64] ~3
    const up float32[64,128] ~4
    const down float32[64,128] ~5
    const small float32[] 0.03
    more = Identity(go)
    query: q = MatMul(h, wq)
    value: v = Gemm(memory, wv, bv)
    g = Mul(q, v)
    s = Sigmoid(g)
    widen: u = MatMul(s, up)
    r = Relu(u)
    narrow: d = Gemm(r, down, bv) transB=1
    e = Mul(d, small)
    next = Tanh(e)
    output more bool[]
    output next float32[4,64]
    output next float32[4,64]
output last float32[4,64]
output states float32[6,4,64]`,
    sample: (i) => ({ memory: noise([4, 64], i), start: noise([4, 64], 100 + i), rounds: int(6) }),
    computing: 4,
    operators: { QGemm: 2, QLinearMatMul: 2 },
  },
  {
    name: 'a refinement by convolutions',
    text: `
ir 8
opset 13
input x float32[1,16,N]
const steps int64[] 3
y = Loop(steps, , x)
  body:
    input i int64[]
    input go bool[]
    input h float32[1,16,N]
    const w float32[16,16,3] ~1
    const b float32[16] ~2
    const v float32[16,16,3] ~3
    const small float32[] 0.2
    more = Identity(go)
    first: a = Conv(h, w, b) pads=[1,1]
    r = Relu(a)
    second: d = Conv(r, v) pads=[1,1]
    e = Mul(d, small)
    f = Add(h, e)
    next = Tanh(f)
    output more bool[]
    output next float32[1,16,N]
output y float32[1,16,N]`,
    sample: (i) => ({ x: noise([1, 16, i % 2 ? 48 : 32], i) }),
    computing: 2,
    operators: { QLinearConv: 2 },
  },
  {
    name: 'a recurrence over time',
    text: `
ir 8
opset 13
input x float32[T,4,64]
input h0 float32[4,64]
last, all = Scan(h0, x) num_scan_inputs=1
  body:
    input h float32[4,64]
    input frame float32[4,64]
    const w float32[64,64] ~1
    const u float32[64,64] ~2
    const small float32[] 0.2
    input: a = MatMul(frame, w)
    state: b = MatMul(h, u)
    s = Add(a, b)
    e = Mul(s, small)
    next = Tanh(e)
    out = Identity(next)
    output next float32[4,64]
    output out float32[4,64]
output last float32[4,64]
output all float32[T,4,64]`,
    sample: (i) => ({ x: noise([3 + i, 4, 64], i), h0: tensorFromArray('float32', [4, 64], new Float32Array(256)) }),
    computing: 2,
    operators: { QLinearMatMul: 2 },
  },
  {
    name: 'as many rounds as the data ask for',
    text: `
ir 8
opset 13
input x float32[4,64]
const yes bool[] 1
const much float32[] 8
y = Loop(, yes, x)
  body:
    input i int64[]
    input go bool[]
    input h float32[4,64]
    const w float32[64,64] ~1
    const small float32[] 0.25
    product: p = MatMul(h, w)
    e = Mul(p, small)
    size = ReduceMax(e) keepdims=0
    more = Less(size, much)
    output more bool[]
    output e float32[4,64]
output y float32[4,64]`,
    sample: (i) => ({ x: noise([4, 64], i) }),
    computing: 1,
    operators: { MatMulIntegerToFloat: 1 },
  },
  {
    name: 'a list that grows',
    text: `
ir 8
opset 13
input x float32[1,64]
const steps int64[] 5
last, list = Loop(steps, , x, x)
  body:
    input i int64[]
    input go bool[]
    input h float32[1,64]
    input list float32[L,64]
    const w float32[64,64] ~1
    const v float32[64,64] ~2
    const small float32[] 0.05
    more = Identity(go)
    keys: k = MatMul(list, w)
    m = ReduceMean(k) axes=[0]
    next: n = MatMul(m, v)
    e = Mul(n, small)
    t = Tanh(e)
    longer = Concat(list, t) axis=0
    output more bool[]
    output t float32[1,64]
    output longer float32[M,64]
output last float32[1,64]
output list float32[K,64]`,
    sample: (i) => ({ x: noise([1, 64], i) }),
    computing: 2,
    operators: { MatMulIntegerToFloat: 2 },
  },
];

describe('nodes in the bodies of loops are static', () => {
  for (const [number, { name, text, sample, computing, operators }] of CASES.entries()) {
    test(name, async () => {
      const key = `case${number}`;
      const record = join(folder, `${key}.json`);
      const result = await made(key, parseModel(text), sample, { effort: 'none', planOut: record });
      const { mode, integer, nodes, check } = result;
      assert.equal(mode, 'static');
      assert.deepEqual([integer!.integerNodes, integer!.computeNodes, integer!.danglingQdqNodes], [computing, computing, 0], JSON.stringify(integer!.nodes));
      assert.ok(!result.opTypes.includes('DynamicQuantizeLinear'));
      // Of the file itself, the runtime makes the same kernels.
      const inspected = (await inspect({ model: join(folder, `${key}.q.onnx`) })).integer!;
      assert.deepEqual([inspected.integerNodes, inspected.computeNodes, inspected.danglingQdqNodes], [computing, computing, 0]);
      for (const { name: node, kernel } of inspected.nodes) assert.match(kernel ?? 'none', /^(QLinear|QGemm|MatMulIntegerToFloat)/, node);
      assert.ok(nodes.every(({ opType }) => opType !== 'BodyInputs'));
      assert.ok(Object.values(check!.sqnrDb).every((sqnrDb) => sqnrDb! > 20), JSON.stringify(check!.sqnrDb));
      const again = await quantize({ model: join(folder, `${key}.onnx`), plan: record, output: join(folder, `${key}.again.onnx`) });
      assert.equal(again.output!.sha256, result.output!.sha256);
      const lowered = await made(`${key}-operators`, parseModel(text), sample, { effort: 'none', format: 'qoperator' });
      const count = (opType: string) => lowered.opTypes.filter((each) => each === opType).length;
      assert.deepEqual(Object.fromEntries(Object.keys(operators).map((opType) => [opType, count(opType)])), operators);
      assert.ok(Object.values(lowered.check!.sqnrDb).every((sqnrDb) => sqnrDb! > 20), JSON.stringify(lowered.check!.sqnrDb));
    });
  }
});

describe('in the bodies of loops', () => {
  const LOOP = CASES[0]!;

  test('weights are beside the nodes that read them, and what the loop does not change is quantized once, outside', async () => {
    await made('where', parseModel(LOOP.text), LOOP.sample, { effort: 'none' });
    const { graph } = await readModel(join(folder, 'where.q.onnx'));
    assert.deepEqual(graph.nodes.map(({ opType }) => opType), ['QuantizeLinear', 'Loop']);
    const [body] = subgraphsOf(graph.nodes[1]!);
    assert.ok([...body!.initializers.values()].filter(({ dtype, dims }) => dtype === 'int8' && dims.length === 2).length === 4);
    assert.ok(![...graph.initializers.keys()].some((name) => name.startsWith('w')));
  });

  test('ranges are those of all rounds, with any method, and a table holds them', async () => {
    const at = written('table', parseModel(LOOP.text), LOOP.sample);
    await calibrate({ model: `${at}.onnx`, data: [at], output: `${at}.json` });
    const { tensors } = await readTable(`${at}.json`);
    const [start, state] = [tensors['start'], tensors['h']!];
    assert.equal(start, undefined);
    assert.deepEqual([state.samples, state.count, state.sampled, state.nan, state.dims], [8, 8 * 6 * 256, true, 0, null]);
    const ends = await quantize({ model: `${at}.onnx`, data: [at], output: `${at}.q.onnx`, threads: 1, target: 'ort-x64', effort: 'none', method: 'minmax', dryRun: true });
    const extremes = await quantize({ model: `${at}.onnx`, calibration: `${at}.json`, output: `${at}.q.onnx`, target: 'ort-x64', method: 'minmax', dryRun: true });
    assert.deepEqual(ends.plan!.tensors['h']!.range, [state.min, state.max]);
    assert.deepEqual(ends.plan, extremes.plan);
  });

  test('nothing is static in a loop that no sample goes through, which says so', async () => {
    const text = `
ir 8
opset 13
input x float32[4,64]
input rounds int64[1]
const w float32[64,64] ~9
y = Loop(rounds, , x)
  body:
    input i int64[]
    input go bool[]
    input h float32[4,64]
    const v float32[64,64] ~1
    more = Identity(go)
    idle: p = MatMul(h, v)
    output more bool[]
    output p float32[4,64]
outside: z = MatMul(y, w)
output z float32[4,64]`;
    const result = await made('idle', parseModel(text), (i) => ({ x: noise([4, 64], i), rounds: int(0) }), { effort: 'none' });
    const of = (name: string) => result.nodes.find((node) => node.name === name)!;
    assert.equal(of('outside').reason, null);
    assert.equal(of('idle').reason, 'quantized dynamically, because no sample went through its loop');
    const only = await made('idle-static', parseModel(text), (i) => ({ x: noise([4, 64], i), rounds: int(0) }), { effort: 'none', mode: 'static' });
    assert.match(only.integer!.nodes.find(({ name }) => name === 'idle')!.reason!, /no sample went through its loop/);
  });

  test('the search chooses among static, dynamic and float for each node', async () => {
    const record = join(folder, 'searched.json');
    const overrides = join(folder, 'overrides.json');
    writeFileSync(overrides, JSON.stringify({ dynamic: ['widen'], float: ['narrow'] }));
    const chosen = await made('searched', parseModel(LOOP.text), LOOP.sample, { prefer: 'integer', planOut: record, overrides });
    assert.equal(chosen.mode, 'static');
    const of = (name: string) => chosen.nodes.find((node) => node.name === name)!;
    assert.match(of('widen').reason!, /quantized dynamically, as the overrides ask/);
    assert.equal(of('narrow').decision, 'float');
    assert.equal(of('query').decision, 'quantized');
    assert.ok(chosen.search!.candidates.length > 1);
    assert.ok(Object.values(chosen.check!.sqnrDb).every((sqnrDb) => sqnrDb! > 20), JSON.stringify(chosen.check!.sqnrDb));
    const again = await quantize({ model: join(folder, 'searched.onnx'), plan: record, output: join(folder, 'searched.again.onnx') });
    assert.equal(again.output!.sha256, chosen.output!.sha256);
  });
});
