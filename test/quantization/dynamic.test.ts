import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { expressionText } from '../helpers/expression-text.js';
import { fuse } from '../helpers/fuse.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { parseModel, printModel } from '../helpers/graph-text.js';
import { randomFeeds, runModel } from '../helpers/run-model.js';
import { OTHER_CASES, PRODUCT_CASES, type DynamicCase } from './dynamic-cases.js';
import { dynamicPlanText, quantizeDynamically } from './dynamic-graph.js';

function modelOf({ build, opset }: DynamicCase) {
  const g = new GraphBuilder(opset ?? 13);
  build(g);
  return g.model();
}

/** 10 · log10(Σ a² / Σ (a − b)²) */
function sqnrDb(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [signal, noise] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    signal += a[i]! ** 2;
    noise += (a[i]! - b[i]!) ** 2;
  }
  return noise === 0 ? Infinity : 10 * Math.log10(signal / noise);
}

/** Runs the float and the quantized model on the same noise and compares each output. */
async function assertNear(float: Uint8Array, quantized: Uint8Array, minSqnrDb: number): Promise<void> {
  const feeds = await randomFeeds(float);
  const [expected, received] = [await runModel(float, feeds), await runModel(quantized, feeds)];
  for (const [name, values] of expected) {
    const found = sqnrDb(values, received.get(name)!);
    assert.ok(found >= minSqnrDb, `${name}: ${found.toFixed(1)} dB`);
  }
}

describe('dynamic quantization: plan, fused graph and error', () => {
  for (const row of [...PRODUCT_CASES, ...OTHER_CASES]) {
    test(row.name, async () => {
      const model = modelOf(row);
      const { plan, quantized } = quantizeDynamically(model, row);
      assert.equal(dynamicPlanText(plan), row.plan);
      assert.deepEqual(checkGraph(quantized.graph), []);
      assert.equal(expressionText((await fuse(quantized)).graph), row.fused);
      await assertNear(encodeModel(model), encodeModel(quantized), row.minSqnrDb ?? 30);
    });
  }
});

test('the same model and options give the same bytes', () => {
  const row = PRODUCT_CASES.find(({ name }) => name.startsWith('three products'))!;
  const [a, b] = [modelOf(row), modelOf(row)].map((model) => encodeModel(quantizeDynamically(model).quantized));
  assert.deepEqual(Buffer.from(a!), Buffer.from(b!));
});

for (const value of ['NaN', 'Infinity']) {
  test(`a weight with ${value} is refused, naming the weight and the way out`, () => {
    const g = new GraphBuilder();
    g.floats('w', Array.from({ length: 32 * 8 }, (_, i) => (i === 77 ? Number(value) : i)), [32, 8]);
    g.output(g.op('y', 'MatMul', [g.input('x', [4, 32]), 'w']));
    assert.throws(() => quantizeDynamically(g.model()), { name: 'QdqError', code: 'model-invalid', message: /"w" contains NaN/, hint: /--exclude "y"/ });
  });
}

/** A weight outside, one inside and one in a Constant node, each under its branch; the same name in both branches for different values. */
const BRANCHES = `
  opset 13
  input x float32[4,32]
  input c bool
  const outer float32[32,16] ~1
  y = If(c)
    then_branch:
      const inner float32[16,16] ~2
      t0 = MatMul(x, outer)
      t1 = Add(t0, bias)
      const bias float32[16] ~3
      t2 = MatMul(t1, inner)
      output t2
    else_branch:
      e0 = MatMul(x, outer)
      k = Constant() value=float32[16,1](1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
      e1 = MatMul(e0, k)
      output e1
  z = MatMul(x, outer)
  output y
  output z
`;

test('nodes in bodies: weights of the graph around, of the body, and of its Constant nodes', async () => {
  const model = parseModel(BRANCHES);
  const { plan, quantized } = quantizeDynamically(model);
  assert.equal(
    dynamicPlanText(plan),
    [
      'y If: float, If is not quantized dynamically',
      't0 MatMul: DynamicQuantizeMatMul, 1:int8@1 ×16',
      't1 Add: part of t0',
      't2 MatMul: DynamicQuantizeMatMul, 1:int8@1 ×16',
      'e0 MatMul: DynamicQuantizeMatMul, 1:int8@1 ×16',
      'k Constant: float, Constant is not quantized dynamically',
      'e1 MatMul: DynamicQuantizeMatMul, 1:int8@1 ×1',
      'z MatMul: DynamicQuantizeMatMul, 1:int8@1 ×16',
    ].join('\n'),
  );
  assert.deepEqual(checkGraph(quantized.graph), []);
  assert.doesNotMatch(printModel(quantized), /Constant|const (outer|inner) /, 'float weights are gone');
  const fused = printModel({ ...model, graph: (await fuse(quantized)).graph });
  assert.equal([...fused.matchAll(/DynamicQuantizeMatMul\(/g)].length, 5);
  await assertNear(encodeModel(model), encodeModel(quantized), 30);
});

test('a body of Loop', async () => {
  const model = parseModel(`
    opset 13
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
  const { plan, quantized } = quantizeDynamically(model);
  assert.equal(plan.nodes.find(({ opType }) => opType === 'MatMul')?.kernel, 'DynamicQuantizeMatMul');
  assert.deepEqual(checkGraph(quantized.graph), []);
  await assertNear(encodeModel(model), encodeModel(quantized), 28);
});
