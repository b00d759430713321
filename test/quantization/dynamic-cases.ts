import { float, SAME_PADS, type GraphBuilder, type OpSpec } from '../helpers/graph-builder.js';
import type { DynamicSetting } from './dynamic-graph.js';

/** A graph, the plan for it, what the runtime makes of the result, and how near to the float model it stays. */
export interface DynamicCase extends DynamicSetting {
  readonly name: string;
  readonly build: (g: GraphBuilder) => void;
  readonly opset?: number;
  readonly plan: string;
  /** Text of the fused graph. */
  readonly fused: string;
  /** Least SQNR of each output in dB; 30 unless told otherwise. */
  readonly minSqnrDb?: number;
}

const matrix = (g: GraphBuilder) => g.input('x', [4, 32]);
const sequence = (g: GraphBuilder) => g.input('x', ['batch', 5, 32]);

function lstm(g: GraphBuilder, directions: number, extra: readonly string[] = [], attributes: NonNullable<OpSpec['attributes']> = {}, outputs = ['y']): void {
  const hidden = 16;
  const inputs = [g.input('x', [6, 2, 24]), g.weight('w', [directions, 4 * hidden, 24]), g.weight('r', [directions, 4 * hidden, hidden]), ...extra];
  g.op('lstm', 'LSTM', inputs, { attributes: { hidden_size: hidden, ...attributes }, outputs });
  g.output(...outputs.filter(Boolean));
}

const bias = (g: GraphBuilder, directions: number) => g.weight('b', [directions, 128]);

