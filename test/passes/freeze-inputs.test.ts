import { describe } from 'node:test';
import { freezeInputs } from '../../src/passes/freeze-inputs.js';
import { int64Tensor } from '../../src/tensor/tensor.js';
import { testPass } from './pass-cases.js';

const header = `
  ir 8
  opset 13
  input x float32[2,4]`;

describe('a frozen input', () => {
  testPass((model) => freezeInputs(model, new Map(model.graph.initializers.has('rate_frozen') ? [] : [['rate', int64Tensor(1)]])), [
    {
      name: 'stays declared, and its readers read a constant, in bodies too; an output that hands it on still does',
      // What the test feeds to a whole number is such that outputs can be compared.
      runs: false,
      before: `${header}
  input rate int64[]
  const one int64[] 1
  c = Equal(rate, one)
  y = If(c)
    then_branch:
      f = Cast(rate) to=1
      m = Mul(x, f)
      output m float32[2,4]
    else_branch:
      rate_2 = Neg(x)
      output rate_2 float32[2,4]
  output y float32[2,4]
  output rate int64[]`,
      after: `${header}
  input rate int64[]
  const one int64[] 1
  const rate_frozen int64[] 1
  c = Equal(rate_frozen, one)
  y = If(c)
    then_branch:
      f = Cast(rate_frozen) to=1
      m = Mul(x, f)
      output m float32[2,4]
    else_branch:
      rate_2 = Neg(x)
      output rate_2 float32[2,4]
  output y float32[2,4]
  output rate int64[]`,
      says: ['rate: nodes read a constant, and no longer what callers feed'],
    },
  ]);
});
