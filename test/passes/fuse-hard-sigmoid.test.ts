import { describe } from 'node:test';
import { fuseHardSigmoid } from '../../src/passes/fuse-hard-sigmoid.js';
import { testPass } from './pass-cases.js';

const tolerance = 1e-5;
const CONSTANTS = { three: 3, zero: 0, six: 6, sixth: 0.16666667 };

/** Nodes between the input x, the constants that they name, and the output y. */
const model = (nodes: string, more = ''): string => `
  opset 13
  opset other 1
  input x float32[2,4]
  ${Object.entries(CONSTANTS).filter(([name]) => new RegExp(`\\b${name}\\b`).test(nodes)).map(([name, value]) => `const ${name} float32[] ${value}`).join('\n  ')}
  ${nodes.trim().split('\n').map((line) => line.trim()).join('\n  ')}
  output y
  ${more}`;

const fused = (nodes: string): string => `
  opset 13
  opset other 1
  input x float32[2,4]
  ${nodes.trim().split('\n').map((line) => line.trim()).join('\n  ')}
  output y`;

const GATE = 'alpha=0.16666667 beta=0.5';

describe('fuseHardSigmoid: what it fuses', () => {
  testPass(fuseHardSigmoid, [
    {
      name: 'Clip(x + 3, 0, 6) / 6',
      before: model('a = Add(x, three)\nclip: b = Clip(a, zero, six)\ny = Div(b, six)'),
      after: fused(`clip: y = HardSigmoid(x) ${GATE}`),
      says: ['clip: 1 hard sigmoids spelled out in Add, Clip and Div became one operator each'],
      tolerance,
    },
    {
      name: 'the constant first, and a product with a sixth instead of the division',
      before: model('a = Add(three, x)\nclip: b = Clip(a, zero, six)\ny = Mul(sixth, b)'),
      after: fused(`clip: y = HardSigmoid(x) ${GATE}`),
      tolerance,
    },
    {
      name: 'x · Clip(x + 3, 0, 6) / 6',
      before: model('a = Add(x, three)\nclip: b = Clip(a, zero, six)\nmul: c = Mul(x, b)\ny = Div(c, six)'),
      after: fused(`clip: y_gate = HardSigmoid(x) ${GATE}\nmul: y = Mul(x, y_gate)`),
      tolerance,
    },
    {
      name: 'x · (Clip(x + 3, 0, 6) / 6), whose product stays',
      before: model('a = Add(x, three)\nclip: b = Clip(a, zero, six)\nc = Div(b, six)\ny = Mul(c, x)'),
      after: fused(`clip: c = HardSigmoid(x) ${GATE}\ny = Mul(c, x)`),
      tolerance,
    },
    {
      name: 'the product the other way round, and a sixth instead of the division',
      before: model('a = Add(x, three)\nclip: b = Clip(a, zero, six)\nmul: c = Mul(b, x)\ny = Mul(c, sixth)'),
      after: fused(`clip: y_gate = HardSigmoid(x) ${GATE}\nmul: y = Mul(x, y_gate)`),
      tolerance,
    },
    {
      name: 'constants of one element in a vector',
      before: model('a = Add(x, k3)\nclip: b = Clip(a, zero, six)\ny = Div(b, k6)').replace('output y', 'const k3 float32[1] 3\n  const k6 float32[1] 6\n  output y'),
      after: fused(`clip: y = HardSigmoid(x) ${GATE}`),
      tolerance,
    },
    {
      name: 'other readers of x do not matter',
      before: model('n = Neg(x)\na = Add(x, three)\nclip: b = Clip(a, zero, six)\nc = Div(b, six)\ny = Mul(n, c)'),
      after: fused(`n = Neg(x)\nclip: c = HardSigmoid(x) ${GATE}\ny = Mul(n, c)`),
      tolerance,
    },
    {
      name: 'other numbers',
      before: model('a = Add(x, sixth)\nclip: b = Clip(a, zero, three)\ny = Div(b, three)'),
      after: fused('clip: y = HardSigmoid(x) alpha=0.33333334 beta=0.055555557'),
      tolerance,
    },
    {
      name: 'one after the other',
      before: model('a = Add(x, three)\nc1: b = Clip(a, zero, six)\nc = Mul(x, b)\nd = Div(c, six)\ne = Add(d, three)\nc2: f = Clip(e, zero, six)\ny = Div(f, six)'),
      after: fused(`c1: d_gate = HardSigmoid(x) ${GATE}\nd = Mul(x, d_gate)\nc2: y = HardSigmoid(d) ${GATE}`),
      tolerance,
    },
  ]);
});

