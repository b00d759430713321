import { describe } from 'node:test';
import { liftConstants } from '../../src/passes/lift-constants.js';
import { testPass } from './pass-cases.js';

describe('liftConstants', () => {
  testPass(liftConstants, [
    {
      name: 'turns a tensor into an initializer',
      before: `
        input x float32[2]
        k: w = Constant() value=float32[2](1.5 -2)
        y = Add(x, w)
        output y`,
      after: `
        input x float32[2]
        const w float32[2] 1.5 -2
        y = Add(x, w)
        output y`,
      says: ['w: 1 Constant nodes became initializers'],
    },
    {
      name: 'reads numbers and lists of numbers',
      before: `
        input x float32[3]
        a = Constant() value_float=0.5
        b = Constant() value_floats=[1.0,2.0,3.0]
        n = Constant() value_int=7
        i = Constant() value_ints=[-1,0,1]
        u = Add(x, a)
        v = Add(u, b)
        j = Add(i, n)
        output v
        output j`,
      after: `
        input x float32[3]
        const a float32[] 0.5
        const b float32[3] 1 2 3
        const n int64[] 7
        const i int64[3] -1 0 1
        u = Add(x, a)
        v = Add(u, b)
        j = Add(i, n)
        output v
        output j`,
    },
    {
      name: 'keeps integers beyond 2^53, such as the "to the end" of a Slice',
      before: `
        input x float32[4]
        starts = Constant() value_ints=[1]
        ends = Constant() value_ints=[9223372036854775807]
        n = Constant() value_int=-9223372036854775807
        y = Slice(x, starts, ends)
        z = Neg(n)
        output y
        output z`,
      after: `
        input x float32[4]
        const starts int64[1] 1
        const ends int64[1] 9223372036854775807
        const n int64[] -9223372036854775807
        y = Slice(x, starts, ends)
        z = Neg(n)
        output y
        output z`,
    },
    {
      name: 'raises the IR version to the first that has initializers beside the inputs',
      before: `
        ir 3
        opset 8
        input x float32[2]
        w = Constant() value=float32[2](1 2)
        y = Add(x, w)
        output y`,
      after: `
        ir 4
        opset 8
        input x float32[2]
        const w float32[2] 1 2
        y = Add(x, w)
        output y`,
    },
    {
      name: 'serves readers in bodies',
      before: `
        input x float32[2]
        input c bool[]
        w = Constant() value=float32[2](1 2)
        y = If(c)
          then_branch:
            t = Add(x, w)
            output t
          else_branch:
            e = Neg(x)
            output e
        output y`,
      after: `
        input x float32[2]
        input c bool[]
        const w float32[2] 1 2
        y = If(c)
          then_branch:
            t = Add(x, w)
            output t
          else_branch:
            e = Neg(x)
            output e
        output y`,
    },
    {
      name: 'keeps a Constant that makes a graph output',
      before: `
        input x float32[2]
        w = Constant() value=float32[2](1 2)
        y = Add(x, w)
        output y
        output w`,
    },
    {
      name: 'keeps constants of strings',
      before: `
        input x string[2]
        s = Constant() value_string="a"
        l = Constant() value_strings=["a","b"]
        y = Equal(x, l)
        z = Equal(x, s)
        output y
        output z`,
    },
    {
      name: 'keeps a Constant of another domain',
      before: `
        opset 13
        opset other 1
        input x float32[2]
        w = other::Constant() value=float32[2](1 2)
        y = Add(x, w)
        output y`,
      runs: false,
    },
    {
      name: 'lifts those of bodies into the bodies',
      before: `
        input x float32[2]
        input c bool[]
        y = If(c)
          then_branch:
            w = Constant() value=float32[2](1 2)
            t = Add(x, w)
            output t
          else_branch:
            e = Neg(x)
            output e
        output y`,
      after: `
        input x float32[2]
        input c bool[]
        y = If(c)
          then_branch:
            const w float32[2] 1 2
            t = Add(x, w)
            output t
          else_branch:
            e = Neg(x)
            output e
        output y`,
    },
  ]);
});