export const PRODUCT_CASES: readonly DynamicCase[] = [
  {
    name: 'MatMul',
    build: (g) => g.output(g.op('y', 'MatMul', [sequence(g), g.weight('w', [32, 16])])),
    plan: 'y MatMul: DynamicQuantizeMatMul, 1:int8@1 ×16',
    fused: 'DynamicQuantizeMatMul(x)',
  },
  {
    name: 'MatMul per tensor, u8 weights',
    options: { perChannel: false, weightType: 'uint8' },
    build: (g) => g.output(g.op('y', 'MatMul', [matrix(g), g.weight('w', [32, 16])])),
    plan: 'y MatMul: DynamicQuantizeMatMul, 1:uint8 ×1',
    fused: 'DynamicQuantizeMatMul(x)',
  },
  {
    name: 'MatMul and its bias',
    build: (g) => g.output(g.op('y', 'Add', [g.op('product', 'MatMul', [sequence(g), g.weight('w', [32, 16])]), g.weight('b', [16])])),
    plan: 'product MatMul: DynamicQuantizeMatMul, 1:int8@1 ×16\ny Add: part of product',
    fused: 'DynamicQuantizeMatMul(x)',
  },
  {
    name: 'MatMul with the bias as first summand, of rank 3',
    build: (g) => g.output(g.op('y', 'Add', [g.weight('b', [1, 1, 16]), g.op('product', 'MatMul', [sequence(g), g.weight('w', [32, 16])])])),
    plan: 'product MatMul: DynamicQuantizeMatMul, 1:int8@1 ×16\ny Add: part of product',
    fused: 'DynamicQuantizeMatMul(x)',
  },
  {
    name: 'MatMul of one column, and a vector that looks like its bias',
    build: (g) => g.output(g.op('y', 'Add', [g.op('product', 'MatMul', [matrix(g), g.weight('w', [32, 1])]), g.weight('b', [5])])),
    plan:
      'product MatMul: float, the runtime would take the Add after it for a bias, which it is not\ny Add: float, Add is not quantized dynamically',
    fused: 'Add(MatMul(x))',
    minSqnrDb: 100,
  },
  {
    name: 'MatMul and an Add that adds a dimension',
    build: (g) => g.output(g.op('y', 'Add', [g.op('product', 'MatMul', [matrix(g), g.weight('w', [32, 16])]), g.weight('b', [1, 1, 16])])),
    plan:
      'product MatMul: float, the runtime would take the Add after it for a bias, but it may add dimensions\ny Add: float, Add is not quantized dynamically',
    fused: 'Add(MatMul(x))',
    minSqnrDb: 100,
  },
  {
    name: 'MatMul and an Add of a whole matrix, which is no bias',
    build: (g) => g.output(g.op('y', 'Add', [g.op('product', 'MatMul', [matrix(g), g.weight('w', [32, 16])]), g.weight('b', [4, 16])])),
    plan: 'product MatMul: DynamicQuantizeMatMul, 1:int8@1 ×16\ny Add: float, Add is not quantized dynamically',
    fused: 'Add(DynamicQuantizeMatMul(x))',
  },
  {
    name: 'MatMul whose product is read twice',
    build: (g) => {
      const product = g.op('product', 'MatMul', [matrix(g), g.weight('w', [32, 16])]);
      g.output(g.op('y', 'Add', [product, g.weight('b', [16])]), g.op('z', 'Tanh', [product]));
    },
    plan: 'product MatMul: DynamicQuantizeMatMul, 1:int8@1 ×16\ny Add: float, Add is not quantized dynamically\nz Tanh: float, Tanh is not quantized dynamically',
    fused: 'Add(DynamicQuantizeMatMul(x)); Tanh(DynamicQuantizeMatMul(x))',
  },
  {
    name: 'a batch of weight matrices, which take one scale',
    build: (g) => g.output(g.op('y', 'MatMul', [g.input('x', [2, 4, 32]), g.weight('w', [2, 32, 16], 0.2)])),
    plan: 'y MatMul: DynamicQuantizeMatMul, 1:int8 ×1',
    fused: 'DynamicQuantizeMatMul(x)',
  },
  {
    name: 'three products of one value, which is quantized once',
    build: (g) => {
      const x = sequence(g);
      for (const name of ['q', 'k', 'v']) g.output(g.op(name, 'Add', [g.op(`${name}_product`, 'MatMul', [x, g.weight(`${name}_w`, [32, 32])]), g.weight(`${name}_b`, [32])]));
    },
    plan: ['q', 'k', 'v'].map((name) => `${name}_product MatMul: MatMulIntegerToFloat, 1:int8@1 ×32\n${name} Add: part of ${name}_product`).join('\n'),
    fused: new Array<string>(3).fill('MatMulIntegerToFloat(DynamicQuantizeLinear(x), DynamicQuantizeLinear(x), DynamicQuantizeLinear(x))').join('; '),
  },
  {
    name: 'a weight that two products share',
    build: (g) => {
      const w = g.weight('w', [32, 32]);
      g.output(g.op('second', 'MatMul', [g.op('first', 'MatMul', [matrix(g), w]), w]));
    },
    plan: 'first MatMul: DynamicQuantizeMatMul, 1:int8@1 ×32\nsecond MatMul: DynamicQuantizeMatMul, 1:int8@1 ×32',
    fused: 'DynamicQuantizeMatMul(DynamicQuantizeMatMul(x))',
  },
  {
    name: 'Gemm with bias and transB',
    build: (g) => g.output(g.op('y', 'Gemm', [matrix(g), g.weight('w', [16, 32]), g.weight('b', [16])], { attributes: { transB: 1 } })),
    plan: 'y Gemm: DynamicQuantizeMatMul, 1:int8@0 ×16',
    fused: 'DynamicQuantizeMatMul(x)',
  },
  {
    name: 'Gemm without bias, with a bias for each row, and with one that is computed',
    build: (g) => {
      const x = matrix(g);
      const plain = g.op('plain', 'Gemm', [x, g.weight('w0', [32, 16])]);
      g.output(g.op('rows', 'Gemm', [plain, g.weight('w1', [16, 16]), g.weight('b1', [4, 1])]), g.op('computed', 'Gemm', [x, g.weight('w2', [32, 16]), plain]));
    },
    plan:
      'plain Gemm: MatMulIntegerToFloat, 1:int8@1 ×16\nrows Gemm: DynamicQuantizeMatMul, 1:int8@1 ×16\ncomputed Gemm: MatMulIntegerToFloat, 1:int8@1 ×16',
    fused:
      'Add(DynamicQuantizeMatMul(MatMulIntegerToFloat(DynamicQuantizeLinear(x), DynamicQuantizeLinear(x), DynamicQuantizeLinear(x)))); ' +
      'Add(MatMulIntegerToFloat(DynamicQuantizeLinear(x), DynamicQuantizeLinear(x), DynamicQuantizeLinear(x)), MatMulIntegerToFloat…)',
  },
  {
    name: 'Gemm with transA, and with alpha',
    build: (g) => {
      const w = g.weight('w', [32, 16]);
      g.output(g.op('a', 'Gemm', [g.input('x', [32, 4]), w], { attributes: { transA: 1 } }), g.op('b', 'Gemm', [g.input('z', [4, 32]), w], { attributes: { alpha: float(2) } }));
    },
    plan: 'a Gemm: float, Gemm with transA has no integer kernel\nb Gemm: float, Gemm with alpha has no integer kernel',
    fused: 'Gemm(x); Gemm(z)',
    minSqnrDb: 100,
  },
  {
    name: 'products that stay float',
    build: (g) => {
      const x = matrix(g);
      const left = g.op('left', 'MatMul', [g.weight('w0', [16, 4]), x]);
      const both = g.op('both', 'MatMul', [left, g.op('t', 'Transpose', [x], { attributes: { perm: [1, 0] } })]);
      g.output(g.op('shallow', 'MatMul', [both, g.weight('w1', [4, 8])]));
    },
    plan: [
      'left MatMul: float, its constant is the first factor, not the second',
      't Transpose: float, Transpose is not quantized dynamically',
      'both MatMul: float, both its factors are computed at run time; static quantization (--data) can bring it to integers',
      'shallow MatMul: float, it adds up only 4 products, which is slower in integers than in float (below 16)',
    ].join('\n'),
    fused: 'MatMul(FusedMatMul(MatMul(x), x))',
    minSqnrDb: 100,
  },
  {
    name: 'filters',
    filters: { exclude: ['second'] },
    build: (g) => g.output(g.op('second', 'MatMul', [g.op('first', 'MatMul', [matrix(g), g.weight('w0', [32, 32])]), g.weight('w1', [32, 32])])),
    plan: 'first MatMul: DynamicQuantizeMatMul, 1:int8@1 ×32\nsecond MatMul: float, excluded by --exclude',
    fused: 'MatMul(DynamicQuantizeMatMul(x))',
  },
  {
    name: 'all-zero columns, and a weight that is all zero',
    build: (g) => {
      const x = matrix(g);
      g.floats('w0', Array.from({ length: 32 * 16 }, (_, i) => (i % 16 < 3 ? 0 : Math.sin(i))), [32, 16]);
      g.floats('w1', new Array<number>(32 * 8).fill(0), [32, 8]);
      g.output(g.op('some', 'MatMul', [x, 'w0']), g.op('all', 'MatMul', [x, 'w1']));
    },
    plan: 'some MatMul: MatMulIntegerToFloat, 1:int8@1 ×16\nall MatMul: MatMulIntegerToFloat, 1:int8@1 ×8',
    fused: new Array<string>(2).fill('MatMulIntegerToFloat(DynamicQuantizeLinear(x), DynamicQuantizeLinear(x), DynamicQuantizeLinear(x))').join('; '),
  },
];

