import { float, GraphBuilder } from '../helpers/graph-builder.js';
import type { PlanCase } from './plan-cases.js';

const matrix = (g: GraphBuilder, columns = 32) => g.input('x', [4, columns]);

function linear(g: GraphBuilder, name: string, x: string, [rows, columns]: readonly [number, number] = [32, 32], biasDims: readonly number[] = [columns]): string {
  const product = g.op(`${name}_matmul`, 'MatMul', [x, g.weight(`${name}_w`, [rows, columns])]);
  return g.op(name, 'Add', [product, g.weight(`${name}_b`, biasDims, 0.5)]);
}

const matmul = (g: GraphBuilder, name: string, x: string, dims: readonly number[] = [32, 32]) => g.op(name, 'MatMul', [x, g.weight(`${name}_w`, dims)]);

/** x / √2 · (1 + erf(x / √2)), as frameworks export it. */
function gelu(g: GraphBuilder, name: string, x: string): string {
  const erf = g.op(`${name}_erf`, 'Erf', [g.op(`${name}_div`, 'Div', [x, g.floats(`${name}_root`, [Math.SQRT2], [])])]);
  const one = g.op(`${name}_one`, 'Add', [erf, g.floats(`${name}_1`, [1], [])]);
  return g.op(name, 'Mul', [g.op(`${name}_mul`, 'Mul', [x, one]), g.floats(`${name}_half`, [0.5], [])]);
}

function norm(g: GraphBuilder, name: string, x: string): string {
  const center = g.op(`${name}_center`, 'Sub', [x, g.op(`${name}_mean`, 'ReduceMean', [x], { attributes: { axes: [-1] } })]);
  const square = g.op(`${name}_square`, 'Pow', [center, g.floats(`${name}_2`, [2], [])]);
  const variance = g.op(`${name}_variance`, 'ReduceMean', [square], { attributes: { axes: [-1] } });
  const root = g.op(`${name}_root`, 'Sqrt', [g.op(`${name}_plus`, 'Add', [variance, g.floats(`${name}_epsilon`, [1e-5], [])])]);
  const scaled = g.op(`${name}_scaled`, 'Mul', [g.op(`${name}_div`, 'Div', [center, root]), g.floats(`${name}_gain`, new Array<number>(32).fill(1))]);
  return g.op(name, 'Add', [scaled, g.weight(`${name}_shift`, [32], 0.1)]);
}

/** One encoder layer of one head, 32 wide, with biases as separate Adds. */
function encoder(g: GraphBuilder, batch: number | string): void {
  const x = g.input('x', [batch, 16, 32]);
  const [q, k, v] = ['q', 'k', 'v'].map((name) => linear(g, name, x)) as [string, string, string];
  const scores = g.op('scores', 'MatMul', [q, g.op('k_turned', 'Transpose', [k], { attributes: { perm: [0, 2, 1] } })]);
  const attention = g.op('attention', 'Softmax', [g.op('scaled', 'Div', [scores, g.floats('root', [Math.sqrt(32)], [])])], { attributes: { axis: -1 } });
  const mixed = linear(g, 'mixed', g.op('context', 'MatMul', [attention, v]));
  const middle = norm(g, 'norm1', g.op('sum1', 'Add', [mixed, x]));
  const wide = gelu(g, 'gelu', linear(g, 'wide', middle, [32, 64]));
  g.output(norm(g, 'norm2', g.op('sum2', 'Add', [linear(g, 'narrow', wide, [64, 32]), middle])));
}

const gemm = (g: GraphBuilder, biasDims: readonly number[] | undefined, attributes = {}, dims: readonly number[] = [32, 24], x = matrix(g)) =>
  g.op('gemm', 'Gemm', [x, g.weight('w', dims), ...(biasDims ? [g.weight('b', biasDims, 0.5)] : [])], { attributes });

