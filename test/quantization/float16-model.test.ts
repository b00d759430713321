import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { subgraphsOf } from '../../src/graph/attributes.js';
import { checkGraph } from '../../src/graph/check-graph.js';
import { indexOf } from '../../src/graph/graph-index.js';
import type { Graph, Model, Node, ValueType } from '../../src/graph/model.js';
import { allNodes } from '../../src/graph/traversal.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { toFloat16Model, type Float16Model, type Float16Options } from '../../src/quantization/float16-model.js';
import { Session } from '../../src/runtime/session.js';
import { numbersOf } from '../../src/tensor/values.js';
import { fuse } from '../helpers/fuse.js';
import { parseModel, printModel } from '../helpers/graph-text.js';
import { randomFeeds, sqnrDb } from '../helpers/run-model.js';

const OPTIONS: Float16Options = { keepIoTypes: true, float32Ops: [], keptFloat: () => undefined };

/** Types of all values, as the runtime gives them when all are outputs. */
async function typesOf(model: Model): Promise<Map<string, ValueType>> {
  const inside = model.graph.nodes.flatMap(({ outputs }) => outputs).filter((name) => name && !model.graph.outputs.some((output) => output.name === name));
  const outputs = [...model.graph.outputs, ...inside.map((name) => ({ name, type: { kind: 'none' } as const }))];
  const session = await Session.open(encodeModel({ ...model, graph: { ...model.graph, outputs } }), { optimization: 'disabled' });
  const values = [...session.inputs, ...session.outputs].map(({ name, dtype }): [string, ValueType] => [name, { kind: 'tensor', dtype }]);
  await session.release();
  return new Map(values);
}

async function convert(text: string, options: Partial<Float16Options> = {}): Promise<{ model: Model; half: Float16Model }> {
  const model = parseModel(text);
  const half = toFloat16Model(model, await typesOf(model), { ...OPTIONS, ...options });
  assert.deepEqual(checkGraph(half.model.graph), []);
  return { model, half };
}

/** Runs both on the same noise; every output must have its type and nearly its values. */
async function assertNear(model: Model, half: Model, minDb = 55): Promise<void> {
  const feeds = await randomFeeds(encodeModel(model));
  const run = async (bytes: Uint8Array) => {
    const session = await Session.open(bytes, { threads: 1 });
    const outputs = await session.run(feeds);
    await session.release();
    return outputs;
  };
  const [expected, received] = [await run(encodeModel(model)), await run(encodeModel(half))];
  for (const [name, tensor] of expected) {
    const other = received.get(name)!;
    assert.deepEqual([other.dtype, other.dims], [tensor.dtype, tensor.dims], name);
    const db = sqnrDb(Float64Array.from(numbersOf(tensor)), Float64Array.from(numbersOf(other)));
    assert.ok(db > minDb, `${name}: ${db.toFixed(1)} dB`);
  }
}

const isCast = (node: Node | undefined) => node?.opType === 'Cast';

/** Casts whose input another Cast makes, and values that are cast twice to one type. */
function castPairs({ nodes, ...graph }: Graph): Node[] {
  const index = indexOf({ ...graph, nodes });
  const keys = new Set<string>();
  return nodes.filter((node) => {
    if (!isCast(node)) return false;
    const key = `${node.inputs[0]} ${JSON.stringify([...node.attributes.values()].map((attribute) => (attribute.kind === 'int' ? attribute.value : 0)))}`;
    const twice = keys.has(key);
    keys.add(key);
    return twice || isCast(index.producer(node.inputs[0]!));
  });
}

const casts = ({ graph }: Model) => graph.nodes.filter(isCast).length;

const LAYERS = `
  opset 13
  input x float32[N,16]
  const w1 float32[16,32] ~1
  const b1 float32[32] ~2
  const w2 float32[32,8] ~3
  h = Gemm(x, w1, b1)
  r = Relu(h)
  y = MatMul(r, w2)
  output y
`;

