import { describe } from 'node:test';
import { closeLoops } from '../../src/passes/close-loops.js';
import { testPass } from './pass-cases.js';

const loop = (header: string, body: string, tail: string) => `
  ir 8
  opset 13
  input x float32[2,4]
  const w float32[4,4] ~1
  const n int64[] 3
${header}
    body:
${body}
${tail}`;

describe('values that a loop hands on as they are', () => {
  testPass(closeLoops, [
    {
      name: 'are read from outside, also behind an Identity, and so are the outputs that they would be',
      before: loop(
        '  s, u, v, c = Loop(n, , x, w, w)',
        `      input i int64[]
      input go bool[]
      input h float32[2,4]
      input k float32[4,4]
      input l float32[4,4]
      more = Identity(go)
      g = MatMul(h, k)
      next = Tanh(g)
      same = Identity(k)
      both = Add(k, l)
      output more bool[]
      output next float32[2,4]
      output same float32[4,4]
      output l float32[4,4]
      output both float32[4,4]`,
        '  y = MatMul(s, u)\n  z = Add(v, w)\n  output y float32[2,4]\n  output z float32[4,4]\n  output c float32[3,4,4]',
      ),
      after: loop(
        '  s, c = Loop(n, , x)',
        `      input i int64[]
      input go bool[]
      input h float32[2,4]
      more = Identity(go)
      g = MatMul(h, w)
      next = Tanh(g)
      both = Add(w, w)
      output more bool[]
      output next float32[2,4]
      output both float32[4,4]`,
        '  y = MatMul(s, w)\n  z = Add(w, w)\n  output y float32[2,4]\n  output z float32[4,4]\n  output c float32[3,4,4]',
      ),
      says: ['w, w: 2 values that loops carry along unchanged are read from outside them'],
    },
    {
      name: 'stay where the loop’s result is an output of the model, and where they change places',
      before: loop(
        '  a, b, u = Loop(n, , x, x, w)',
        `      input i int64[]
      input go bool[]
      input h float32[2,4]
      input k float32[2,4]
      input l float32[4,4]
      more = Identity(go)
      g = MatMul(h, l)
      p = Identity(k)
      output more bool[]
      output p float32[2,4]
      output g float32[2,4]
      output l float32[4,4]`,
        '  output a float32[2,4]\n  output b float32[2,4]\n  output u float32[4,4]',
      ),
    },
  ]);
});
