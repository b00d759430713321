import { describe } from 'node:test';
import { foldIntoConvolution } from '../../src/passes/fold-into-convolution.js';
import { testPass, type PassCase } from './pass-cases.js';

const tolerance = 1e-5;

/** A 1×1 convolution of two channels, 2x + 1 and 4x − 1 of its only input channel, with one operator behind it. */
const conv = (follower: string, constants = '', more = ''): string => `
  input x float32[1,1,2,2]
  const w float32[2,1,1,1] 2 4
  const b float32[2] 1 -1
  ${constants}
  conv: c = Conv(x, w, b)
  next: y = ${follower}
  ${more}
  output y`;

const folded = (weight: string, bias: string): string => `
  input x float32[1,1,2,2]
  const w_folded float32[2,1,1,1] ${weight}
  const b_folded_bias float32[2] ${bias}
  conv: y = Conv(x, w_folded, b_folded_bias)
  output y`;

const BATCH_NORM = `
  const gamma float32[2] 2 -1
  const beta float32[2] 0.5 0.25
  const mean float32[2] 1 2
  const variance float32[2] 0.75 3.75`;

const kept = (name: string, before: string, more: Partial<PassCase> = {}): PassCase => ({ name, before, ...more });

describe('foldIntoConvolution: what it folds', () => {
  testPass(foldIntoConvolution, [
    {
      name: 'BatchNormalization: weight · γ/√(σ²+ε), (bias − μ) · γ/√(σ²+ε) + β',
      before: conv('BatchNormalization(c, gamma, beta, mean, variance) epsilon=0.25', BATCH_NORM),
      after: folded('4 -2', '0.5 1.75'),
      says: ['next: 1 per-channel operators were folded into the convolutions before them'],
      tolerance,
    },
    { name: 'Add of one value a channel', before: conv('Add(c, k)', 'const k float32[2,1,1] 3 5'), after: folded('2 4', '4 4'), tolerance },
    { name: 'Add with the constant first', before: conv('Add(k, c)', 'const k float32[1,2,1,1] 3 5'), after: folded('2 4', '4 4'), tolerance },
    { name: 'Sub', before: conv('Sub(c, k)', 'const k float32[2,1,1] 3 5'), after: folded('2 4', '-2 -6'), tolerance },
    { name: 'Sub from a constant', before: conv('Sub(k, c)', 'const k float32[2,1,1] 3 5'), after: folded('-2 -4', '2 6'), tolerance },
    { name: 'Mul', before: conv('Mul(c, k)', 'const k float32[2,1,1] 3 0'), after: folded('6 0', '3 0'), tolerance },
    { name: 'Mul by a scalar', before: conv('Mul(k, c)', 'const k float32[] 3'), after: folded('6 12', '3 -3'), tolerance },
    { name: 'Div', before: conv('Div(c, k)', 'const k float32[1] 2'), after: folded('1 2', '0.5 -0.5'), tolerance },
    {
      name: 'a chain of them, in rounds',
      before: `
        input x float32[1,1,2,2]
        const w float32[2,1,1,1] 2 4
        const k float32[2,1,1] 3 5
        const m float32[] 10
        c = Conv(x, w)
        d = Mul(c, m)
        y = Add(d, k)
        output y`,
      after: `
        input x float32[1,1,2,2]
        const w_folded_folded float32[2,1,1,1] 20 40
        const w_folded_bias_folded_bias float32[2] 3 5
        y = Conv(x, w_folded_folded, w_folded_bias_folded_bias)
        output y`,
      says: ['d: 1 per-channel operators were folded into the convolutions before them', 'y: 1 per-channel operators were folded into the convolutions before them'],
      tolerance,
    },
    {
      name: 'a weight that two convolutions share gets a copy for each',
      before: `
        input x float32[1,1,2,2]
        const w float32[1,1,1,1] 2
        const k float32[] 3
        const m float32[] 5
        c = Conv(x, w)
        u = Add(c, k)
        d = Conv(u, w)
        y = Mul(d, m)
        output y`,
      after: `
        input x float32[1,1,2,2]
        const w_folded float32[1,1,1,1] 2
        const w_folded_bias float32[1] 3
        const w_folded_1 float32[1,1,1,1] 10
        const w_folded_bias_1 float32[1] 0
        u = Conv(x, w_folded, w_folded_bias)
        y = Conv(u, w_folded_1, w_folded_bias_1)
        output y`,
      tolerance,
    },
    {
      name: 'grouped ConvTranspose: output channels lie on axis 1, group by group',
      before: `
        input x float32[1,4,2,2]
        const w float32[4,2,1,1] 1 2 3 4 5 6 7 8
        const b float32[4] 1 2 3 4
        const k float32[4,1,1] 1 10 100 1000
        c = ConvTranspose(x, w, b) group=2 strides=[2,2]
        y = Mul(c, k)
        output y`,
      after: `
        input x float32[1,4,2,2]
        const w_folded float32[4,2,1,1] 1 20 3 40 500 6000 700 8000
        const b_folded_bias float32[4] 1 20 300 4000
        y = ConvTranspose(x, w_folded, b_folded_bias) group=2 strides=[2,2]
        output y`,
      tolerance,
    },
    {
      name: 'depthwise and padded: what follows does not see the padding',
      before: `
        input x float32[1,2,3,3]
        const w float32[2,1,1,3] 1 2 3 4 5 6
        const k float32[2,1,1] 2 -3
        c = Conv(x, w) group=2 pads=[0,1,0,1]
        y = Sub(k, c)
        output y`,
      after: `
        input x float32[1,2,3,3]
        const w_folded float32[2,1,1,3] -1 -2 -3 -4 -5 -6
        const w_folded_bias float32[2] 2 -3
        y = Conv(x, w_folded, w_folded_bias) group=2 pads=[0,1,0,1]
        output y`,
      tolerance,
    },
    {
      name: 'one dimension',
      before: `
        input x float32[1,1,4]
        const w float32[2,1,2] 1 2 3 4
        const k float32[2,1] 2 3
        c = Conv(x, w)
        y = Mul(c, k)
        output y`,
      after: `
        input x float32[1,1,4]
        const w_folded float32[2,1,2] 2 4 9 12
        const w_folded_bias float32[2] 0 0
        y = Conv(x, w_folded, w_folded_bias)
        output y`,
      tolerance,
    },
  ]);
});

