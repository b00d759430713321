import { describe } from 'node:test';
import { normalizeGemm } from '../../src/passes/normalize-gemm.js';
import { testPass } from './pass-cases.js';

describe('normalizeGemm', () => {
  testPass(normalizeGemm, [
    {
      name: 'multiplies alpha into the weight and beta into the bias',
      before: `
        input x float32[3,2]
        const w float32[2,2] 1 2 3 4
        const b float32[2] 8 -4
        gemm: y = Gemm(x, w, b) alpha=0.5 transB=1 beta=0.25
        output y`,
      after: `
        input x float32[3,2]
        const w_alpha float32[2,2] 0.5 1 1.5 2
        const b_beta float32[2] 2 -1
        gemm: y = Gemm(x, w_alpha, b_beta) transB=1
        output y`,
      says: ['gemm: alpha and beta of 1 Gemm nodes were multiplied into their constants'],
      tolerance: 1e-5,
    },
    {
      name: 'adds a bias that varies with an Add of its own where beta is 1',
      before: `
        input x float32[3,2]
        input b float32[2]
        const w float32[2,2] 1 2 3 4
        gemm: y = Gemm(x, w, b) alpha=2.0 transB=1
        output y`,
      after: `
        input x float32[3,2]
        input b float32[2]
        const w_alpha float32[2,2] 2 4 6 8
        gemm: y_product = Gemm(x, w_alpha) transB=1
        gemm_bias: y = Add(y_product, b)
        output y`,
      says: ['gemm: alpha and beta of 1 Gemm nodes were multiplied into their constants', 'gemm: computed biases of 1 Gemm nodes are added by an Add of their own'],
      tolerance: 1e-5,
    },
    {
      name: 'adds a residual to a product of two activations with an Add of its own',
      before: `
        input x float32[2,3]
        input z float32[2,4]
        input c float32[3,4]
        y = Gemm(x, z, c) alpha=0.5 transA=1
        output y`,
      after: `
        input x float32[2,3]
        input z float32[2,4]
        input c float32[3,4]
        y_product = Gemm(x, z) alpha=0.5 transA=1
        y_bias: y = Add(y_product, c)
        output y`,
      tolerance: 1e-5,
    },
    {
      name: 'drops a beta that has no bias',
      before: `
        input x float32[3,2]
        const w float32[2,2] 1 2 3 4
        y = Gemm(x, w) beta=0.5
        output y`,
      after: `
        input x float32[3,2]
        const w float32[2,2] 1 2 3 4
        y = Gemm(x, w)
        output y`,
    },
    {
      name: 'gives each reader of a shared weight its own',
      before: `
        input x float32[3,2]
        const w float32[2,2] 1 2 3 4
        u = Gemm(x, w) alpha=2.0
        v = Gemm(x, w) alpha=3.0
        y = MatMul(u, w)
        output y
        output v`,
      after: `
        input x float32[3,2]
        const w float32[2,2] 1 2 3 4
        const w_alpha float32[2,2] 2 4 6 8
        const w_alpha_1 float32[2,2] 3 6 9 12
        u = Gemm(x, w_alpha)
        v = Gemm(x, w_alpha_1)
        y = MatMul(u, w)
        output y
        output v`,
      tolerance: 1e-5,
    },
    {
      name: 'leaves a weight that varies alone',
      before: `
        input x float32[3,2]
        input w float32[2,2]
        const b float32[2] 1 2
        y = Gemm(x, w, b) alpha=2.0 beta=2.0
        output y`,
    },
    {
      name: 'leaves a weight that callers may override alone',
      before: `
        input x float32[3,2]
        input w float32[2,2]
        const w float32[2,2] 1 2 3 4
        y = Gemm(x, w) alpha=2.0
        output y`,
    },
    {
      name: 'leaves a bias that varies and has a beta alone',
      before: `
        input x float32[3,2]
        input b float32[2]
        const w float32[2,2] 1 2 3 4
        y = Gemm(x, w, b) beta=2.0
        output y`,
    },
    {
      name: 'leaves doubles alone',
      before: `
        input x float64[3,2]
        const w float64[2,2] 1 2 3 4
        y = Gemm(x, w) alpha=2.0
        output y`,
    },
    {
      name: 'leaves plain ones, and those of another domain, alone',
      before: `
        opset 13
        opset other 1
        input x float32[3,2]
        const w float32[2,2] 1 2 3 4
        a = Gemm(x, w) alpha=1.0 beta=1.0
        y = other::Gemm(a, w) alpha=2.0
        output y`,
      runs: false,
    },
  ]);
});