export const OTHER_CASES: readonly DynamicCase[] = [
  { name: 'LSTM', build: (g) => lstm(g, 1), plan: 'lstm LSTM: DynamicQuantizeLSTM, 1:int8@1 ×64, 2:int8@1 ×64', fused: 'DynamicQuantizeLSTM(x)' },
  {
    name: 'LSTM in both directions, with bias, states and activations of its own',
    build: (g) => {
      const activations = { kind: 'strings', value: ['HardSigmoid', 'Softsign', 'Tanh', 'Sigmoid', 'Tanh', 'Relu'] } as const;
      const extra = [bias(g, 2), '', g.weight('h0', [2, 2, 16]), g.weight('c0', [2, 2, 16])];
      lstm(g, 2, extra, { direction: 'bidirectional', activations }, ['y', 'y_h', 'y_c']);
    },
    plan: 'lstm LSTM: DynamicQuantizeLSTM, 1:int8@1 ×128, 2:int8@1 ×128',
    fused: 'DynamicQuantizeLSTM(x); DynamicQuantizeLSTM(x); DynamicQuantizeLSTM(x)',
  },
  {
    name: 'LSTM backwards, with peepholes and only its last state read',
    build: (g) => lstm(g, 1, [bias(g, 1), '', '', '', g.weight('p', [1, 48])], { direction: 'reverse' }, ['', 'y_h']),
    plan: 'lstm LSTM: DynamicQuantizeLSTM, 1:int8@1 ×64, 2:int8@1 ×64',
    fused: 'DynamicQuantizeLSTM(x)',
  },
  {
    name: 'LSTM per tensor in both directions, u8 weights',
    options: { perChannel: false, weightType: 'uint8' },
    build: (g) => lstm(g, 2, [], { direction: 'bidirectional' }),
    plan: 'lstm LSTM: DynamicQuantizeLSTM, 1:uint8@0 ×2, 2:uint8@0 ×2',
    fused: 'DynamicQuantizeLSTM(x)',
  },
  {
    name: 'GRU',
    build: (g) => g.output(g.op('y', 'GRU', [g.input('x', [6, 2, 24]), g.weight('w', [1, 48, 24]), g.weight('r', [1, 48, 16])], { attributes: { hidden_size: 16 } })),
    plan: 'y GRU: float, GRU has no integer kernel in onnxruntime',
    fused: 'GRU(x)',
    minSqnrDb: 100,
  },
  {
    name: 'a table of embeddings, and one that is too small',
    build: (g) => {
      const ids = g.input('ids', ['n'], 'int64');
      g.output(g.op('large', 'Gather', [g.weight('table', [2000, 16]), ids]), g.op('small', 'Gather', [g.weight('few', [16, 16]), ids]));
    },
    plan:
      'large Gather: weights-only, 0:int8@1 ×16, its table is stored in s8 with one scale a column (N dB) and dequantized after the lookup\n' +
      'small Gather: float, its table of 16 rows is too small to gain from integers',
    fused: 'DQ(Gather(ids)); Gather(ids)',
  },
  {
    name: 'a table of embeddings at operator set 12',
    opset: 12,
    build: (g) => g.output(g.op('y', 'Gather', [g.weight('table', [2000, 16]), g.input('ids', ['n', 3], 'int64')])),
    plan: 'y Gather: weights-only, 0:int8@1 ×16, its table is stored in s8 with one scale a column (N dB) and dequantized after the lookup',
    fused: 'DQ(Gather(ids))',
  },
  {
    name: 'a table of which integers would keep little',
    options: { perChannel: false },
    build: (g) => {
      g.floats('table', Array.from({ length: 2000 * 4 }, (_, i) => (i === 5 ? 1000 : Math.sin(i))), [2000, 4]);
      g.output(g.op('y', 'Gather', ['table', g.input('ids', ['n'], 'int64')]));
    },
    plan: 'y Gather: float, its table "table" would keep only N dB (below 30)',
    fused: 'Gather(ids)',
    minSqnrDb: 100,
  },
  {
    name: 'Conv',
    build: (g) => g.output(g.op('y', 'Conv', [g.input('x', [1, 16, 8, 8]), g.weight('w', [8, 16, 3, 3])], { attributes: SAME_PADS })),
    plan: 'y Conv: float, dynamic convolution (ConvInteger) is 4 to 10 times slower than float; static quantization (--data) can bring it to integers, --op-types Conv forces it',
    fused: 'Conv(x)',
    minSqnrDb: 100,
  },
  {
    name: 'Conv that the user asks for, with bias and groups',
    filters: { opTypes: ['Conv'] },
    build: (g) => {
      const x = g.input('x', [1, 16, 8, 8]);
      g.output(g.op('y', 'Conv', [x, g.weight('w', [8, 8, 3, 3]), g.weight('b', [8])], { attributes: { ...SAME_PADS, group: 2 } }));
    },
    plan: 'y Conv: ConvInteger, 1:int8@0 ×8',
    fused: 'Add(Mul(Cast(ConvInteger(DynamicQuantizeLinear(x), DynamicQuantizeLinear(x))), Mul(DynamicQuantizeLinear(x))))',
  },
];