test('inputs and outputs stay, one Cast each; weights take half the bytes', async () => {
  const { model, half } = await convert(LAYERS);
  assert.equal(casts(half.model), 2);
  assert.deepEqual([...half.model.graph.initializers.values()].map(({ dtype }) => dtype), ['float16', 'float16', 'float16']);
  assert.equal(half.converted.size, 3);
  await assertNear(model, half.model);
});

test('without keepIoTypes there is no Cast at all', async () => {
  const { half } = await convert(LAYERS, { keepIoTypes: false });
  assert.equal(casts(half.model), 0);
  const session = await Session.open(encodeModel(half.model));
  assert.deepEqual([...session.inputs, ...session.outputs].map(({ dtype }) => dtype), ['float16', 'float16']);
  await session.release();
});

describe('no Cast pairs', () => {
  const text = `
    opset 13
    input x float32[4,16]
    input ids int64[4,16]
    const w float32[16,16] ~1
    h = MatMul(x, w)
    s = Softmax(h)
    t = Softmax(s)
    u = Tanh(h)
    f = Cast(ids) to=1
    g = Softmax(f)
    v = Add(t, u)
    y = Add(v, g)
    z = Softmax(y)
    output y
    output z
    output s
  `;
  for (const float32Ops of [[], ['Softmax'], ['Softmax', 'Tanh'], ['MatMul'], ['Add'], ['Cast', 'Softmax', 'Tanh', 'MatMul', 'Add']]) {
    test(`with ${float32Ops.join(', ') || 'nothing'} in float32`, async () => {
      const { model, half } = await convert(text, { float32Ops });
      assert.deepEqual(castPairs(half.model.graph), [], printModel(half.model));
      assert.equal([...half.kept.values()].length, model.graph.nodes.filter(({ opType }) => float32Ops.includes(opType)).length);
      await assertNear(model, half.model);
    });
  }

  test('a Cast to float32 that only float32 operators read stays one', async () => {
    const { half } = await convert('opset 13\ninput ids int64[4]\nf = Cast(ids) to=1\ny = Softmax(f)\noutput y', { float32Ops: ['Softmax'] });
    assert.equal(casts(half.model), 1);
  });
});

test('values beyond float16 are clamped and named, infinities stay, an epsilon stays above zero', async () => {
  const { half } = await convert(`
    opset 13
    input x float32[3]
    const mask float32[3] -3e38 1e6 2
    const epsilon float32[] 1e-12
    const infinite float32[3] -Infinity 1 2
    a = Max(x, mask)
    b = Add(a, epsilon)
    y = Max(b, infinite)
    output y
  `);
  const [change] = half.changes;
  assert.deepEqual(change?.names, ['mask', 'epsilon']);
  assert.match(change.message, /mask \(2 beyond ±65504\); epsilon \(1 below 6\.0e-8\)/);
  const values = (name: string) => [...numbersOf(half.model.graph.initializers.get(name)!)];
  assert.deepEqual([values('mask_f16'), values('epsilon_f16'), values('infinite_f16')], [[-65504, 65504, 2], [2 ** -24], [-Infinity, 1, 2]]);
});

test('operators without a float16 form, and inputs that are always float32', async () => {
  const { model, half } = await convert(`
    opset 13
    input x float32[1,2,4,4]
    const roi float32[0]
    const scales float32[4] 1 1 2 2
    const shape int64[1] 3
    const start float32[] 0
    const limit float32[] 3
    const step float32[] 1
    big = Resize(x, roi, scales) mode="nearest"
    range = Range(start, limit, step)
    zeros = ConstantOfShape(shape)
    more = Add(range, zeros)
    y = Tanh(big)
    output y
    output more
  `);
  assert.deepEqual([...half.kept.values()], ['Range has no float16 form']);
  assert.equal(half.model.graph.initializers.get('scales')?.dtype, 'float32');
  await assertNear(model, half.model);
});

