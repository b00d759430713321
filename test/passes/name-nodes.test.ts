import { describe } from 'node:test';
import { nameNodes } from '../../src/passes/name-nodes.js';
import { testPass } from './pass-cases.js';

describe('nameNodes', () => {
  testPass(nameNodes, [
    {
      name: 'names after operator and output',
      before: `
        input x float32[4]
        a = Neg(x)
        , b = Split(a)
        output b`,
      after: `
        input x float32[4]
        Neg_a: a = Neg(x)
        Split_b: , b = Split(a)
        output b`,
      says: ['Neg_a, Split_b: 2 nodes without a name of their own were given one'],
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
