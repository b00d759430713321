import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import type { Model } from '../../src/graph/model.js';
import { allNodes } from '../../src/graph/traversal.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { BLOCK_PRODUCT_DEFAULTS, withBlockProducts, type BlockProductOptions } from '../../src/quantization/weight-only-products.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { parseModel, printModel } from '../helpers/graph-text.js';
import { randomFeeds, runModel, sqnrDb } from '../helpers/run-model.js';

function build(lines: (g: GraphBuilder) => void): Model {
  const g = new GraphBuilder();
  lines(g);
  return g.model();
}

function inBlocks(model: Model, names: readonly string[], options: Partial<BlockProductOptions> = {}): Model {
  return { ...model, graph: withBlockProducts(model.graph, new Set(names), { ...BLOCK_PRODUCT_DEFAULTS, ...options }) };
}

const typesOf = (model: Model) => [...allNodes(model.graph)].map(({ opType }) => opType);

/** Asserts that the runtime loads a model and that each output keeps `minDb` of the float model's. Returns the worst. */
async function assertNear(float: Model, quantized: Model, minDb: number): Promise<number> {
  assert.deepEqual(checkGraph(quantized.graph), []);
  const bytes = encodeModel(float);
  const feeds = await randomFeeds(bytes);
  const [expected, received] = [await runModel(bytes, feeds), await runModel(encodeModel(quantized), feeds)];
  let worst = Infinity;
  for (const [name, values] of expected) {
    const found = sqnrDb(values, received.get(name)!);
    assert.ok(found >= minDb, `${name}: ${found.toFixed(1)} dB`);
    worst = Math.min(worst, found);
  }
  return worst;
}

/** A product of each form: of matrices and of more dimensions, Gemm with every kind of bias, depths that no block divides. */
const FORMS: readonly (readonly [string, (g: GraphBuilder) => string])[] = [
  ['MatMul', (g) => g.op('y', 'MatMul', [g.input('x', [4, 64]), g.weight('w', [64, 48])])],
  ['MatMul of three dimensions, one of them symbolic', (g) => g.op('y', 'MatMul', [g.input('x', ['n', 5, 64]), g.weight('w', [64, 48])])],
  ['MatMul of a vector', (g) => g.op('y', 'MatMul', [g.input('x', [64]), g.weight('w', [64, 48])])],
  ['MatMul whose depth no block divides', (g) => g.op('y', 'MatMul', [g.input('x', [4, 83]), g.weight('w', [83, 21])])],
  ['MatMul shallower than a block', (g) => g.op('y', 'MatMul', [g.input('x', [4, 17]), g.weight('w', [17, 1])])],
  ['Gemm with transB and a bias', (g) => g.op('y', 'Gemm', [g.input('x', [4, 83]), g.weight('w', [21, 83]), g.weight('b', [21])], { attributes: { transB: 1 } })],
  ['Gemm without bias', (g) => g.op('y', 'Gemm', [g.input('x', [4, 64]), g.weight('w', [64, 48])])],
  ['Gemm with one number as bias', (g) => g.op('y', 'Gemm', [g.input('x', [4, 64]), g.weight('w', [64, 48]), g.floats('b', [0.5], [])])],
  ['Gemm with a computed bias', (g) => {
    const x = g.input('x', [4, 64]);
    return g.op('y', 'Gemm', [x, g.weight('w', [64, 64]), g.op('t', 'Tanh', [x])]);
  }],
  ['MatMul behind a Transpose', (g) => g.op('y', 'MatMul', [g.input('x', [4, 83]), g.op('t', 'Transpose', [g.weight('w', [21, 83])], { attributes: { perm: [1, 0] } })])],
];

describe('products with weights in blocks', () => {
  for (const [name, lines] of FORMS) {
    for (const bits of [4, 8] as const) {
      for (const symmetric of [true, false]) {
        test(`${name}, ${bits} bits, ${symmetric ? 'symmetric' : 'asymmetric'}`, async () => {
          const model = build((g) => g.output(lines(g)));
          for (const blockSize of [16, 32, 256]) {
            const quantized = inBlocks(model, ['y'], { bits, symmetric, blockSize });
            assert.ok(typesOf(quantized).includes('MatMulNBits'));
            assert.ok(!typesOf(quantized).some((opType) => /^(MatMul|Gemm|Transpose)$/.test(opType)), printModel(quantized));
            assert.ok(![...quantized.graph.initializers.keys()].includes('w'), 'the float weight is gone');
            await assertNear(model, quantized, bits === 8 ? 35 : 14);
          }
        });
      }
    }
  }
});

test('the default is exact to 40 dB, and asymmetric 4 bits beat symmetric ones on a weight that is', async () => {
  const model = build((g) => g.output(g.op('y', 'MatMul', [g.input('x', [16, 256]), g.weight('w', [256, 64])])));
  await assertNear(model, inBlocks(model, ['y']), 40);
  const shifted = build((g) => {
    g.floats('w', Array.from({ length: 256 * 64 }, (_, i) => Math.abs(Math.sin(i * i)) / 16), [256, 64]);
    g.output(g.op('y', 'MatMul', [g.input('x', [16, 256]), 'w']));
  });
  const four = { bits: 4, accuracyLevel: 0 } as const;
  const symmetric = await assertNear(shifted, inBlocks(shifted, ['y'], four), 10);
  const asymmetric = await assertNear(shifted, inBlocks(shifted, ['y'], { ...four, symmetric: false }), 10);
  assert.ok(asymmetric > symmetric + 3, `${asymmetric} and ${symmetric}`);
});

