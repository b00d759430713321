import { float, type GraphBuilder } from '../helpers/graph-builder.js';
import type { PlanCase } from './plan-case.js';

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
  {
    name: 'MatMul alone',
    build: (g) => g.output(matmul(g, 'y', matrix(g))), plan: `
      y MatMul: reads 0:x, 1:int8@1
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'MatMulIntegerToFloat(Q(x))' },
  {
    name: 'MatMul with bias',
    build: (g) => g.output(linear(g, 'y', matrix(g))),
    plan: `
      y_matmul MatMul: reads 0:x, 1:int8@1, bias in y:1 int32@0
      y Add: part of y_matmul
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(x))',
  },
  {
    name: 'MatMul with bias, rows not known',
    build: (g) => g.output(linear(g, 'y', g.input('x', ['n', 32]))),
    plan: `
      y_matmul MatMul: reads 0:x, 1:int8@1, bias in y:1 int32@0
      y Add: part of y_matmul
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(x))',
  },
  {
    name: 'MatMul with bias, three dimensions',
    build: (g) => g.output(linear(g, 'y', g.input('x', [2, 4, 32]))),
    plan: `
      y_matmul MatMul: reads 0:x, 1:int8@1, bias in y:1 int32@0
      y Add: part of y_matmul
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'Reshape(QGemm(Reshape(Q(x))))',
  },
  {
    name: 'MatMul with bias, three dimensions not all known',
    build: (g) => g.output(linear(g, 'y', g.input('x', ['n', 4, 32]))),
    plan: `
      y_matmul MatMul: reads 0:x, 1:int8@1, bias in y:1 float
      y Add: part of y_matmul
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'Add(MatMulIntegerToFloat(Q(x)))',
  },
  {
    name: 'MatMul with bias at operator set 12, three dimensions not all known',
    opset: 12,
    build: (g) => g.output(linear(g, 'y', g.input('x', ['n', 4, 32]))),
    plan: `
      Q/DQ of com.microsoft
      y_matmul MatMul: reads 0:x, 1:int8@1, bias in y:1 float
      y Add: part of y_matmul
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'Add(MatMulIntegerToFloat(Q(x)))',
  },
  {
    name: 'MatMul of a vector',
    build: (g) => g.output(linear(g, 'y', g.input('x', [32]))),
    plan: `
      y_matmul MatMul: reads 0:x, 1:int8@1, bias in y:1 int32@0
      y Add: part of y_matmul
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'Reshape(QGemm(Reshape(Q(x))))',
  },
  {
    name: 'MatMul by a vector',
    build: (g) => g.output(matmul(g, 'y', matrix(g), [32])),
    plan: `
      y MatMul: reads 0:x, 1:int8
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'MatMulIntegerToFloat(Q(x))',
  },
  {
    name: 'bias on the left, as [1, N]',
    build: (g) => g.output(g.op('y', 'Add', [g.weight('b', [1, 32], 0.5), matmul(g, 'product', matrix(g))])),
    plan: `
      product MatMul: reads 0:x, 1:int8@1, bias in y:0 int32@1
      y Add: part of product
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(x))',
  },
  {
    name: 'bias of more dimensions than the product',
    build: (g) => g.output(linear(g, 'y', matrix(g), [32, 32], [1, 1, 32])),
    plan: `
      y_matmul MatMul: reads 0:x, 1:int8@1
      y Add: float, nothing that runs on integers reads it
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'Add(MatMulIntegerToFloat(Q(x)))',
  },
  {
    name: 'bias of one number',
    build: (g) => g.output(linear(g, 'y', matrix(g), [32, 32], [1])),
    plan: `
      y_matmul MatMul: reads 0:x, 1:int8@1
      y Add: float, nothing that runs on integers reads it
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'Add(MatMulIntegerToFloat(Q(x)))',
  },
  {
    name: 'an Add of a matrix, which is no bias',
    build: (g) => g.output(linear(g, 'y', matrix(g), [32, 32], [4, 32])),
    plan: `
      y_matmul MatMul: reads 0:x, 1:int8@1, makes y_matmul
      y Add: float, nothing that runs on integers reads it
      --
      x: uint8 scale 0.01569 zero 64
      y_matmul: uint8 scale 0.01569 zero 64
    `,
    fused: 'Add(DQ(QLinearMatMul(Q(x))))',
  },
  {
    name: 'bias, Relu and a second product',
    build: (g) => g.output(linear(g, 'second', g.op('relu', 'Relu', [linear(g, 'first', matrix(g))]))),
    plan: `
      first_matmul MatMul: reads 0:x, 1:int8@1, bias in first:1 int32@0, makes relu
      first Add: part of first_matmul
      relu Relu: part of first_matmul
      second_matmul MatMul: reads 0:relu, 1:int8@1, bias in second:1 int32@0
      second Add: part of second_matmul
      --
      x: uint8 scale 0.01569 zero 64
      relu: uint8 scale 0.01176 zero 0
    `,
    fused: 'QGemm(QGemm(Q(x)))',
  },
  {
    name: 'bias, Relu and a second product, dimensions not all known',
    build: (g) => g.output(linear(g, 'second', g.op('relu', 'Relu', [linear(g, 'first', g.input('x', ['n', 4, 32]))]))),
    plan: `
      first_matmul MatMul: reads 0:x, 1:int8@1, bias in first:1 float, makes relu
      first Add: part of first_matmul
      relu Relu: part of first_matmul
      second_matmul MatMul: reads 0:relu, 1:int8@1, bias in second:1 float
      second Add: part of second_matmul
      --
      x: uint8 scale 0.01569 zero 64
      relu: uint8 scale 0.01176 zero 0
    `,
    fused: 'Add(MatMulIntegerToFloat(Q(Add(MatMulIntegerToFloat(Q(x))))))',
  },
  {
    name: 'a product read by an integer product and by a float operator',
    build: (g) => {
      const first = linear(g, 'first', matrix(g));
      g.output(linear(g, 'second', first), g.op('tanh', 'Tanh', [first]));
    },
    plan: `
      first_matmul MatMul: reads 0:x, 1:int8@1, bias in first:1 int32@0, makes first
      first Add: part of first_matmul
      second_matmul MatMul: reads 0:first, 1:int8@1, bias in second:1 int32@0
      second Add: part of second_matmul
      tanh Tanh: float, Tanh has no integer kernel in onnxruntime
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(QGemm(Q(x))); Tanh(DQ(QGemm…))',
  },
  {
    name: 'MatMul without bias read by an integer product and by a float operator',
    build: (g) => {
      const first = matmul(g, 'first', matrix(g));
      g.output(matmul(g, 'second', first), g.op('tanh', 'Tanh', [first]));
    },
    plan: `
      first MatMul: reads 0:x, 1:int8@1, makes first
      second MatMul: reads 0:first, 1:int8@1
      tanh Tanh: float, Tanh has no integer kernel in onnxruntime
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
    `,
    fused: 'MatMulIntegerToFloat(QLinearMatMul(Q(x))); Tanh(DQ(QLinearMatMul…))',
  },
  {
    name: 'a product read by an integer product that is also a graph output',
    build: (g) => {
      const first = gemm(g, [24]);
      g.output(linear(g, 'second', first, [24, 32]), first);
    },
    plan: `
      gemm Gemm: reads 0:x, 1:int8@1, 2:int32@0, makes gemm
      second_matmul MatMul: reads 0:gemm, 1:int8@1, bias in second:1 int32@0
      second Add: part of second_matmul
      --
      x: uint8 scale 0.01569 zero 64
      gemm: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(QGemm(Q(x))); DQ(QGemm…)',
  },
  {
    name: 'a product with three dimensions read by an integer product and by a float operator',
    build: (g) => {
      const first = linear(g, 'first', g.input('x', [2, 4, 32]));
      g.output(linear(g, 'second', first), g.op('tanh', 'Tanh', [first]));
    },
    plan: `
      first_matmul MatMul: reads 0:x, 1:int8@1, bias in first:1 int32@0
      first Add: part of first_matmul
      second_matmul MatMul: reads 0:first, 1:int8@1, bias in second:1 int32@0
      second Add: part of second_matmul
      tanh Tanh: float, Tanh has no integer kernel in onnxruntime
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
    `,
    fused: 'Reshape(QGemm(Reshape(Q(Reshape(QGemm(Reshape(Q(x)))))))); Tanh(Reshape…)',
  },
  {
    name: 'a product with three dimensions not all known read by an integer product and by a float operator',
    build: (g) => {
      const first = linear(g, 'first', g.input('x', ['n', 4, 32]));
      g.output(linear(g, 'second', first), g.op('tanh', 'Tanh', [first]));
    },
    plan: `
      first_matmul MatMul: reads 0:x, 1:int8@1, bias in first:1 float
      first Add: part of first_matmul
      second_matmul MatMul: reads 0:first, 1:int8@1, bias in second:1 float
      second Add: part of second_matmul
      tanh Tanh: float, Tanh has no integer kernel in onnxruntime
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
    `,
    fused: 'Add(MatMulIntegerToFloat(Q(Add(MatMulIntegerToFloat(Q(x)))))); Tanh(Add…)',
  },
  {
    name: 'Gemm of 8 products a sum between others',
    build: (g) => {
      const narrow = g.op('narrow', 'Gemm', [matrix(g), g.weight('narrow_w', [32, 8]), g.weight('narrow_b', [8])]);
      const wide = g.op('wide', 'Gemm', [narrow, g.weight('wide_w', [8, 32]), g.weight('wide_b', [32])]);
      g.output(g.op('last', 'Gemm', [wide, g.weight('last_w', [32, 16]), g.weight('last_b', [16])]));
    },
    plan: `
      narrow Gemm: reads 0:x, 1:int8@1, 2:int32@0
      wide Gemm: float, it adds up only 8 products, which is slower in integers than in float (below 16)
      last Gemm: reads 0:wide, 1:int8@1, 2:int32@0
      --
      x: uint8 scale 0.01569 zero 64
      wide: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(Gemm(QGemm(Q(x)))))',
  },
  {
    name: 'a product before a Relu that a float operator reads',
    build: (g) => g.output(g.op('tanh', 'Tanh', [g.op('relu', 'Relu', [gemm(g, [24])])])),
    plan: `
      gemm Gemm: reads 0:x, 1:int8@1, 2:int32@0, makes relu
      relu Relu: part of gemm
      tanh Tanh: float, Tanh has no integer kernel in onnxruntime
      --
      x: uint8 scale 0.01569 zero 64
      relu: uint8 scale 0.01176 zero 0
    `,
    fused: 'Tanh(DQ(QGemm(Q(x))))',
  },
  {
    name: 'a product before a Relu that is the output',
    build: (g) => g.output(g.op('relu', 'Relu', [gemm(g, [24])])),
    plan: `
      gemm Gemm: reads 0:x, 1:int8@1, 2:int32@0
      relu Relu: float, Relu has no integer kernel in onnxruntime
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'Relu(QGemm(Q(x)))',
  },
  {
    name: 'a product with three dimensions before a Relu that a float operator reads',
    build: (g) => g.output(g.op('tanh', 'Tanh', [g.op('relu', 'Relu', [linear(g, 'y', g.input('x', [2, 4, 32]))])])),
    plan: `
      y_matmul MatMul: reads 0:x, 1:int8@1, bias in y:1 int32@0
      y Add: part of y_matmul
      relu Relu: float, Relu has no integer kernel in onnxruntime
      tanh Tanh: float, Tanh has no integer kernel in onnxruntime
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'Tanh(Relu(Reshape(QGemm(Reshape(Q(x))))))',
  },
  {
    name: 'a product without bias before a Clip that leaves out 0',
    build: (g) => g.output(g.op('tanh', 'Tanh', [g.op('clip', 'Clip', [matmul(g, 'y', matrix(g)), g.floats('low', [0.1], []), g.floats('high', [1], [])])])),
    plan: `
      y MatMul: reads 0:x, 1:int8@1, makes y
      clip Clip: float, Clip has no integer kernel in onnxruntime
      tanh Tanh: float, Tanh has no integer kernel in onnxruntime
      --
      x: uint8 scale 0.01569 zero 64
      y: uint8 scale 0.01569 zero 64
    `,
    fused: 'Tanh(Clip(DQ(QLinearMatMul(Q(x)))))',
  },
  {
    name: 'a product and a residual Add of matrices',
    build: (g) => {
      const x = matrix(g);
      g.output(g.op('sum', 'Add', [matmul(g, 'y', x), x]));
    },
    plan: `
      y MatMul: reads 0:x, 1:int8@1, makes y
      sum Add: float, nothing that runs on integers reads it
      --
      x: uint8 scale 0.01569 zero 64
      y: uint8 scale 0.01569 zero 64
    `,
    fused: 'Add(DQ(QLinearMatMul(Q(x))), x)',
  },
  {
    name: 'a product and a residual Add in three dimensions',
    build: (g) => {
      const x = g.input('x', [2, 4, 32]);
      g.output(g.op('sum', 'Add', [x, matmul(g, 'y', x)]));
    },
    plan: `
      y MatMul: reads 0:x, 1:int8@1
      sum Add: float, nothing that runs on integers reads it
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'Add(x, MatMulIntegerToFloat(Q(x)))',
  },
  {
    name: 'a product with bias and a residual Add of matrices',
    build: (g) => {
      const x = matrix(g);
      g.output(g.op('sum', 'Add', [linear(g, 'y', x), x]));
    },
    plan: `
      y_matmul MatMul: reads 0:x, 1:int8@1, bias in y:1 int32@0
      y Add: part of y_matmul
      sum Add: float, nothing that runs on integers reads it
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'Add(QGemm(Q(x)), x)',
  },
  {
    name: 'a product and a vector that is computed',
    build: (g) => g.output(g.op('sum', 'Add', [matmul(g, 'y', g.input('x', [2, 4, 32])), g.op('bias', 'Tanh', [g.input('z', [32])])])),
    plan: `
      y MatMul: reads 0:x, 1:int8@1, makes y
      bias Tanh: float, Tanh has no integer kernel in onnxruntime
      sum Add: float, not all that feeds it runs on integers
      --
      x: uint8 scale 0.01569 zero 64
      y: uint8 scale 0.01569 zero 64
    `,
    fused: 'Add(DQ(QLinearMatMul(Q(x))), Tanh(z))',
  },
  {
    name: 'convolution, Flatten, and an excluded Gemm between products',
    exclude: ['middle'],
    build: (g) => {
      const conv = g.op('conv', 'Conv', [g.input('x', [2, 4, 4, 4]), g.weight('conv_w', [8, 4, 3, 3])]);
      const flat = g.op('flat', 'Flatten', [conv]);
      const middle = g.op('middle', 'Gemm', [flat, g.weight('middle_w', [32, 32]), g.weight('middle_b', [32])]);
      g.output(g.op('last', 'Gemm', [g.op('relu', 'Relu', [middle]), g.weight('last_w', [32, 16])]), g.op('other', 'Gemm', [flat, g.weight('other_w', [32, 16])]));
    },
    plan: `
      conv Conv: reads 0:x, 1:int8@0, makes conv
      flat Flatten: reads 0:conv, makes flat
      middle Gemm: float, excluded by --exclude
      relu Relu: float, Relu has no integer kernel in onnxruntime
      last Gemm: reads 0:relu, 1:int8@1
      other Gemm: reads 0:flat, 1:int8@1
      --
      x: uint8 scale 0.01569 zero 64
      conv: uint8 scale 0.01569 zero 64
      flat: as conv
      relu: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(Gemm(DQ(Flatten(QLinearConv(Q(x))))))); QGemm(Flatten…)',
  },
  {
    name: 'an excluded product with bias between products',
    exclude: ['middle_matmul'],
    build: (g) => {
      const first = linear(g, 'first', matrix(g));
      g.output(linear(g, 'last', linear(g, 'middle', first)), linear(g, 'other', first));
    },
    plan: `
      first_matmul MatMul: reads 0:x, 1:int8@1, bias in first:1 int32@0, makes first
      first Add: part of first_matmul
      middle_matmul MatMul: float, excluded by --exclude
      middle Add: float, not all that feeds it runs on integers
      last_matmul MatMul: reads 0:middle, 1:int8@1, bias in last:1 int32@0
      last Add: part of last_matmul
      other_matmul MatMul: reads 0:first, 1:int8@1, bias in other:1 int32@0
      other Add: part of other_matmul
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      middle: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(Gemm(DQ(QGemm(Q(x)))))); QGemm(QGemm…)',
  },
  {
    name: 'an excluded product with bias between products, three dimensions',
    exclude: ['middle_matmul'],
    build: (g) => {
      const first = matmul(g, 'first', g.input('x', [2, 4, 32]));
      g.output(linear(g, 'last', linear(g, 'middle', first)), linear(g, 'other', first));
    },
    plan: `
      first MatMul: reads 0:x, 1:int8@1, makes first
      middle_matmul MatMul: float, excluded by --exclude
      middle Add: float, not all that feeds it runs on integers
      last_matmul MatMul: reads 0:middle, 1:int8@1, bias in last:1 int32@0
      last Add: part of last_matmul
      other_matmul MatMul: reads 0:first, 1:int8@1, bias in other:1 int32@0
      other Add: part of other_matmul
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      middle: uint8 scale 0.01569 zero 64
    `,
    fused: 'Reshape(QGemm(Reshape(Reshape(Q(Gemm(Reshape(DQ(QLinearMatMul(Q(x)))))))))); Reshape(QGemm(Reshape(QLinearMatMul…)))',
  },
  {
    name: 'a weight that two products share',
    build: (g) => {
      const w = g.weight('w', [32, 32]);
      const first = g.op('first', 'MatMul', [matrix(g), w]);
      g.output(g.op('second', 'MatMul', [g.op('tanh', 'Tanh', [first]), w]));
    },
    plan: `
      first MatMul: reads 0:x, 1:int8@1
      tanh Tanh: float, Tanh has no integer kernel in onnxruntime
      second MatMul: reads 0:tanh, 1:int8@1
      --
      x: uint8 scale 0.01569 zero 64
      tanh: uint8 scale 0.01569 zero 64
    `,
    fused: 'MatMulIntegerToFloat(Q(Tanh(MatMulIntegerToFloat(Q(x)))))',
  },
  {
    name: 'a weight that products share along different axes',
    build: (g) => {
      const w = g.weight('w', [32, 32]);
      const first = g.op('first', 'Gemm', [matrix(g), w], { attributes: { transB: 1 } });
      g.output(g.op('second', 'MatMul', [g.op('tanh', 'Tanh', [first]), w]));
    },
    plan: `
      first Gemm: reads 0:x, 1:int8@0
      tanh Tanh: float, Tanh has no integer kernel in onnxruntime
      second MatMul: reads 0:tanh, 1:int8@1
      --
      x: uint8 scale 0.01569 zero 64
      tanh: uint8 scale 0.01569 zero 64
    `,
    fused: 'MatMulIntegerToFloat(Q(Tanh(QGemm(Q(x)))))',
  },
  {
    name: 'MatMul of 8 products a sum',
    build: (g) => g.output(matmul(g, 'y', matrix(g, 8), [8, 32])),
    plan: `
      y MatMul: float, it adds up only 8 products, which is slower in integers than in float (below 16)
      --
    `,
    fused: 'MatMul(x)',
  },
  {
    name: 'MatMul of two activations',
    build: (g) => g.output(g.op('y', 'MatMul', [matmul(g, 'a', matrix(g)), g.input('z', [32, 16])])),
    plan: `
      a MatMul: reads 0:x, 1:int8@1, makes a
      y MatMul: reads 0:a 1:z
      --
      x: uint8 scale 0.01569 zero 64
      a: uint8 scale 0.01569 zero 64
      z: uint8 scale 0.01569 zero 64
    `,
    fused: 'MatMulIntegerToFloat(QLinearMatMul(Q(x)), Q(z))',
  },
  {
    name: 'MatMul with the constant on the left',
    build: (g) => g.output(g.op('y', 'MatMul', [g.weight('w', [16, 32]), g.input('x', [32, 4])])),
    plan: `
      y MatMul: reads 1:x, 0:uint8
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'MatMulIntegerToFloat(Q(x))',
  },
  {
    name: 'MatMul with a constant of 8 columns on the left',
    build: (g) => g.output(g.op('y', 'MatMul', [g.weight('w', [16, 8]), g.input('x', [8, 4])])),
    plan: `
      y MatMul: float, it adds up only 8 products, which is slower in integers than in float (below 16)
      --
    `,
    fused: 'MatMul(x)',
  },
  {
    name: 'MatMul with a stack of weights',
    build: (g) => g.output(g.op('y', 'MatMul', [g.input('x', [3, 4, 32]), g.weight('w', [3, 32, 16])])),
    plan: `
      y MatMul: reads 0:x, 1:int8
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'MatMulIntegerToFloat(Q(x))',
  },
  {
    name: 'Gemm',
    build: (g) => g.output(gemm(g, [24])),
    plan: `
      gemm Gemm: reads 0:x, 1:int8@1, 2:int32@0
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(x))',
  },
  {
    name: 'Gemm without bias',
    build: (g) => g.output(gemm(g, undefined)),
    plan: `
      gemm Gemm: reads 0:x, 1:int8@1
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(x))',
  },
  {
    name: 'Gemm at operator set 12',
    opset: 12,
    build: (g) => g.output(gemm(g, [24])),
    plan: `
      Q/DQ of com.microsoft
      gemm Gemm: reads 0:x, 1:int8@1, 2:int32@0
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(x))',
  },
  {
    name: 'Gemm with transB',
    build: (g) => g.output(gemm(g, [24], { transB: 1 }, [24, 32])),
    plan: `
      gemm Gemm: reads 0:x, 1:int8@0, 2:int32@0
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(x))',
  },
  {
    name: 'Gemm with alpha and beta',
    build: (g) => g.output(gemm(g, [24], { alpha: float(0.5), beta: float(2) })),
    plan: `
      gemm Gemm: reads 0:x, 1:int8@1, 2:int32@0
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(x))',
  },
  {
    name: 'Gemm with transA',
    build: (g) => g.output(gemm(g, [24], { transA: 1 }, [32, 24], g.input('x', [32, 4]))),
    plan: `
      gemm Gemm: reads 0:x, 1:int8@1, 2:int32@0
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(x))',
  },
  {
    name: 'Gemm with a bias of [1, N]',
    build: (g) => g.output(gemm(g, [1, 24])),
    plan: `
      gemm Gemm: reads 0:x, 1:int8@1, 2:int32@1
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(x))',
  },
  {
    name: 'Gemm with a bias of one number',
    build: (g) => g.output(gemm(g, [1])),
    plan: `
      gemm Gemm: reads 0:x, 1:int8@1, 2:int32@0
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(x))',
  },
  {
    name: 'Gemm with a bias that is a scalar',
    build: (g) => g.output(gemm(g, [])),
    plan: `
      gemm Gemm: reads 0:x, 1:int8@1, 2:int32@0
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(x))',
  },
  {
    name: 'Gemm with a bias of [M, 1]',
    build: (g) => g.output(gemm(g, [4, 1])),
    plan: `
      gemm Gemm: reads 0:x, 1:int8@1, 2:int32@1
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(x))',
  },
  {
    name: 'Gemm with a bias of [M, N]',
    build: (g) => g.output(gemm(g, [4, 24])),
    plan: `
      gemm Gemm: reads 0:x, 1:int8@1, 2:int32@1
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(x))',
  },
  {
    name: 'Gemm with a bias that is computed',
    build: (g) => g.output(g.op('gemm', 'Gemm', [matrix(g), g.weight('w', [32, 24]), g.op('b', 'Tanh', [g.input('z', [24])])])),
    plan: `
      b Tanh: float, Tanh has no integer kernel in onnxruntime
      gemm Gemm: reads 0:x, 1:int8@1
      gemm_bias Add: float, not all that feeds it runs on integers
      --
      x: uint8 scale 0.01569 zero 64
    `,
    fused: 'Add(QGemm(Q(x)), Tanh(z))',
  },
  {
    name: 'Gemm of two activations',
    build: (g) => g.output(g.op('gemm', 'Gemm', [matrix(g), g.input('z', [24, 32]), g.weight('b', [24], 0.5)], { attributes: { transB: 1 } })),
    plan: `
      gemm Gemm: reads 0:x 1:z, 2:int32
      --
      x: uint8 scale 0.01569 zero 64
      z: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(x), Q(z))',
  },
  {
    name: 'Gemm of two activations with 8 products a sum, the first transposed',
    build: (g) => g.output(g.op('gemm', 'Gemm', [g.input('x', [8, 4]), g.input('z', [8, 24])], { attributes: { transA: 1 } })),
    plan: `
      gemm Gemm: float, it adds up only 8 products, which is slower in integers than in float (below 16)
      --
    `,
    fused: 'Gemm(x, z)',
  },
  {
    name: 'Gemm with the constant on the left',
    build: (g) => g.output(g.op('gemm', 'Gemm', [g.weight('w', [4, 32]), g.input('z', [32, 24]), g.weight('b', [24], 0.5)])),
    plan: `
      gemm Gemm: reads 1:z, 0:uint8, 2:int32
      --
      z: uint8 scale 0.01569 zero 64
    `,
    fused: 'QGemm(Q(z))',
  },
  {
    name: 'Gemm, Relu, Gemm and Softmax',
    build: (g) => {
      const relu = g.op('relu', 'Relu', [gemm(g, [24])]);
      const second = g.op('second', 'Gemm', [relu, g.weight('w2', [24, 10]), g.weight('b2', [10])]);
      g.output(g.op('probabilities', 'Softmax', [second], { attributes: { axis: -1 } }));
    },
    plan: `
      gemm Gemm: reads 0:x, 1:int8@1, 2:int32@0, makes relu
      relu Relu: part of gemm
      second Gemm: reads 0:relu, 1:int8@1, 2:int32@0
      probabilities Softmax: float, QLinearSoftmax takes longer than Softmax in float
      --
      x: uint8 scale 0.01569 zero 64
      relu: uint8 scale 0.01176 zero 0
    `,
    fused: 'Softmax(QGemm(QGemm(Q(x))))',
  },
  {
    name: 'attention with a mask of a finite number',
    build: (g) => {
      const x = g.input('x', [1, 16, 32]);
      const scores = g.op('scores', 'MatMul', [x, g.op('turned', 'Transpose', [matmul(g, 'k', x)], { attributes: { perm: [0, 2, 1] } })]);
      const masked = g.op('masked', 'Where', [g.input('keep', [1, 1, 16], 'bool'), scores, g.floats('low', [-10], [])]);
      g.output(g.op('y', 'MatMul', [g.op('softmax', 'Softmax', [masked], { attributes: { axis: -1 } }), x]));
    },
    plan: `
      k MatMul: reads 0:x, 1:int8@1, makes k
      turned Transpose: reads 0:k, makes turned
      scores MatMul: reads 0:x 1:turned
      masked Where: float, nothing that runs on integers reads it
      softmax Softmax: float, QLinearSoftmax takes longer than Softmax in float
      y MatMul: reads 0:softmax 1:x
      --
      x: uint8 scale 0.01569 zero 64
      k: uint8 scale 0.01569 zero 64
      turned: as k
      softmax: uint8 scale 0.003922 zero 0
    `,
    fused: 'MatMulIntegerToFloat(Q(Softmax(Where(keep, MatMulIntegerToFloat(Q(x), Transpose(QLinearMatMul(Q(x))))))), Q(x))',
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
    plan: `
      k MatMul: reads 0:x, 1:int8@1, makes k
      turned Transpose: reads 0:k, makes turned
      scores MatMul: reads 0:x 1:turned
      masked Where: float, the constant "low" contains NaN or infinity
      kept Where: float, not all that feeds it runs on integers
      softmax Softmax: float, QLinearSoftmax takes longer than Softmax in float
      y MatMul: reads 0:softmax 1:x
      --
      x: uint8 scale 0.01569 zero 64
      k: uint8 scale 0.01569 zero 64
      turned: as k
      softmax: uint8 scale 0.003922 zero 0
    `,
    fused: 'MatMulIntegerToFloat(Q(Softmax(Where(all, MatMulIntegerToFloat(Q(x), Transpose(QLinearMatMul(Q(x)))), Where(keep, MatMulIntegerToFloat…)))), Q(x))',
  },
  {
    name: 'embedding, product and Gather',
    build: (g) => {
      const embedded = g.op('embedded', 'Gather', [g.weight('table', [50, 32], 1), g.input('tokens', [1, 6], 'int64')]);
      const first = g.op('first', 'Gather', [matmul(g, 'product', embedded), g.ints('zero', [0], [])], { attributes: { axis: 1 } });
      g.output(matmul(g, 'y', first));
    },
    plan: `
      embedded Gather: float, what it would quantize is constant
      product MatMul: reads 0:embedded, 1:int8@1, makes product
      first Gather: reads 0:product, makes first
      y MatMul: reads 0:first, 1:int8@1
      --
      embedded: uint8 scale 0.01569 zero 64
      product: uint8 scale 0.01569 zero 64
      first: as product
    `,
    fused: 'MatMulIntegerToFloat(Gather(QLinearMatMul(Q(Gather(tokens)))))',
  },
  {
    name: 'encoder layer, shapes known',
    build: (g) => encoder(g, 2),
    plan: `
      q_matmul MatMul: reads 0:x, 1:int8@1, bias in q:1 int32@0, makes q
      q Add: part of q_matmul
      k_matmul MatMul: reads 0:x, 1:int8@1, bias in k:1 int32@0, makes k
      k Add: part of k_matmul
      v_matmul MatMul: reads 0:x, 1:int8@1, bias in v:1 int32@0, makes v
      v Add: part of v_matmul
      k_turned Transpose: reads 0:k, makes k_turned
      scores MatMul: reads 0:q 1:k_turned
      attention Softmax: float, QLinearSoftmax takes longer than Softmax in float
      context MatMul: reads 0:attention 1:v, makes context
      mixed_matmul MatMul: reads 0:context, 1:int8@1, bias in mixed:1 int32@0
      mixed Add: part of mixed_matmul
      sum1 Add: float, nothing that runs on integers reads it
      norm1_mean ReduceMean: float, ReduceMean has no integer kernel in onnxruntime
      norm1_center Sub: float, Sub has no integer kernel in onnxruntime
      norm1_square Pow: float, Pow has no integer kernel in onnxruntime
      norm1_variance ReduceMean: float, ReduceMean has no integer kernel in onnxruntime
      norm1_plus Add: float, not all that feeds it runs on integers
      norm1_root Sqrt: float, Sqrt has no integer kernel in onnxruntime
      norm1_div Div: float, Div has no integer kernel in onnxruntime
      norm1_scaled Mul: float, not all that feeds it runs on integers
      norm1 Add: float, not all that feeds it runs on integers
      wide_matmul MatMul: reads 0:norm1, 1:int8@1, bias in wide:1 int32@0
      wide Add: part of wide_matmul
      gelu_div Div: float, Div has no integer kernel in onnxruntime
      gelu_erf Erf: float, Erf has no integer kernel in onnxruntime
      gelu_one Add: float, not all that feeds it runs on integers
      gelu_mul Mul: float, not all that feeds it runs on integers
      gelu Mul: float, not all that feeds it runs on integers
      narrow_matmul MatMul: reads 0:gelu, 1:int8@1, bias in narrow:1 int32@0
      narrow Add: part of narrow_matmul
      sum2 Add: float, nothing that runs on integers reads it
      norm2_mean ReduceMean: float, ReduceMean has no integer kernel in onnxruntime
      norm2_center Sub: float, Sub has no integer kernel in onnxruntime
      norm2_square Pow: float, Pow has no integer kernel in onnxruntime
      norm2_variance ReduceMean: float, ReduceMean has no integer kernel in onnxruntime
      norm2_plus Add: float, not all that feeds it runs on integers
      norm2_root Sqrt: float, Sqrt has no integer kernel in onnxruntime
      norm2_div Div: float, Div has no integer kernel in onnxruntime
      norm2_scaled Mul: float, not all that feeds it runs on integers
      norm2 Add: float, not all that feeds it runs on integers
      --
      x: uint8 scale 0.01569 zero 64
      q: uint8 scale 0.01569 zero 64
      k: uint8 scale 0.01569 zero 64
      v: uint8 scale 0.01569 zero 64
      k_turned: as k
      attention: uint8 scale 0.003922 zero 0
      context: uint8 scale 0.01569 zero 64
      norm1: uint8 scale 0.01569 zero 64
      gelu: uint8 scale 0.01569 zero 64
    `,
    fused: 'SkipLayerNormalization(Reshape(QGemm(Reshape(Q(Gelu(Reshape(QGemm(Reshape(Q(SkipLayerNormalization(Reshape(QGemm(Reshape(QLinearMatMul(Q(Softmax(MatMulIntegerToFloat(Reshape(QGemm(Reshape(Q(x)))), Transpose(Reshape(QGemm(Reshape(Q(x)))))))), Reshape(QGemm(Reshape(Q(x)))))))), x)))))))))), SkipLayerNormalization…)',
  },
  {
    name: 'encoder layer, batch not known',
    build: (g) => encoder(g, 'n'),
    plan: `
      q_matmul MatMul: reads 0:x, 1:int8@1, bias in q:1 float, makes q
      q Add: part of q_matmul
      k_matmul MatMul: reads 0:x, 1:int8@1, bias in k:1 float, makes k
      k Add: part of k_matmul
      v_matmul MatMul: reads 0:x, 1:int8@1, bias in v:1 float, makes v
      v Add: part of v_matmul
      k_turned Transpose: reads 0:k, makes k_turned
      scores MatMul: reads 0:q 1:k_turned
      attention Softmax: float, QLinearSoftmax takes longer than Softmax in float
      context MatMul: reads 0:attention 1:v, makes context
      mixed_matmul MatMul: reads 0:context, 1:int8@1, bias in mixed:1 float
      mixed Add: part of mixed_matmul
      sum1 Add: float, nothing that runs on integers reads it
      norm1_mean ReduceMean: float, ReduceMean has no integer kernel in onnxruntime
      norm1_center Sub: float, Sub has no integer kernel in onnxruntime
      norm1_square Pow: float, Pow has no integer kernel in onnxruntime
      norm1_variance ReduceMean: float, ReduceMean has no integer kernel in onnxruntime
      norm1_plus Add: float, not all that feeds it runs on integers
      norm1_root Sqrt: float, Sqrt has no integer kernel in onnxruntime
      norm1_div Div: float, Div has no integer kernel in onnxruntime
      norm1_scaled Mul: float, not all that feeds it runs on integers
      norm1 Add: float, not all that feeds it runs on integers
      wide_matmul MatMul: reads 0:norm1, 1:int8@1, bias in wide:1 float
      wide Add: part of wide_matmul
      gelu_div Div: float, Div has no integer kernel in onnxruntime
      gelu_erf Erf: float, Erf has no integer kernel in onnxruntime
      gelu_one Add: float, not all that feeds it runs on integers
      gelu_mul Mul: float, not all that feeds it runs on integers
      gelu Mul: float, not all that feeds it runs on integers
      narrow_matmul MatMul: reads 0:gelu, 1:int8@1, bias in narrow:1 float
      narrow Add: part of narrow_matmul
      sum2 Add: float, nothing that runs on integers reads it
      norm2_mean ReduceMean: float, ReduceMean has no integer kernel in onnxruntime
      norm2_center Sub: float, Sub has no integer kernel in onnxruntime
      norm2_square Pow: float, Pow has no integer kernel in onnxruntime
      norm2_variance ReduceMean: float, ReduceMean has no integer kernel in onnxruntime
      norm2_plus Add: float, not all that feeds it runs on integers
      norm2_root Sqrt: float, Sqrt has no integer kernel in onnxruntime
      norm2_div Div: float, Div has no integer kernel in onnxruntime
      norm2_scaled Mul: float, not all that feeds it runs on integers
      norm2 Add: float, not all that feeds it runs on integers
      --
      x: uint8 scale 0.01569 zero 64
      q: uint8 scale 0.01569 zero 64
      k: uint8 scale 0.01569 zero 64
      v: uint8 scale 0.01569 zero 64
      k_turned: as k
      attention: uint8 scale 0.003922 zero 0
      context: uint8 scale 0.01569 zero 64
      norm1: uint8 scale 0.01569 zero 64
      gelu: uint8 scale 0.01569 zero 64
    `,
    fused: 'SkipLayerNormalization(MatMulIntegerToFloat(Q(BiasGelu(MatMulIntegerToFloat(Q(SkipLayerNormalization(MatMulIntegerToFloat(QLinearMatMul(Q(Softmax(MatMulIntegerToFloat(Q(Add(MatMulIntegerToFloat(Q(x)))), Transpose(Q(Add(MatMulIntegerToFloat(Q(x)))))))), Q(Add(MatMulIntegerToFloat(Q(x)))))), x)))))), SkipLayerNormalization…)',
  },
];
