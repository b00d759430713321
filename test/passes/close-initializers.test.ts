import { describe } from 'node:test';
import { closeInitializers } from '../../src/passes/close-initializers.js';
import { testPass } from './pass-cases.js';

describe('closeInitializers', () => {
  testPass(closeInitializers, [
    {
      name: 'takes initializers out of the inputs and keeps the others in order',
      before: `
        ir 3
        opset 8
        input x float32[2]
        input w float32[2]
        input z float32[2]
        input b float32[2]
        const w float32[2] 1 2
        const b float32[2] 3 4
        a = Mul(x, w)
        c = Add(a, b)
        y = Sub(c, z)
        output y`,
      after: `
        ir 4
        opset 8
        input x float32[2]
        input z float32[2]
        const w float32[2] 1 2
        const b float32[2] 3 4
        a = Mul(x, w)
        c = Add(a, b)
        y = Sub(c, z)
        output y`,
      says: ["w, b: 2 initializers were also graph inputs, which blocks the runtime's own folding; they are constants now"],
    },
    {
      name: 'keeps a newer IR version',
      before: `
        ir 9
        input x float32[2]
        input w float32[2]
        const w float32[2] 1 2
        y = Mul(x, w)
        output y`,
      after: `
        ir 9
        input x float32[2]
        const w float32[2] 1 2
        y = Mul(x, w)
        output y`,
    },
    {
      name: 'closes one that a body reads',
      before: `
        input x float32[2]
        input c bool[]
        input w float32[2]
        const w float32[2] 1 2
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
      name: 'closes one that nothing reads',
      before: `
        input x float32[2]
        input w float32[2]
        const w float32[2] 1 2
        y = Neg(x)
        output y`,
      after: `
        input x float32[2]
        const w float32[2] 1 2
        y = Neg(x)
        output y`,
    },
    {
      name: 'leaves a model without open initializers alone',
      before: `
        ir 3
        opset 8
        input x float32[2]
        const w float32[2] 1 2
        y = Mul(x, w)
        output y`,
    },
  ]);
});