test('accuracy level 0 multiplies the rounded weights as they are', async () => {
  // Multiples of 1/128 with a largest of 127/128 in each block are what eight bits hold exactly.
  const model = build((g) => {
    g.floats('w', Array.from({ length: 32 * 8 }, (_, i) => (i < 8 ? 127 : ((i * 37) % 255) - 127) / 128), [32, 8]);
    g.output(g.op('y', 'MatMul', [g.input('x', [4, 32]), 'w']));
  });
  const exact = await assertNear(model, inBlocks(model, ['y'], { accuracyLevel: 0 }), 110);
  const integer = await assertNear(model, inBlocks(model, ['y']), 35);
  assert.ok(integer < exact - 20, 'level 4 rounds its activations');
});

test('only the nodes that are named change, and a weight that they share is stored once', async () => {
  const model = build((g) => {
    const x = g.input('x', [4, 64]);
    const w = g.weight('w', [64, 64]);
    g.output(g.op('c', 'MatMul', [g.op('b', 'MatMul', [g.op('a', 'MatMul', [x, w]), w]), w]));
  });
  const two = inBlocks(model, ['a', 'c']);
  assert.deepEqual(typesOf(two), ['MatMulNBits', 'MatMul', 'MatMulNBits']);
  assert.deepEqual([...two.graph.initializers.keys()], ['w', 'w_q8', 'w_scales']);
  await assertNear(model, two, 35);
});

test('what has no constant matrix, too few products or transA stays', () => {
  const model = build((g) => {
    const x = g.input('x', [16, 16]);
    const both = g.op('both', 'MatMul', [x, x]);
    const batch = g.op('batch', 'MatMul', [g.input('z', [2, 4, 32]), g.weight('w3', [2, 32, 8])]);
    const transposed = g.op('transA', 'Gemm', [x, g.weight('w1', [16, 8])], { attributes: { transA: 1 } });
    g.output(both, batch, transposed, g.op('shallow', 'MatMul', [g.input('s', [4, 15]), g.weight('w2', [15, 32])]));
  });
  const kept = inBlocks(model, ['both', 'batch', 'transA', 'shallow']);
  assert.deepEqual(typesOf(kept), ['MatMul', 'MatMul', 'Gemm', 'MatMul']);
});

test('a weight of zeros, and blocks of zeros, give zeros', async () => {
  for (const symmetric of [true, false]) {
    for (const bits of [4, 8] as const) {
      const model = build((g) => {
        const x = g.input('x', [4, 64]);
        const zeros = g.floats('z', new Array<number>(64 * 8).fill(0), [64, 8]);
        const half = g.floats('h', Array.from({ length: 64 * 8 }, (_, i) => (i < 256 ? 0 : Math.sin(i) / 8)), [64, 8]);
        g.output(g.op('half', 'MatMul', [x, half]), g.op('zero', 'MatMul', [x, zeros]));
      });
      const quantized = inBlocks(model, ['zero', 'half'], { bits, symmetric });
      const feeds = await randomFeeds(encodeModel(model));
      const outputs = await runModel(encodeModel(quantized), feeds);
      assert.ok(outputs.get('zero')!.every((value) => Math.abs(value) < 1e-30), 'zeros stay zeros');
      assert.ok(sqnrDb((await runModel(encodeModel(model), feeds)).get('half')!, outputs.get('half')!) > (bits === 8 ? 35 : 14));
    }
  }
});

for (const value of [NaN, Infinity, -Infinity]) {
  test(`a weight with ${value} is refused, naming the weight and the way out`, () => {
    for (const symmetric of [true, false]) {
      const model = build((g) => {
        g.floats('w', Array.from({ length: 64 * 8 }, (_, i) => (i === 300 ? value : i / 512)), [64, 8]);
        g.output(g.op('y', 'MatMul', [g.input('x', [4, 64]), 'w']));
      });
      assert.throws(() => inBlocks(model, ['y'], { symmetric }), { name: 'QdqError', code: 'model-invalid', message: /"w" contains NaN/, hint: /--exclude "y"/ });
    }
  });
}

test('nodes in bodies: weights of the graph around, of the body, and of its Constant nodes', async () => {
  const model = parseModel(`
    opset 13
    opset com.microsoft 1
    input x float32[4,32]
    input c bool
    const outer float32[32,16] ~1
    y = If(c)
      then_branch:
        const inner float32[16,16] ~2
        t0 = MatMul(x, outer)
        t1 = MatMul(t0, inner)
        output t1
      else_branch:
        e0 = MatMul(x, outer)
        k = Constant() value=float32[16,1](1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
        e1 = MatMul(e0, k)
        output e1
    z = MatMul(x, outer)
    output y
    output z
  `);
  const quantized = inBlocks(model, ['t0', 't1', 'e0', 'e1', 'z']);
  assert.equal(typesOf(quantized).filter((opType) => opType === 'MatMulNBits').length, 5);
  assert.doesNotMatch(printModel(quantized), /Constant|const (outer|inner) /, 'float weights are gone');
  await assertNear(model, quantized, 33);
});

test('a body of Loop', async () => {
  const model = parseModel(`
    opset 13
    opset com.microsoft 1
    input x float32[4,32]
    const n int64[] 3
    const w float32[32,32] ~1
    const scale float32[] 0.2
    y = Loop(n, , x)
      body:
        input i int64[]
        input go bool[]
        input h float32[4,32]
        more = Identity(go)
        p = MatMul(h, w)
        next = Mul(p, scale)
        output more
        output next
    output y
  `);
  await assertNear(model, inBlocks(model, ['p']), 33);
});
