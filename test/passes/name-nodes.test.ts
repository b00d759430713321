import { describe } from 'node:test';
import { nameNodes } from '../../src/passes/name-nodes.js';
import { testPass } from './pass-cases.js';

describe('nameNodes', () => {
  testPass(nameNodes, [
    {
      name: 'names after operator and output',
      before: `
        input x float32[4,1,2]
        const w float32[1,8,2] ~1
        const r float32[1,8,2] ~2
        a = Neg(x)
        , b = LSTM(a, w, r) hidden_size=2
        output b`,
      after: `
        input x float32[4,1,2]
        const w float32[1,8,2] ~1
        const r float32[1,8,2] ~2
        Neg_a: a = Neg(x)
        LSTM_b: , b = LSTM(a, w, r) hidden_size=2
        output b`,
      says: ['Neg_a, LSTM_b: 2 nodes without a name of their own were given one'],
    },
    {
      name: 'keeps the first of a repeated name and steps over names in use',
      before: `
        input x float32[2]
        n: a = Neg(x)
        n: b = Neg(a)
        n_1: c = Neg(b)
        n: d = Neg(c)
        e = Neg(d)
        Neg_e: y = Neg(e)
        output y`,
      after: `
        input x float32[2]
        n: a = Neg(x)
        n_2: b = Neg(a)
        n_1: c = Neg(b)
        n_3: d = Neg(c)
        Neg_e_1: e = Neg(d)
        Neg_e: y = Neg(e)
        output y`,
      runs: false,
    },
    {
      name: 'leaves names of their own, and those in bodies, alone',
      before: `
        input x float32[2]
        input c bool[]
        n: a = Neg(x)
        i: y = If(c)
          then_branch:
            n: t = Neg(a)
            output t
          else_branch:
            e = Neg(x)
            output e
        output y`,
    },
  ]);
});
