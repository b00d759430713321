import { describe } from 'node:test';
import { foldIntoProduct } from '../../src/passes/fold-into-product.js';
import { testPass, type PassCase } from './pass-cases.js';

const tolerance = 1e-5;

/** 2 × 2 products of x, plus a bias, with one operator behind them. */
const product = (follower: string, constants = '', more = ''): string => `
  input x float32[3,2]
  const w float32[2,2] 1 2 3 4
  const b float32[2] 1 -1
  ${constants}
  p = MatMul(x, w)
  s = Add(p, b)
  next: y = ${follower}
  ${more}
  output y`;

const folded = (weight: string, bias: string): string => `
  input x float32[3,2]
  const w_scaled float32[2,2] ${weight}
  const b_scaled float32[2] ${bias}
  p = MatMul(x, w_scaled)
  y = Add(p, b_scaled)
  output y`;

/** Queries and keys of one head, whose product is divided; `queries` stand between the projection and that product. */
const attention = (queries: string, divisor = 'const d float32[] 4', end = 'y = Div(a, d)'): string => `
  input x float32[1,3,2]
  input k float32[1,2,2,3]
  const w float32[2,4] 4 8 12 16 20 24 28 32
  const b float32[4] 1 2 3 4
  const shape int64[4] 1 3 2 2
  ${divisor}
  p = MatMul(x, w)
  s = Add(b, p)
  r = Reshape(s, shape)
  ${queries}
  a = MatMul(q, k)
  ${end}
  output y`;

const QUERIES = 'q = Transpose(r) perm=[0,2,1,3]';

const gemm = (attributes: string, weight: string, follower: string, constants: string, more = ''): string => `
  input x float32[3,2]
  const w ${weight}
  const b float32[3] 1 2 3
  ${constants}
  g = Gemm(x, w, b) ${attributes}
  y = ${follower}
  ${more}
  output y`;

const BATCH_NORM = `
  const gamma float32[3] 2 -1 1
  const beta float32[3] 0.5 0.25 0
  const mean float32[3] 1 2 0
  const variance float32[3] 0.75 3.75 0.75`;

const kept = (name: string, before: string, more: Partial<PassCase> = {}): PassCase => ({ name, before, ...more });

