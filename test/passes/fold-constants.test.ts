import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import { createNode } from '../../src/graph/graph-editor.js';
import type { Model } from '../../src/graph/model.js';
import type { PassResult } from '../../src/passes/pass.js';
import { prune } from '../../src/passes/prune.js';
import { constantNodes, foldConstants } from '../../src/passes/fold-constants.js';
import { constantEvaluator } from '../../src/runtime/evaluate-constants.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import { float32Tensor, tensorFromArray } from '../../src/tensor/tensor.js';
import { parseModel, printModel } from '../helpers/graph-text.js';
import { assertSameOutputs, evaluateHere, outputsOf } from '../helpers/same-outputs.js';
import { testPass } from './pass-cases.js';

/** With `prune`, as it is always followed by. */
async function fold(model: Model): Promise<PassResult> {
  const folded = await foldConstants(model, evaluateHere);
  const pruned = prune(folded.model);
  return { model: pruned.model, changes: [...folded.changes, ...pruned.changes] };
}

describe('foldConstants', () => {
  testPass(fold, [
    {
      name: 'computes a weight behind Transpose, Reshape and Cast',
      before: `
        input x float32[1,2]
        const w float64[3,2] 1 2 3 4 5 6
        t = Transpose(w)
        c = Cast(t) to=1
        y = MatMul(x, c)
        output y`,
      after: `
        input x float32[1,2]
        const c float32[2,3] 1 3 5 2 4 6
        y = MatMul(x, c)
        output y`,
      says: ['c: 1 values that depend on constants only were computed once and stored', 't: 1 nodes that reach no output were removed'],
    },
    {
      name: 'computes nodes without inputs',
      before: `
        input x float32[2]
        k = Constant() value=float32[2](1 2)
        s = Constant() value_ints=[2]
        z = ConstantOfShape(s) value=float32[1](3)
        u = Mul(x, k)
        y = Add(u, z)
        output y`,
      after: `
        input x float32[2]
        const k float32[2] 1 2
        const z float32[2] 3 3
        u = Mul(x, k)
        y = Add(u, z)
        output y`,
    },
    {
      name: 'computes inside bodies, from constants there and outside, and not from what a body defines itself',
      before: `
        input x float32[2]
        input c bool[]
        const w float32[2] 1 2
        y = If(c)
          then_branch:
            const k float32[1] 3
            p = Mul(w, k)
            q = If(c)
              then_branch:
                r = Neg(p)
                s = Add(r, x)
                output s float32[2]
              else_branch:
                u = Abs(x)
                output u float32[2]
            t = Add(q, p)
            output t float32[2]
          else_branch:
            p2 = Mul(x, w)
            e = Neg(p2)
            output e float32[2]
        output y`,
      after: `
        input x float32[2]
        input c bool[]
        const w float32[2] 1 2
        y = If(c)
          then_branch:
            const p float32[2] 3 6
            q = If(c)
              then_branch:
                const r float32[2] -3 -6
                s = Add(r, x)
                output s float32[2]
              else_branch:
                u = Abs(x)
                output u float32[2]
            t = Add(q, p)
            output t float32[2]
          else_branch:
            p2 = Mul(x, w)
            e = Neg(p2)
            output e float32[2]
        output y`,
      says: ['p, r: 2 values that depend on constants only were computed once and stored'],
    },
    {
      name: 'computes what a body reads',
      before: `
        input x float32[2]
        input c bool[]
        const w float32[2] 1 2
        n = Neg(w)
        y = If(c)
          then_branch:
            t = Add(x, n)
            output t
          else_branch:
            e = Neg(x)
            output e
        output y`,
      after: `
        input x float32[2]
        input c bool[]
        const n float32[2] -1 -2
        y = If(c)
          then_branch:
            t = Add(x, n)
            output t
          else_branch:
            e = Neg(x)
            output e
        output y`,
    },
    {
      name: 'raises the IR version to the first that has initializers beside the inputs',
      before: `
        ir 3
        opset 8
        input x float32[2]
        input w float32[2]
        k = Constant() value=float32[2](1 2)
        n = Neg(k)
        y = Add(x, n)
        output y`,
      after: `
        ir 4
        opset 8
        input x float32[2]
        input w float32[2]
        const n float32[2] -1 -2
        y = Add(x, n)
        output y`,
    },
    {
      name: 'goes through nodes of several outputs, which stay only where they are read',
      before: `
        input x float32[2]
        const w float32[4] 1 2 3 4
        a, b = Split(w)
        n = Neg(a)
        u = Mul(x, n)
        y = Add(u, b)
        output y`,
      after: `
        input x float32[2]
        const w float32[4] 1 2 3 4
        const n float32[2] -1 -2
        a, b = Split(w)
        u = Mul(x, n)
        y = Add(u, b)
        output y`,
    },
    {
      name: 'keeps what grows far beyond what it is made of',
      before: `
        input x float32[1]
        const k float32[1] 1
        const shape int64[2] 1024 512
        e = Expand(k, shape)
        y = Add(x, e)
        output y`,
    },
    {
      name: 'keeps a value that is a graph output, and folds what reads it',
      before: `
        input x float32[2]
        const w float32[2] 1 2
        n = Neg(w)
        y = Add(x, n)
        output y
        output n`,
    },
    {
      name: 'keeps what depends on an input, or on a constant that callers may override',
      before: `
        input x float32[2]
        input w float32[2]
        const w float32[2] 1 2
        n = Neg(w)
        y = Add(x, n)
        output y`,
    },
    {
      name: 'keeps random numbers',
      before: `
        input x float32[2]
        r = RandomNormal() shape=[2]
        n = Neg(r)
        y = Add(x, n)
        output y`,
    },
    {
      name: 'keeps Q/DQ: they say how a weight is stored',
      before: `
        input x float32[2]
        const w float32[2] 1 2
        const s float32[] 0.5
        const z int8[] 0
        q = QuantizeLinear(w, s, z)
        d = DequantizeLinear(q, s, z)
        y = Add(x, d)
        output y`,
    },
    {
      name: 'keeps nodes with bodies',
      before: `
        input x float32[2]
        const c bool[] 1
        const w float32[2] 1 2
        n = If(c)
          then_branch:
            t = Neg(w)
            output t
          else_branch:
            e = Abs(w)
            output e
        y = Add(x, n)
        output y`,
    },
    {
      name: 'keeps strings',
      before: `
        input x int64[2]
        const s int64[2] 1 2
        t = Cast(s) to=8
        u = Cast(x) to=8
        y = Equal(u, t)
        output y`,
      runs: false,
    },
    {
      name: 'keeps operators of another domain, whose meaning is not known',
      before: `
        opset 13
        opset com.microsoft 1
        input x float32[2]
        const w float32[2] 1 2
        n = com.microsoft::Gelu(w)
        y = Add(x, n)
        output y`,
    },
    {
      name: 'keeps sequences, and folds around them',
      before: `
        input x float32[2]
        const w float32[2] 1 2
        const zero int64[] 0
        empty = SequenceEmpty()
        n = Neg(w)
        s = SequenceInsert(empty, x)
        o = SequenceConstruct(w)
        i = SequenceAt(s, zero)
        j = SequenceAt(o, zero)
        k = Add(i, j)
        y = Add(k, n)
        output y`,
      after: `
        input x float32[2]
        const w float32[2] 1 2
        const zero int64[] 0
        const n float32[2] -1 -2
        empty = SequenceEmpty()
        s = SequenceInsert(empty, x)
        o = SequenceConstruct(w)
        i = SequenceAt(s, zero)
        j = SequenceAt(o, zero)
        k = Add(i, j)
        y = Add(k, n)
        output y`,
    },
    {
      name: 'does nothing where nothing is constant',
      before: `
        input x float32[2]
        y = Neg(x)
        output y`,
    },
    {
      name: 'does nothing where constants make the output itself',
      before: `
        const w float32[2] 1 2
        n = Neg(w)
        y = Abs(n)
        output y`,
    },
  ]);

  test('a large weight is folded through a chain of nodes', async () => {
    const model = parseModel(`
      input x float32[1,1024]
      t = Transpose(w)
      s = Reshape(t, shape)
      c = Cast(s) to=1
      y = MatMul(x, c)
      const w float64[512,1024] ~1
      const shape int64[2] 1024 512
      output y`);
    const { model: folded } = await fold(model);
    assert.deepEqual(folded.graph.nodes.map((node) => node.opType), ['MatMul']);
    assert.deepEqual([...folded.graph.initializers.keys()], ['c']);
    assertSameOutputs(await outputsOf(folded), await outputsOf(model), 1e-5);
  });

  test('what the runtime has no kernel for stays as it is, and the change says so', async () => {
    const model = parseModel('opset 13\ninput x float32[2]\nconst w bfloat16[2] 16256 16384\nn = Neg(w)\nu = Cast(n) to=1\ny = Add(x, u)\noutput y');
    const result = await fold(model);
    assert.equal(result.model, model);
    assert.match(result.changes[0]!.message, /^1 values that depend on constants only stay computed, because onnxruntime/);
  });

  test('only what the constants depend on is handed to the evaluator', async () => {
    const model = parseModel(`
      input x float32[2]
      const big float32[2] 5 6
      const w float32[2] 1 2
      n = Neg(w)
      u = Add(x, n)
      y = Mul(u, big)
      output y`);
    let seen = '';
    await foldConstants(model, (source, values) => {
      seen = printModel(source);
      assert.deepEqual(values, ['n']);
      return evaluateHere(source, values);
    });
    assert.equal(seen, 'ir 8\nopset 13\nconst w float32[2] 1 2\nn = Neg(w)\noutput y');
  });

  test('the evaluator of the runtime gives the same as evaluating here', async (t) => {
    const host = new RuntimeHost();
    t.after(() => host.close());
    const model = parseModel('input x float32[2]\nconst w float32[2] 1 2\nconst i int64[2] 1 2\nn = Neg(w)\nj = Neg(i)\nf = Cast(j) to=10\ng = Cast(f) to=1\nh = Add(g, n)\nb = Greater(n, h)\nk = Where(b, x, n)\ny = Add(k, h)\noutput y');
    const [inChild, here] = [await foldConstants(model, constantEvaluator(host, '.')), await fold(model)];
    assert.equal(printModel(prune(inChild.model).model), printModel(here.model));
    assert.deepEqual([...here.model.graph.initializers.keys()], ['n', 'h', 'b']);
    assert.deepEqual(checkGraph(here.model.graph), []);
  });

  test('constantNodes: a chain of 50,000 nodes', () => {
    const nodes = Array.from({ length: 50_000 }, (_, i) =>
      createNode({ name: '', opType: 'Neg', inputs: [i ? `v${i - 1}` : 'w'], outputs: [`v${i}`] }),
    );
    const { graph } = parseModel('const w float32[1] 1\noutput v49999');
    assert.equal(constantNodes({ ...graph, nodes }).size, 50_000);
  });

  test('a long constant chain of which every step is read folds in linear time', async () => {
    const steps = 3_000;
    const nodes = Array.from({ length: steps }, (_, i) => [
      createNode({ name: '', opType: 'Neg', inputs: [i ? `v${i - 1}` : 'w'], outputs: [`v${i}`] }),
      createNode({ name: '', opType: 'Add', inputs: [i ? `x${i - 1}` : 'x', `v${i}`], outputs: [`x${i}`] }),
    ]).flat();
    const { graph, ...rest } = parseModel(`input x float32[1]\nconst w float32[1] 1\noutput x${steps - 1}`);
    const values = new Map(nodes.map((node) => [node.outputs[0]!, float32Tensor([1])]));
    const { model } = await foldConstants({ ...rest, graph: { ...graph, nodes } }, async (_, names) => new Map(names.map((name) => [name, values.get(name)!])));
    assert.equal(model.graph.nodes.length, steps);
  });

  test('a folded value that is no number is kept', async () => {
    const model = parseModel('input x float32[1]\nconst w float32[1] 0\nn = Log(w)\ny = Add(x, n)\noutput y');
    const { model: folded } = await fold(model);
    assert.deepEqual(folded.graph.initializers.get('n')!.storage.read(), tensorFromArray('float32', [1], Float32Array.of(-Infinity)).storage.read());
  });
});
