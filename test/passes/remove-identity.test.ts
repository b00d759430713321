import { describe } from 'node:test';
import { removeIdentity } from '../../src/passes/remove-identity.js';
import { testPass } from './pass-cases.js';

describe('removeIdentity', () => {
  testPass(removeIdentity, [
    {
      name: 'lets readers of an Identity read its input',
      before: `
        input x float32[2,3]
        copy: a = Identity(x)
        relu: y = Relu(a)
        output y`,
      after: `
        input x float32[2,3]
        relu: y = Relu(x)
        output y`,
      says: ['copy: 1 nodes that pass their input on were removed'],
    },
    {
      name: 'follows a chain, and names nodes without a name by their output',
      before: `
        input x float32[2,3]
        a = Identity(x)
        b = Identity(a)
        y = Add(b, a)
        output y`,
      after: `
        input x float32[2,3]
        y = Add(x, x)
        output y`,
      says: ['a, b: 2 nodes that pass their input on were removed'],
    },
    {
      name: 'serves several readers, absent optional inputs among theirs',
      before: `
        input x float32[2,3]
        const top float32[] 0.5
        a = Identity(x)
        y = Clip(a, , top)
        z = Neg(a)
        output y
        output z`,
      after: `
        input x float32[2,3]
        const top float32[] 0.5
        y = Clip(x, , top)
        z = Neg(x)
        output y
        output z`,
    },
    {
      name: 'renames what bodies capture, in bodies of bodies too',
      before: `
        input x float32[2]
        input c bool[]
        a = Identity(x)
        y = If(c)
          then_branch:
            t = If(c)
              then_branch:
                tt = Neg(a)
                output tt
              else_branch:
                te = Relu(a)
                output te
            output t
          else_branch:
            e = Add(a, a)
            output e
        output y`,
      after: `
        input x float32[2]
        input c bool[]
        y = If(c)
          then_branch:
            t = If(c)
              then_branch:
                tt = Neg(x)
                output tt
              else_branch:
                te = Relu(x)
                output te
            output t
          else_branch:
            e = Add(x, x)
            output e
        output y`,
    },
    {
      name: 'lets a body read a constant directly',
      before: `
        input x float32[2]
        input c bool[]
        const k float32[2] 1 2
        a = Identity(k)
        y = If(c)
          then_branch:
            t = Add(x, a)
            output t
          else_branch:
            e = Sub(x, a)
            output e
        output y`,
      after: `
        input x float32[2]
        input c bool[]
        const k float32[2] 1 2
        y = If(c)
          then_branch:
            t = Add(x, k)
            output t
          else_branch:
            e = Sub(x, k)
            output e
        output y`,
    },
    {
      name: 'removes Dropout, its unread ratio and its unread mask',
      before: `
        input x float32[2,3]
        const ratio float32[] 0.5
        a, mask = Dropout(x, ratio)
        y = Relu(a)
        output y`,
      after: `
        input x float32[2,3]
        y = Relu(x)
        output y`,
    },
    {
      name: 'keeps an Identity that makes a graph output',
      before: `
        input x float32[2,3]
        a = Relu(x)
        y = Identity(a)
        output y`,
    },
    {
      name: 'keeps an Identity whose output is read and is a graph output too',
      before: `
        input x float32[2,3]
        a = Identity(x)
        y = Relu(a)
        output y
        output a`,
    },
    {
      name: 'keeps a Dropout whose mask is read',
      before: `
        input x float32[2,3]
        a, mask = Dropout(x)
        y = Relu(a)
        m = Cast(mask) to=1
        output y
        output m`,
    },
    {
      name: 'keeps a Dropout whose mask is a graph output',
      before: `
        input x float32[2,3]
        a, mask = Dropout(x)
        y = Relu(a)
        output y
        output mask`,
    },
    {
      name: 'keeps a Dropout whose mask a body reads',
      before: `
        input x float32[2]
        input c bool[]
        a, mask = Dropout(x)
        y = If(c)
          then_branch:
            t = Cast(mask) to=1
            output t
          else_branch:
            e = Identity(a)
            output e
        output y`,
    },
    {
      name: 'keeps a Dropout that can be switched to training',
      before: `
        input x float32[2,3]
        input training bool[]
        const ratio float32[] 0.5
        a = Dropout(x, ratio, training)
        y = Relu(a)
        output y`,
    },
    {
      name: 'keeps an Identity of another domain',
      before: `
        opset 13
        opset other 1
        input x float32[2,3]
        a = other::Identity(x)
        y = Relu(a)
        output y`,
      runs: false,
    },
    {
      name: 'leaves bodies alone',
      before: `
        input x float32[2]
        input c bool[]
        y = If(c)
          then_branch:
            t = Identity(x)
            output t
          else_branch:
            e = Neg(x)
            output e
        output y`,
    },
  ]);
});