describe('foldIntoProduct: what it folds', () => {
  testPass(foldIntoProduct, [
    {
      name: 'one factor a column',
      before: product('Mul(s, k)', 'const k float32[2] 10 100'),
      after: folded('10 200 30 400', '10 -100'),
      says: ['next: 1 multiplications by constants were folded into the products before them'],
      tolerance,
    },
    { name: 'a scalar, with the constant first', before: product('Mul(k, s)', 'const k float32[] 2'), after: folded('2 4 6 8', '2 -2'), tolerance },
    { name: 'Div', before: product('Div(s, k)', 'const k float32[1] 2'), after: folded('0.5 1 1.5 2', '0.5 -0.5'), tolerance },
    {
      name: 'a product without a bias',
      before: 'input x float32[3,2]\nconst w float32[2,2] 1 2 3 4\nconst k float32[] 2\np = MatMul(x, w)\ny = Mul(p, k)\noutput y',
      after: 'input x float32[3,2]\nconst w_scaled float32[2,2] 2 4 6 8\ny = MatMul(x, w_scaled)\noutput y',
      tolerance,
    },
    {
      name: 'a chain of them, in rounds',
      before: product('Mul(s, k)', 'const k float32[2] 10 100\n  const m float32[] 2', '').replace('next: y = Mul(s, k)', 't = Mul(s, k)\n  y = Mul(t, m)'),
      after: folded('20 400 60 800', '20 -200').replaceAll('_scaled', '_scaled_scaled'),
      tolerance,
    },
    {
      name: 'the divisor of attention, into the projection of its queries',
      before: attention(QUERIES),
      after: `
        input x float32[1,3,2]
        input k float32[1,2,2,3]
        const shape int64[4] 1 3 2 2
        const w_scaled float32[2,4] 1 2 3 4 5 6 7 8
        const b_scaled float32[4] 0.25 0.5 0.75 1
        p = MatMul(x, w_scaled)
        s = Add(b_scaled, p)
        r = Reshape(s, shape)
        ${QUERIES}
        y = MatMul(q, k)
        output y`,
      tolerance,
    },
    {
      name: 'a factor on the queries themselves',
      before: attention('t = Transpose(r) perm=[0,2,1,3]\n  q = Mul(t, d)', 'const d float32[] 0.25', '').replace('a = MatMul', 'y = MatMul'),
      after: `
        input x float32[1,3,2]
        input k float32[1,2,2,3]
        const shape int64[4] 1 3 2 2
        const w_scaled float32[2,4] 1 2 3 4 5 6 7 8
        const b_scaled float32[4] 0.25 0.5 0.75 1
        p = MatMul(x, w_scaled)
        s = Add(b_scaled, p)
        r = Reshape(s, shape)
        q = Transpose(r) perm=[0,2,1,3]
        y = MatMul(q, k)
        output y`,
      tolerance,
    },
    {
      name: 'a column of Gemm, transposed or not',
      before: gemm('transB=1', 'float32[3,2] 1 2 3 4 5 6', 'Mul(g, k)', 'const k float32[1,3] 1 10 100'),
      after: `
        input x float32[3,2]
        const w_scaled float32[3,2] 1 2 30 40 500 600
        const b_scaled float32[3] 1 20 300
        y = Gemm(x, w_scaled, b_scaled) transB=1
        output y`,
      tolerance,
    },
    {
      name: 'BatchNormalization behind a Gemm: weight · γ/√(σ²+ε), (bias − μ) · γ/√(σ²+ε) + β',
      before: gemm('', 'float32[2,3] 1 2 3 4 5 6', 'BatchNormalization(g, gamma, beta, mean, variance) epsilon=0.25', BATCH_NORM),
      after: `
        input x float32[3,2]
        const w_scaled float32[2,3] 2 -1 3 8 -2.5 6
        const b_scaled float32[3] 0.5 0.25 3
        y = Gemm(x, w_scaled, b_scaled)
        output y`,
      tolerance,
    },
  ]);
});

describe('foldIntoProduct: what it leaves alone', () => {
  testPass(foldIntoProduct, [
    kept('a product that something else reads', product('Mul(s, k)', 'const k float32[] 2', 'z = Relu(s)\noutput z')),
    kept('a constant over another one', product('Div(k, s)', 'const k float32[] 2')),
    kept('one factor a row', product('Mul(s, k)', 'const k float32[3,1] 1 2 3')),
    kept('a constant that may widen the value', product('Mul(s, k)', 'const k float32[1,1] 2')),
    kept('factors that leave the range of float32', product('Mul(s, k)', 'const k float32[] 3e38')),
    kept('a divisor of zero', product('Div(s, k)', 'const k float32[] 0')),
    kept('one factor a column across a carrier', attention(QUERIES, 'const d float32[3] 1 2 3', 'y = Mul(a, d)')),
    kept('a factor between rounding and the product', attention('t = Transpose(r) perm=[0,2,1,3]\n  q = Round(t)')),
    kept(
      'a matrix that two products share',
      'input x float32[3,2]\nconst w float32[2,2] 1 2 3 4\nconst k float32[] 2\np = MatMul(x, w)\ns = Mul(p, k)\ny = MatMul(s, w)\noutput y',
    ),
    kept('a matrix that is computed', 'input x float32[3,2]\ninput w float32[2,2]\nconst k float32[2] 2 3\np = MatMul(x, w)\ny = Mul(p, k)\noutput y'),
    kept('a bias that is one for all columns, under one factor for each', product('Mul(s, k)', 'const k float32[2] 2 3').replace('const b float32[2] 1 -1', 'const b float32[1] 1')),
  ]);
});