test('control flow keeps float32 inside, and reads it from outside', async () => {
  const { model, half } = await convert(`
    opset 13
    input x float32[4,16]
    input c bool
    const w float32[16,16] ~1
    h = MatMul(x, w)
    i = If(c)
      then_branch:
        t = MatMul(h, w)
        output t
      else_branch:
        e = Tanh(h)
        output e
    y = Softmax(i)
    output y
  `);
  assert.match([...half.kept.values()][0]!, /bodies/);
  await assertNear(model, half.model);
});

test('large constants that bodies read are stored in float16, once, and what the runtime computes stays float32', async () => {
  const { model, half } = await convert(`
    opset 13
    input x float32[4,32]
    input c bool
    const w float32[32,32] ~1
    h = MatMul(x, w)
    i = If(c)
      then_branch:
        const v float32[32,32] ~2
        t = MatMul(h, w)
        u = If(c)
          then_branch:
            a = MatMul(t, v)
            output a
          else_branch:
            const small float32[32] ~3
            b = Add(t, small)
            output b
        output u
      else_branch:
        e = MatMul(h, w)
        output e
    output i
  `);
  const constants = (graph: Graph): string[] => [...[...graph.initializers].map(([name, { dtype }]) => `${name} ${dtype}`), ...graph.nodes.flatMap((node) => subgraphsOf(node).flatMap(constants))];
  assert.deepEqual(constants(half.model.graph), ['w_f16 float16', 'v_f16 float16', 'small float32']);
  assert.deepEqual([...half.stored].sort(), ['v', 'w']);
  await assertNear(model, half.model);
  const widening = (graph: Graph) => [...allNodes(graph)].flatMap(({ opType, outputs }) => (opType === 'Cast' ? outputs : [])).filter((name) => /^[wv]_f32$/.test(name));
  assert.deepEqual(widening(half.model.graph).sort(), ['v_f32', 'w_f32']);
  assert.deepEqual(widening((await fuse(half.model)).graph), [], 'no constant is widened while the model runs');
});

test('scattering stays float32 where it reduces, which the runtime refuses in float16 when it runs', async () => {
  const { model, half } = await convert(`
    opset 18
    input x float32[4,16]
    const w float32[16,16] ~1
    const rows int64[2,1] 1 1
    const zero int64[1] 0
    const one int64[1] 1
    const two int64[1] 2
    const four int64[1] 4
    h = MatMul(x, w)
    u = Slice(h, zero, two)
    a = ScatterND(h, rows, u) reduction="add"
    const places int64[2,4] 0 1 2 3 0 1 2 3
    v = Slice(u, zero, four, one)
    b = ScatterElements(a, places, v) reduction="add"
    c = ScatterND(b, rows, u)
    y = MatMul(c, w)
    output y
  `);
  assert.deepEqual([...half.kept.keys()].map(({ outputs }) => outputs[0]), ['a', 'b']);
  await assertNear(model, half.model);
});

test('nodes that the user keeps', async () => {
  const { model, half } = await convert(LAYERS, { keptFloat: ({ outputs }) => (outputs[0] === 'y' ? 'excluded by --exclude' : undefined) });
  assert.deepEqual([...half.kept.values()], ['excluded by --exclude']);
  assert.equal(half.model.graph.initializers.get('w2')?.dtype, 'float32');
  await assertNear(model, half.model);
});

test('recurrent layers become float16', async () => {
  const { model, half } = await convert(`
    opset 13
    input x float32[6,2,8]
    const w float32[1,64,8] ~1
    const r float32[1,64,16] ~2
    , s = LSTM(x, w, r) hidden_size=16
    y = Tanh(s)
    output y
  `);
  assert.equal(half.kept.size, 0);
  await assertNear(model, half.model, 50);
});

// Without the rule for it these end this process.
for (const perm of ['1,0,2', '1,2,0', '0,2,1', '0,1,2']) {
  test(`a product after Transpose ${perm}`, async () => {
    const { model, half } = await convert(`opset 13\ninput x float32[8,8,8]\nconst w float32[8,8] ~1\nt = Transpose(x) perm=[${perm}]\ny = MatMul(t, w)\noutput y`);
    assert.equal(half.kept.size, perm.startsWith('1') ? 1 : 0);
    await assertNear(model, half.model);
  });
}
