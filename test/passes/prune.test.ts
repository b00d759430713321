import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createNode } from '../../src/graph/graph-editor.js';
import { prune } from '../../src/passes/prune.js';
import { parseModel } from '../helpers/graph-text.js';
import { testPass } from './pass-cases.js';

describe('prune', () => {
  testPass(prune, [
    {
      name: 'removes what reaches no output, with its constants',
      before: `
        input x float32[2]
        const w float32[2] 1 2
        const v float32[2] 3 4
        dead1: a = Mul(x, w)
        y = Add(x, v)
        dead2: b = Neg(a)
        c = Exp(b)
        output y`,
      after: `
        input x float32[2]
        const v float32[2] 3 4
        y = Add(x, v)
        output y`,
      says: ['dead1, dead2, c: 3 nodes that reach no output were removed'],
    },
    {
      name: 'removes a dead node that leaves out an output, beside a live one that leaves out an input',
      before: `
        input x float32[2,3]
        input s float32[4,1,2]
        const top float32[] 0.5
        const w float32[1,8,2] ~1
        const r float32[1,8,2] ~2
        , h = LSTM(s, w, r) hidden_size=2
        y = Clip(x, , top)
        output y`,
      after: `
        input x float32[2,3]
        input s float32[4,1,2]
        const top float32[] 0.5
        y = Clip(x, , top)
        output y`,
    },
    {
      name: 'keeps what only a body reads',
      before: `
        input x float32[2]
        input c bool[]
        const w float32[2] 1 2
        a = Mul(x, w)
        y = If(c)
          then_branch:
            t = Identity(a)
            output t
          else_branch:
            e = Neg(x)
            output e
        output y`,
    },
    {
      name: 'keeps a node of which one output is read',
      before: `
        input x float32[4]
        a, b = Split(x)
        output b`,
    },
    {
      name: 'keeps the default of an input whose reader it removes',
      before: `
        input x float32[2]
        input w float32[2]
        const w float32[2] 1 2
        dead: a = Mul(x, w)
        y = Neg(x)
        output y`,
      after: `
        input x float32[2]
        input w float32[2]
        const w float32[2] 1 2
        y = Neg(x)
        output y`,
    },
    {
      name: 'removes nodes of bodies, and what only they read',
      before: `
        input x float32[2]
        input c bool[]
        const w float32[2] 1 2
        a = Abs(x)
        y = If(c)
          then_branch:
            dead: d = Add(a, w)
            t = Neg(x)
            output t float32[2]
          else_branch:
            e = Exp(x)
            output e float32[2]
        output y`,
      after: `
        input x float32[2]
        input c bool[]
        y = If(c)
          then_branch:
            t = Neg(x)
            output t float32[2]
          else_branch:
            e = Exp(x)
            output e float32[2]
        output y`,
      says: ['dead, a: 2 nodes that reach no output were removed'],
    },
    {
      name: 'leaves constants alone that nothing read before',
      before: `
        input x float32[2]
        const spare float32[2] 1 2
        dead: a = Abs(x)
        y = Neg(x)
        output y`,
      after: `
        input x float32[2]
        const spare float32[2] 1 2
        y = Neg(x)
        output y`,
    },
  ]);

  test('a dead chain of 50,000 nodes', () => {
    const model = parseModel('input x float32[2]\ny = Neg(x)\noutput y');
    const chain = Array.from({ length: 50_000 }, (_, i) =>
      createNode({ name: `n${i}`, opType: 'Neg', inputs: [i ? `v${i - 1}` : 'x'], outputs: [`v${i}`] }),
    );
    const { model: pruned } = prune({ ...model, graph: { ...model.graph, nodes: [...chain, ...model.graph.nodes] } });
    assert.deepEqual(pruned.graph.nodes, model.graph.nodes);
  });
});