describe('fuseHardSigmoid: what it leaves alone', () => {
  const kept = (name: string, nodes: string, more = '') => ({ name, before: model(nodes, more) });
  testPass(fuseHardSigmoid, [
    kept('another divisor', 'a = Add(x, three)\nb = Clip(a, zero, six)\ny = Div(b, three)'),
    kept('a factor that is not the reciprocal', 'a = Add(x, three)\nb = Clip(a, zero, six)\ny = Mul(b, three)'),
    kept('another divisor after the product', 'a = Add(x, three)\nb = Clip(a, zero, six)\nc = Mul(x, b)\ny = Div(c, three)'),
    kept('a difference instead of the sum', 'a = Sub(x, three)\nb = Clip(a, zero, six)\ny = Div(b, six)'),
    kept('a product with itself', 'a = Add(x, three)\nb = Clip(a, zero, six)\nc = Mul(b, b)\ny = Div(c, six)'),
    kept('a sum with itself', 'a = Add(x, x)\nb = Clip(a, zero, six)\ny = Div(b, six)'),
    kept('an upper bound of 0', 'a = Add(x, three)\nb = Clip(a, zero, zero)\ny = Div(b, zero)'),
    kept('a divisor that callers may override', 'a = Add(x, three)\nb = Clip(a, zero, six)\ny = Div(b, six)', 'input six float32[]'),
    kept('a constant with a value for each column', 'a = Add(x, each)\nb = Clip(a, zero, six)\ny = Div(b, six)', 'const each float32[4] 3 3 3 3'),
    kept('a constant that adds a dimension', 'a = Add(x, deep)\nb = Clip(a, zero, six)\ny = Div(b, six)', 'const deep float32[1,1,1] 3'),
    kept('the reciprocal', 'a = Add(x, three)\nb = Clip(a, zero, six)\ny = Div(six, b)'),
    kept('no division', 'a = Add(x, three)\ny = Clip(a, zero, six)'),
    kept('a lower bound that is not 0', 'a = Add(x, three)\nb = Clip(a, three, six)\ny = Div(b, six)'),
    kept('an absent lower bound', 'a = Add(x, three)\nb = Clip(a, , six)\ny = Div(b, six)'),
    kept('an absent upper bound', 'a = Add(x, three)\nb = Clip(a, zero)\ny = Div(b, six)'),
    kept('a sum with a second reader', 'a = Add(x, three)\nb = Clip(a, zero, six)\nc = Div(b, six)\ny = Mul(c, a)'),
    kept('a sum that is a graph output', 'a = Add(x, three)\nb = Clip(a, zero, six)\ny = Div(b, six)', 'output a'),
    kept('a clipped value with a second reader', 'a = Add(x, three)\nb = Clip(a, zero, six)\nc = Div(b, six)\ny = Add(c, b)'),
    kept('a clipped value that is a graph output', 'a = Add(x, three)\nb = Clip(a, zero, six)\ny = Div(b, six)', 'output b'),
    kept('a product that is a graph output', 'a = Add(x, three)\nb = Clip(a, zero, six)\nc = Mul(x, b)\ny = Div(c, six)', 'output c'),
    kept('a product with another value', 'a = Add(x, three)\nb = Clip(a, zero, six)\nn = Neg(x)\nc = Mul(n, b)\ny = Div(c, six)'),
    kept('a constant that is no scalar', 'k = Neg(x)\na = Add(x, k)\nb = Clip(a, zero, six)\ny = Div(b, six)'),
    kept('an Add of another domain', 'a = other::Add(x, three)\nb = Clip(a, zero, six)\ny = Div(b, six)'),
    kept('a Clip of another domain', 'a = Add(x, three)\nb = other::Clip(a, zero, six)\ny = Div(b, six)'),
    kept('a Mul of another domain', 'a = Add(x, three)\nb = Clip(a, zero, six)\nc = other::Mul(x, b)\ny = Div(c, six)'),
    kept('a Div of another domain', 'a = Add(x, three)\nb = Clip(a, zero, six)\ny = other::Div(b, six)'),
    {
      name: 'a clipped value that a body reads',
      before: model('a = Add(x, three)\nb = Clip(a, zero, six)\ny = Div(b, six)').replace(
        'output y',
        'const on bool[] 1\n  z = If(on)\n    then_branch:\n      t = Neg(b)\n      output t\n    else_branch:\n      e = Neg(x)\n      output e\n  output y\n  output z',
      ),
    },
  ]);
});