export const PRODUCT_CASES: readonly PlanCase[] = [
  { name: 'MatMul alone', build: (g) => g.output(matmul(g, 'y', matrix(g))), plan: '', fused: '' },
  { name: 'MatMul with bias', build: (g) => g.output(linear(g, 'y', matrix(g))), plan: '', fused: '' },
  { name: 'MatMul with bias, rows not known', build: (g) => g.output(linear(g, 'y', g.input('x', ['n', 32]))), plan: '', fused: '' },
  { name: 'MatMul with bias, three dimensions', build: (g) => g.output(linear(g, 'y', g.input('x', [2, 4, 32]))), plan: '', fused: '' },
  { name: 'MatMul with bias, three dimensions not all known', build: (g) => g.output(linear(g, 'y', g.input('x', ['n', 4, 32]))), plan: '', fused: '' },
  { name: 'MatMul with bias at operator set 12, three dimensions not all known', opset: 12, build: (g) => g.output(linear(g, 'y', g.input('x', ['n', 4, 32]))), plan: '', fused: '' },
  { name: 'MatMul of a vector', build: (g) => g.output(linear(g, 'y', g.input('x', [32]))), plan: '', fused: '' },
  { name: 'MatMul by a vector', build: (g) => g.output(matmul(g, 'y', matrix(g), [32])), plan: '', fused: '' },
  {
    name: 'bias on the left, as [1, N]',
    build: (g) => g.output(g.op('y', 'Add', [g.weight('b', [1, 32], 0.5), matmul(g, 'product', matrix(g))])),
    plan: '',
    fused: '',
  },
  {
    name: 'bias of more dimensions than the product',
    build: (g) => g.output(linear(g, 'y', matrix(g), [32, 32], [1, 1, 32])),
    plan: '',
    fused: '',
  },
  { name: 'bias of one number', build: (g) => g.output(linear(g, 'y', matrix(g), [32, 32], [1])), plan: '', fused: '' },
  { name: 'an Add of a matrix, which is no bias', build: (g) => g.output(linear(g, 'y', matrix(g), [32, 32], [4, 32])), plan: '', fused: '' },
  {
    name: 'bias, Relu and a second product',
    build: (g) => g.output(linear(g, 'second', g.op('relu', 'Relu', [linear(g, 'first', matrix(g))]))),
    plan: '',
    fused: '',
  },
  {
    name: 'bias, Relu and a second product, dimensions not all known',
    build: (g) => g.output(linear(g, 'second', g.op('relu', 'Relu', [linear(g, 'first', g.input('x', ['n', 4, 32]))]))),
    plan: '',
    fused: '',
  },
  {
    name: 'a product read by an integer product and by a float operator',
    build: (g) => {
      const first = linear(g, 'first', matrix(g));
      g.output(linear(g, 'second', first), g.op('tanh', 'Tanh', [first]));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'MatMul without bias read by an integer product and by a float operator',
    build: (g) => {
      const first = matmul(g, 'first', matrix(g));
      g.output(matmul(g, 'second', first), g.op('tanh', 'Tanh', [first]));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'a product read by an integer product that is also a graph output',
    build: (g) => {
      const first = gemm(g, [24]);
      g.output(linear(g, 'second', first, [24, 32]), first);
    },
    plan: '',
    fused: '',
  },
  {
    name: 'a product with three dimensions read by an integer product and by a float operator',
    build: (g) => {
      const first = linear(g, 'first', g.input('x', [2, 4, 32]));
      g.output(linear(g, 'second', first), g.op('tanh', 'Tanh', [first]));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'a product with three dimensions not all known read by an integer product and by a float operator',
    build: (g) => {
      const first = linear(g, 'first', g.input('x', ['n', 4, 32]));
      g.output(linear(g, 'second', first), g.op('tanh', 'Tanh', [first]));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'Gemm of 8 products a sum between others',
    build: (g) => {
      const narrow = g.op('narrow', 'Gemm', [matrix(g), g.weight('narrow_w', [32, 8]), g.weight('narrow_b', [8])]);
      const wide = g.op('wide', 'Gemm', [narrow, g.weight('wide_w', [8, 32]), g.weight('wide_b', [32])]);
      g.output(g.op('last', 'Gemm', [wide, g.weight('last_w', [32, 16]), g.weight('last_b', [16])]));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'a weight that two products share',
    build: (g) => {
      const w = g.weight('w', [32, 32]);
      const first = g.op('first', 'MatMul', [matrix(g), w]);
      g.output(g.op('second', 'MatMul', [g.op('tanh', 'Tanh', [first]), w]));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'a weight that products share along different axes',
    build: (g) => {
      const w = g.weight('w', [32, 32]);
      const first = g.op('first', 'Gemm', [matrix(g), w], { attributes: { transB: 1 } });
      g.output(g.op('second', 'MatMul', [g.op('tanh', 'Tanh', [first]), w]));
    },
    plan: '',
    fused: '',
  },
  { name: 'MatMul of 8 products a sum', build: (g) => g.output(matmul(g, 'y', matrix(g, 8), [8, 32])), plan: '', fused: '' },
  {
    name: 'MatMul of two activations',
    build: (g) => g.output(g.op('y', 'MatMul', [matmul(g, 'a', matrix(g)), g.input('z', [32, 16])])),
    plan: '',
    fused: '',
  },
  {
    name: 'MatMul with the constant on the left',
    build: (g) => g.output(g.op('y', 'MatMul', [g.weight('w', [16, 32]), g.input('x', [32, 4])])),
    plan: '',
    fused: '',
  },
  {
    name: 'MatMul with a constant of 8 columns on the left',
    build: (g) => g.output(g.op('y', 'MatMul', [g.weight('w', [16, 8]), g.input('x', [8, 4])])),
    plan: '',
    fused: '',
  },
  {
    name: 'MatMul with a stack of weights',
    build: (g) => g.output(g.op('y', 'MatMul', [g.input('x', [3, 4, 32]), g.weight('w', [3, 32, 16])])),
    plan: '',
    fused: '',
  },
  { name: 'Gemm', build: (g) => g.output(gemm(g, [24])), plan: '', fused: '' },
  { name: 'Gemm without bias', build: (g) => g.output(gemm(g, undefined)), plan: '', fused: '' },
  { name: 'Gemm at operator set 12', opset: 12, build: (g) => g.output(gemm(g, [24])), plan: '', fused: '' },
  { name: 'Gemm with transB', build: (g) => g.output(gemm(g, [24], { transB: 1 }, [24, 32])), plan: '', fused: '' },
  { name: 'Gemm with alpha and beta', build: (g) => g.output(gemm(g, [24], { alpha: float(0.5), beta: float(2) })), plan: '', fused: '' },
  { name: 'Gemm with transA', build: (g) => g.output(gemm(g, [24], { transA: 1 }, [32, 24], g.input('x', [32, 4]))), plan: '', fused: '' },
  { name: 'Gemm with a bias of [1, N]', build: (g) => g.output(gemm(g, [1, 24])), plan: '', fused: '' },
  { name: 'Gemm with a bias of one number', build: (g) => g.output(gemm(g, [1])), plan: '', fused: '' },
  { name: 'Gemm with a bias that is a scalar', build: (g) => g.output(gemm(g, [])), plan: '', fused: '' },
  { name: 'Gemm with a bias of [M, 1]', build: (g) => g.output(gemm(g, [4, 1])), plan: '', fused: '' },
  { name: 'Gemm with a bias of [M, N]', build: (g) => g.output(gemm(g, [4, 24])), plan: '', fused: '' },
  {
    name: 'Gemm with a bias that is computed',
    build: (g) => g.output(g.op('gemm', 'Gemm', [matrix(g), g.weight('w', [32, 24]), g.op('b', 'Tanh', [g.input('z', [24])])])),
    plan: '',
    fused: '',
  },
  {
    name: 'Gemm, Relu, Gemm and Softmax',
    build: (g) => {
      const relu = g.op('relu', 'Relu', [gemm(g, [24])]);
      const second = g.op('second', 'Gemm', [relu, g.weight('w2', [24, 10]), g.weight('b2', [10])]);
      g.output(g.op('probabilities', 'Softmax', [second], { attributes: { axis: -1 } }));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'attention with a mask of a finite number',
    build: (g) => {
      const x = g.input('x', [1, 16, 32]);
      const scores = g.op('scores', 'MatMul', [x, g.op('turned', 'Transpose', [matmul(g, 'k', x)], { attributes: { perm: [0, 2, 1] } })]);
      const masked = g.op('masked', 'Where', [g.input('keep', [1, 1, 16], 'bool'), scores, g.floats('low', [-10], [])]);
      g.output(g.op('y', 'MatMul', [g.op('softmax', 'Softmax', [masked], { attributes: { axis: -1 } }), x]));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'attention with a mask of minus infinity',
    build: (g) => {
      const x = g.input('x', [1, 16, 32]);
      const scores = g.op('scores', 'MatMul', [x, g.op('turned', 'Transpose', [matmul(g, 'k', x)], { attributes: { perm: [0, 2, 1] } })]);
      const masked = g.op('masked', 'Where', [g.input('keep', [1, 16, 16], 'bool'), g.floats('low', [-Infinity], []), scores]);
      const kept = g.op('kept', 'Where', [g.input('all', [1, 16, 16], 'bool'), scores, masked]);
      g.output(g.op('y', 'MatMul', [g.op('softmax', 'Softmax', [kept], { attributes: { axis: -1 } }), x]));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'embedding, product and Gather',
    build: (g) => {
      const embedded = g.op('embedded', 'Gather', [g.weight('table', [50, 32], 1), g.input('tokens', [1, 6], 'int64')]);
      const first = g.op('first', 'Gather', [matmul(g, 'product', embedded), g.ints('zero', [0], [])], { attributes: { axis: 1 } });
      g.output(matmul(g, 'y', first));
    },
    plan: '',
    fused: '',
  },
  { name: 'encoder layer, shapes known', build: (g) => encoder(g, 2), plan: '', fused: '' },
  { name: 'encoder layer, batch not known', build: (g) => encoder(g, 'n'), plan: '', fused: '' },
];
