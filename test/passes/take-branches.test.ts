import { describe } from 'node:test';
import { takeBranches } from '../../src/passes/take-branches.js';
import { testPass } from './pass-cases.js';

const header = `
  ir 8
  opset 13
  input x float32[2,4]
  const w float32[4,4] ~1`;

describe('an If whose condition is constant', () => {
  testPass(takeBranches, [
    {
      name: 'is replaced by the branch that it takes; names stay where the graph has none such',
      before: `${header}
  const yes bool[] 1
  h = Relu(x)
  pick: y = If(yes)
    then_branch:
      const b float32[4] 1 2 3 4
      product: m = MatMul(h, w)
      t = Add(m, b)
      output t float32[2,4]
    else_branch:
      e = Identity(h)
      output e float32[2,4]
  z = Tanh(y)
  output z float32[2,4]`,
      after: `${header}
  const b float32[4] 1 2 3 4
  h = Relu(x)
  product: m = MatMul(h, w)
  y = Add(m, b)
  z = Tanh(y)
  output z float32[2,4]`,
      says: ['pick: 1 If nodes with a constant condition were replaced by the branch that they take'],
    },
    {
      name: 'gives its branch names that nothing has, in bodies either',
      before: `${header}
  const no bool[1] 0
  input c bool[]
  g = Neg(x)
  k = If(c)
    then_branch:
      m = Relu(g)
      output m float32[2,4]
    else_branch:
      o = Tanh(g)
      output o float32[2,4]
  y = If(no)
    then_branch:
      e = Identity(k)
      output e float32[2,4]
    else_branch:
      const o float32[4] 1 2 3 4
      m = Mul(k, o)
      t = Neg(m)
      output t float32[2,4]
  output y float32[2,4]`,
      after: `${header}
  const o_1 float32[4] 1 2 3 4
  input c bool[]
  g = Neg(x)
  k = If(c)
    then_branch:
      m = Relu(g)
      output m float32[2,4]
    else_branch:
      o = Tanh(g)
      output o float32[2,4]
  m_1 = Mul(k, o_1)
  y = Neg(m_1)
  output y float32[2,4]`,
    },
    {
      name: 'may hand on what it did not make, and stand in a branch',
      before: `${header}
  const yes bool[] 1
  input c bool[]
  y = If(c)
    then_branch:
      a, d = If(yes)
        then_branch:
          n = Neg(x)
          output n float32[2,4]
          output x float32[2,4]
        else_branch:
          o = Tanh(x)
          output o float32[2,4]
          output x float32[2,4]
      t = Add(a, d)
      output t float32[2,4]
    else_branch:
      q = Tanh(x)
      output q float32[2,4]
  output y float32[2,4]`,
      after: `${header}
  input c bool[]
  y = If(c)
    then_branch:
      a = Neg(x)
      d_Identity: d = Identity(x)
      t = Add(a, d)
      output t float32[2,4]
    else_branch:
      q = Tanh(x)
      output q float32[2,4]
  output y float32[2,4]`,
      // A branch that gives a value of the graph around it as it is goes beyond what onnxruntime loads.
      runs: false,
    },
    {
      name: 'stays where a sample decides',
      before: `${header}
  input c bool[]
  y = If(c)
    then_branch:
      t = Relu(x)
      output t float32[2,4]
    else_branch:
      e = Tanh(x)
      output e float32[2,4]
  output y float32[2,4]`,
    },
  ]);
});