describe('foldIntoConvolution: what it leaves alone', () => {
  testPass(foldIntoConvolution, [
    kept('a value that is a graph output', conv('Mul(c, k)', 'const k float32[] 3', 'output c')),
    kept('a value with a second reader', conv('Mul(c, k)', 'const k float32[] 3', 'z = Neg(c)\n  output z')),
    kept('a value read twice by one node', conv('Mul(c, c)')),
    kept(
      'a value that a body reads',
      conv('Mul(c, k)', 'const k float32[] 3\n  const on bool[] 1', 'z = If(on)\n    then_branch:\n      t = Neg(c)\n      output t\n    else_branch:\n      e = Abs(c)\n      output e\n  output z'),
    ),
    kept('a constant along the width', conv('Mul(c, k)', 'const k float32[2] 3 5')),
    kept('a constant for each position', conv('Add(c, k)', 'const k float32[2,2,2] 1 2 3 4 5 6 7 8')),
    kept('a constant that widens the batch', conv('Add(c, k)', 'const k float32[2,1,1,1] 1 2')),
    kept('a constant that widens the rank', conv('Add(c, k)', 'const k float32[1,1,1,1,1] 1')),
    kept('a constant that widens the channels', `
      input x float32[1,1,2,2]
      const w float32[1,1,1,1] 2
      const k float32[3,1,1] 1 2 3
      c = Conv(x, w)
      y = Add(c, k)
      output y`),
    kept('a constant that callers may override', conv('Add(c, k)', 'input k float32[]\n  const k float32[] 1')),
    kept('a value that varies', conv('Add(c, v)', 'input v float32[2,1,1]')),
    kept('Div by a constant with a zero', conv('Div(c, k)', 'const k float32[2,1,1] 1 0')),
    kept('Div of a constant', conv('Div(k, c)', 'const k float32[2,1,1] 1 2')),
    kept('a division whose result a float32 weight does not hold', conv('Div(c, k)', 'const k float32[] 1e-40')),
    kept('other operators', conv('Relu(c)')),
    kept('a Mul of another domain', conv('other::Mul(c, k)', 'const k float32[] 3'), { runs: false }),
    kept('a weight that callers may override', conv('Mul(c, k)', 'const k float32[] 3').replace('input x', 'input w float32[2,1,1,1]\n  input x')),
    kept('a bias that varies', `
      input x float32[1,1,2,2]
      input b float32[1]
      const w float32[1,1,1,1] 2
      const k float32[] 3
      c = Conv(x, w, b)
      y = Mul(c, k)
      output y`),
    kept('BatchNormalization in training', conv('BatchNormalization(c, gamma, beta, mean, variance) training_mode=1', BATCH_NORM), { runs: false }),
    kept(
      'BatchNormalization whose statistics are graph outputs',
      conv('BatchNormalization(c, gamma, beta, mean, variance)', BATCH_NORM, 'output m2\n  output v2').replace('next: y', 'next: y, m2, v2'),
      { runs: false },
    ),
    kept('BatchNormalization with a negative variance', conv('BatchNormalization(c, gamma, beta, mean, variance)', BATCH_NORM.replace('0.75', '-0.75'))),
    kept('BatchNormalization of positions (spatial = 0)', `
      opset 8
      input x float32[1,1,2,2]
      const w float32[1,1,1,1] 2
      const k float32[1,2,2] 1 2 3 4
      c = Conv(x, w)
      y = BatchNormalization(c, k, k, k, k) spatial=0
      output y`, { runs: false }),
    kept('doubles', conv('Mul(c, k)', 'const k float64[] 3').replaceAll('float32', 'float64')),
  ]);
});
