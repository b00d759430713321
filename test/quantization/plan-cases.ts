import { float, GraphBuilder, SAME_PADS, type OpSpec } from '../helpers/graph-builder.js';
import type { PlanCase } from './plan-case.js';

const CHANNELS = 16;
const image = (g: GraphBuilder, channels = CHANNELS) => g.input('x', [1, channels, 8, 8]);

interface ConvSpec extends OpSpec {
  readonly dims?: readonly number[];
  readonly bias?: boolean;
  readonly opType?: string;
}

function conv(g: GraphBuilder, name: string, x: string, { dims = [CHANNELS, CHANNELS, 3, 3], bias = true, opType = 'Conv', ...spec }: ConvSpec = {}): string {
  const inputs = [x, g.weight(`${name}_w`, dims), ...(bias ? [g.weight(`${name}_b`, [dims[0]!], 0.5)] : [])];
  return g.op(name, opType, inputs, { attributes: SAME_PADS, ...spec });
}

/** A 1×1 convolution, which needs no pads. */
const pointwise = (g: GraphBuilder, name: string, x: string, outputs = CHANNELS, inputs = CHANNELS) =>
  conv(g, name, x, { dims: [outputs, inputs, 1, 1], attributes: {} });

const clip = (g: GraphBuilder, name: string, x: string, low: number, high: number) =>
  g.op(name, 'Clip', [x, g.floats(`${name}_low`, [low], []), g.floats(`${name}_high`, [high], [])]);

export const CONVOLUTION_CASES: readonly PlanCase[] = [
  {
    name: 'Conv, Relu, Conv',
    build: (g) => g.output(conv(g, 'second', g.op('relu', 'Relu', [conv(g, 'first', image(g))]))),
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes relu
      relu Relu: part of first
      second Conv: reads 0:relu, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      relu: uint8 scale 0.01176 zero 0
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConv(Q(x))))',
  },
  {
    name: 'Conv without bias, and with an empty name for it',
    build: (g) => g.output(g.op('second', 'Conv', [conv(g, 'first', image(g), { bias: false }), g.weight('second_w', [16, 16, 3, 3]), ''], { attributes: SAME_PADS })),
    plan: `
      first Conv: reads 0:x, 1:int8@0, makes first
      second Conv: reads 0:first, 1:int8@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConv(Q(x))))',
  },
  {
    name: 'a Conv at operator set 12',
    opset: 12,
    build: (g) => g.output(conv(g, 'second', g.op('relu', 'Relu', [conv(g, 'first', image(g))]))),
    plan: `
      Q/DQ of com.microsoft
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes relu
      relu Relu: part of first
      second Conv: reads 0:relu, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      relu: uint8 scale 0.01176 zero 0
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConv(Q(x))))',
  },
  {
    name: 'Conv per tensor',
    options: { perChannel: false },
    build: (g) => g.output(conv(g, 'conv', image(g))),
    plan: `
      conv Conv: reads 0:x, 1:int8, 2:int32, makes conv
      --
      x: uint8 scale 0.01569 zero 64
      conv: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(Q(x)))',
  },
  {
    name: 'a weight that two convolutions share',
    build: (g) => {
      const w = g.weight('w', [16, 16, 3, 3]);
      const first = g.op('first', 'Conv', [image(g), w, g.weight('first_b', [16])], { attributes: SAME_PADS });
      g.output(g.op('second', 'Conv', [first, w, g.weight('second_b', [16])], { attributes: SAME_PADS }));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      second Conv: reads 0:first, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConv(Q(x))))',
  },
  {
    name: 'Conv whose output is also a graph output',
    build: (g) => {
      const first = conv(g, 'first', image(g));
      g.output(first, conv(g, 'second', g.op('relu', 'Relu', [first])));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      relu Relu: float, Relu has no integer kernel in onnxruntime
      second Conv: reads 0:relu, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      relu: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(Q(x))); DQ(QLinearConv(Q(DQ(QLinearConv…))))',
  },
  {
    name: 'Conv that a float operator reads as well',
    build: (g) => {
      const first = conv(g, 'first', image(g));
      g.output(conv(g, 'second', first), g.op('tanh', 'Tanh', [first]));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      second Conv: reads 0:first, 1:int8@0, 2:int32@0, makes second
      tanh Tanh: float, Tanh has no integer kernel in onnxruntime
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConv(Q(x)))); Tanh(DQ(QLinearConv…))',
  },
  {
    name: 'Relu with a second reader',
    build: (g) => {
      const relu = g.op('relu', 'Relu', [conv(g, 'first', image(g))]);
      g.output(conv(g, 'second', relu), g.op('tanh', 'Tanh', [relu]));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes relu
      relu Relu: part of first
      second Conv: reads 0:relu, 1:int8@0, 2:int32@0, makes second
      tanh Tanh: float, Tanh has no integer kernel in onnxruntime
      --
      x: uint8 scale 0.01569 zero 64
      relu: uint8 scale 0.01176 zero 0
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConv(Q(x)))); Tanh(DQ(QLinearConv…))',
  },
  {
    name: 'Conv with two readers, one of them a Relu',
    build: (g) => {
      const first = conv(g, 'first', image(g));
      g.output(conv(g, 'second', g.op('relu', 'Relu', [first])), conv(g, 'third', first));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      relu Relu: float, Relu has no integer kernel in onnxruntime
      second Conv: reads 0:relu, 1:int8@0, 2:int32@0, makes second
      third Conv: reads 0:first, 1:int8@0, 2:int32@0, makes third
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      relu: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
      third: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(Q(DQ(QLinearConv(Q(x)))))); DQ(QLinearConv(QLinearConv…))',
  },
  {
    name: 'Clip(0, 6)',
    ranges: { clip: [0, 6] },
    build: (g) => g.output(conv(g, 'second', clip(g, 'clip', conv(g, 'first', image(g)), 0, 6))),
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes clip
      clip Clip: part of first
      second Conv: reads 0:clip, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      clip: uint8 scale 0.02353 zero 0
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConv(Q(x))))',
  },
  {
    name: 'Clip(−1, 1), whose range is no multiple of the scale',
    ranges: { clip: [-1, 1] },
    build: (g) => g.output(conv(g, 'second', clip(g, 'clip', conv(g, 'first', image(g)), -1, 1))),
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes clip
      clip Clip: part of first
      second Conv: reads 0:clip, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      clip: uint8 scale 0.007812 zero 127
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConv(Q(x))))',
  },
  {
    name: 'Clip with an upper bound only',
    ranges: { clip: [-2, 1] },
    build: (g) => g.output(conv(g, 'second', g.op('clip', 'Clip', [conv(g, 'first', image(g)), '', g.floats('high', [1], [])]))),
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes clip
      clip Clip: part of first
      second Conv: reads 0:clip, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      clip: uint8 scale 0.01176 zero 170
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConv(Q(x))))',
  },
  {
    name: 'Clip(0.5, 6), which leaves out 0',
    build: (g) => g.output(conv(g, 'second', clip(g, 'clip', conv(g, 'first', image(g)), 0.5, 6))),
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      clip Clip: float, Clip has no integer kernel in onnxruntime
      second Conv: reads 0:clip, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      clip: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(Q(Clip(DQ(QLinearConv(Q(x)))))))',
  },
  {
    name: 'Relu with symmetric s8 activations',
    options: { activationType: 'int8', symmetricActivations: true },
    build: (g) => g.output(conv(g, 'second', g.op('relu', 'Relu', [conv(g, 'first', image(g))]))),
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes relu, pair before relu
      relu Relu: part of first
      second Conv: reads 0:relu, 1:int8@0, 2:int32@0, makes second
      --
      x: int8 scale 0.02362 zero 0
      relu: int8 scale 0.02362 zero 0
      second: int8 scale 0.02362 zero 0
    `,
    fused: 'DQ(QLinearConv(Q(Relu(DQ(QLinearConv(Q(x)))))))',
  },
  {
    name: 'Clip(0, 6) with symmetric s8 activations',
    options: { activationType: 'int8', symmetricActivations: true },
    build: (g) => g.output(conv(g, 'second', clip(g, 'clip', conv(g, 'first', image(g)), 0, 6))),
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes clip, pair before clip
      clip Clip: part of first
      second Conv: reads 0:clip, 1:int8@0, 2:int32@0, makes second
      --
      x: int8 scale 0.02362 zero 0
      clip: int8 scale 0.02362 zero 0
      second: int8 scale 0.02362 zero 0
    `,
    fused: 'DQ(QLinearConv(Q(Clip(DQ(QLinearConv(Q(x)))))))',
  },
  {
    name: 'residual block: Add and Relu',
    build: (g) => {
      const stem = g.op('stem_relu', 'Relu', [conv(g, 'stem', image(g))]);
      const inner = conv(g, 'b', g.op('a_relu', 'Relu', [conv(g, 'a', stem)]));
      g.output(conv(g, 'head', g.op('sum_relu', 'Relu', [g.op('sum', 'Add', [inner, stem])])));
    },
    plan: `
      stem Conv: reads 0:x, 1:int8@0, 2:int32@0, makes stem_relu
      stem_relu Relu: part of stem
      a Conv: reads 0:stem_relu, 1:int8@0, 2:int32@0, makes a_relu
      a_relu Relu: part of a
      b Conv: reads 0:a_relu, 1:int8@0, 2:int32@0, makes b
      sum Add: reads 0:b 1:stem_relu, makes sum_relu
      sum_relu Relu: part of sum
      head Conv: reads 0:sum_relu, 1:int8@0, 2:int32@0, makes head
      --
      x: uint8 scale 0.01569 zero 64
      stem_relu: uint8 scale 0.01176 zero 0
      a_relu: uint8 scale 0.01176 zero 0
      b: uint8 scale 0.01569 zero 64
      sum_relu: uint8 scale 0.01176 zero 0
      head: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearAdd(QLinearConv(QLinearConv(QLinearConv(Q(x)))), QLinearConv…)))',
  },
  {
    name: 'residual block that ends in the output',
    build: (g) => {
      const stem = conv(g, 'stem', image(g));
      g.output(g.op('sum', 'Add', [conv(g, 'a', stem), stem]));
    },
    plan: `
      stem Conv: reads 0:x, 1:int8@0, 2:int32@0, makes stem
      a Conv: reads 0:stem, 1:int8@0, 2:int32@0, makes a
      sum Add: float, nothing that runs on integers reads it
      --
      x: uint8 scale 0.01569 zero 64
      stem: uint8 scale 0.01569 zero 64
      a: uint8 scale 0.01569 zero 64
    `,
    fused: 'Add(DQ(QLinearConv(QLinearConv(Q(x)))), DQ(QLinearConv…))',
  },
  {
    name: 'Add of a value to itself',
    build: (g) => {
      const stem = conv(g, 'stem', image(g));
      g.output(conv(g, 'head', g.op('sum', 'Add', [stem, stem])));
    },
    plan: `
      stem Conv: reads 0:x, 1:int8@0, 2:int32@0, makes stem
      sum Add: reads 0:stem 1:stem, makes sum
      head Conv: reads 0:sum, 1:int8@0, 2:int32@0, makes head
      --
      x: uint8 scale 0.01569 zero 64
      stem: uint8 scale 0.01569 zero 64
      sum: uint8 scale 0.01569 zero 64
      head: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearAdd(QLinearConv(Q(x)), QLinearConv…)))',
  },
  {
    name: 'Concat of branches',
    build: (g) => {
      const x = image(g);
      const parts = [g.op('relu', 'Relu', [conv(g, 'a', x)]), conv(g, 'b', x), x];
      g.output(pointwise(g, 'head', g.op('joined', 'Concat', parts, { attributes: { axis: 1 } }), 16, 48));
    },
    plan: `
      a Conv: reads 0:x, 1:int8@0, 2:int32@0, makes relu
      relu Relu: part of a
      b Conv: reads 0:x, 1:int8@0, 2:int32@0, makes b
      joined Concat: reads 0:relu 1:b 2:x, makes joined
      head Conv: reads 0:joined, 1:int8@0, 2:int32@0, makes head
      --
      x: uint8 scale 0.01569 zero 64
      relu: uint8 scale 0.01176 zero 0
      b: uint8 scale 0.01569 zero 64
      joined: uint8 scale 0.01569 zero 64
      head: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConcat(QLinearConv(Q(x)), QLinearConv(Q(x)), Q(x))))',
  },
  {
    name: 'Concat with a constant',
    build: (g) => {
      const joined = g.op('joined', 'Concat', [conv(g, 'a', image(g)), g.weight('extra', [1, 16, 8, 8], 2)], { attributes: { axis: 1 } });
      g.output(pointwise(g, 'head', joined, 16, 32));
    },
    plan: `
      a Conv: reads 0:x, 1:int8@0, 2:int32@0, makes a
      joined Concat: reads 0:a, 1:uint8, makes joined
      head Conv: reads 0:joined, 1:int8@0, 2:int32@0, makes head
      --
      x: uint8 scale 0.01569 zero 64
      a: uint8 scale 0.01569 zero 64
      joined: uint8 scale 0.01569 zero 64
      head: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConcat(QLinearConv(Q(x)))))',
  },
  {
    name: 'squeeze-excite block',
    build: (g) => {
      const stem = conv(g, 'stem', image(g));
      const squeezed = g.op('squeeze_relu', 'Relu', [pointwise(g, 'squeeze', g.op('pool', 'GlobalAveragePool', [stem]), 8)]);
      const gate = g.op('gate', 'Sigmoid', [pointwise(g, 'excite', squeezed, 16, 8)]);
      g.output(conv(g, 'head', g.op('scaled', 'Mul', [stem, gate])));
    },
    plan: `
      stem Conv: reads 0:x, 1:int8@0, 2:int32@0, makes stem
      pool GlobalAveragePool: reads 0:stem, makes pool
      squeeze Conv: reads 0:pool, 1:int8@0, 2:int32@0, makes squeeze_relu
      squeeze_relu Relu: part of squeeze
      excite Conv: reads 0:squeeze_relu, 1:int8@0, 2:int32@0, makes excite
      gate Sigmoid: reads 0:excite, makes gate
      scaled Mul: reads 0:stem 1:gate, makes scaled
      head Conv: reads 0:scaled, 1:int8@0, 2:int32@0, makes head
      --
      x: uint8 scale 0.01569 zero 64
      stem: uint8 scale 0.01569 zero 64
      pool: uint8 scale 0.01569 zero 64
      squeeze_relu: uint8 scale 0.01176 zero 0
      excite: uint8 scale 0.01569 zero 64
      gate: uint8 scale 0.01569 zero 64
      scaled: uint8 scale 0.01569 zero 64
      head: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearMul(QLinearConv(Q(x)), QLinearSigmoid(QLinearConv(QLinearConv(QLinearGlobalAveragePool(QLinearConv…)))))))',
  },
  {
    name: 'SiLU',
    build: (g) => {
      const first = conv(g, 'first', image(g));
      g.output(conv(g, 'second', g.op('silu', 'Mul', [first, g.op('sigmoid', 'Sigmoid', [first])])));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      sigmoid Sigmoid: reads 0:first, makes sigmoid
      silu Mul: reads 0:first 1:sigmoid, makes silu
      second Conv: reads 0:silu, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      sigmoid: uint8 scale 0.01569 zero 64
      silu: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearMul(QLinearConv(Q(x)), QLinearSigmoid(QLinearConv…))))',
  },
  {
    name: 'LeakyRelu and pools',
    build: (g) => {
      const leaky = g.op('leaky', 'LeakyRelu', [conv(g, 'first', image(g))], { attributes: { alpha: float(0.1) } });
      const pooled = g.op('average', 'AveragePool', [leaky], { attributes: { kernel_shape: [2, 2], strides: [2, 2] } });
      g.output(conv(g, 'second', g.op('max', 'MaxPool', [pooled], { attributes: { kernel_shape: [2, 2], strides: [2, 2] } })));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      leaky LeakyRelu: reads 0:first, makes leaky
      average AveragePool: reads 0:leaky, makes average
      max MaxPool: reads 0:average, makes max
      second Conv: reads 0:max, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      leaky: uint8 scale 0.01569 zero 64
      average: uint8 scale 0.01569 zero 64
      max: as average
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(MaxPool(QLinearConv(QLinearLeakyRelu(QLinearConv(Q(x)))))))',
  },
  {
    name: 'an AveragePool with zeros at its edges that count, and one with zeros that do not',
    build: (g) => {
      const padded = (name: string, x: string, counts: number) => g.op(name, 'AveragePool', [x], { attributes: { kernel_shape: [3, 3], ...SAME_PADS, count_include_pad: counts } });
      g.output(conv(g, 'third', padded('without', conv(g, 'second', padded('with', conv(g, 'first', image(g)), 1)), 0)));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      with AveragePool: reads 0:first, makes with
      second Conv: reads 0:with, 1:int8@0, 2:int32@0, makes second
      without AveragePool: reads 0:second, makes without
      third Conv: reads 0:without, 1:int8@0, 2:int32@0, makes third
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      with: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
      without: uint8 scale 0.01569 zero 64
      third: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearAveragePool(QLinearConv(QLinearConv(QLinearConv(Q(x)))))))',
  },
  {
    name: 'a BatchNormalization before its convolution, with a Relu between them',
    build: (g) => {
      const sum = g.op('sum', 'Add', [conv(g, 'first', image(g)), conv(g, 'beside', 'x')]);
      const channels = (name: string, at: (c: number) => number) => g.floats(name, Array.from({ length: CHANNELS }, (_, c) => at(c)));
      const normed = g.op('norm', 'BatchNormalization', [sum, channels('gain', (c) => (c % 3) - 0.9), channels('shift', (c) => Math.sin(c)), channels('mean', (c) => c / 20), channels('variance', (c) => 0.2 + c / 8)]);
      g.output(conv(g, 'second', g.op('relu', 'Relu', [normed])));
      g.output(g.op('rest', 'Tanh', [sum]));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      beside Conv: reads 0:x, 1:int8@0, 2:int32@0, makes beside
      sum Add: reads 0:first 1:beside, makes sum
      norm BatchNormalization: reads 0:sum, makes relu
      relu Relu: part of norm
      second Conv: reads 0:relu, 1:int8@0, 2:int32@0, makes second
      rest Tanh: float, Tanh has no integer kernel in onnxruntime
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      beside: uint8 scale 0.01569 zero 64
      sum: uint8 scale 0.01569 zero 64
      relu: uint8 scale 0.01176 zero 0
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConv(QLinearAdd(QLinearConv(Q(x)), QLinearConv(Q(x)))))); Tanh(DQ(QLinearAdd…))',
  },
  {
    name: 'operators with and without a kernel in a row',
    build: (g) => {
      const tanh = g.op('tanh', 'Tanh', [conv(g, 'first', image(g))]);
      const sigmoid = g.op('sigmoid', 'Sigmoid', [tanh]);
      g.output(conv(g, 'second', sigmoid));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      tanh Tanh: float, Tanh has no integer kernel in onnxruntime
      sigmoid Sigmoid: float, not all that feeds it runs on integers
      second Conv: reads 0:sigmoid, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      sigmoid: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(Q(Sigmoid(Tanh(DQ(QLinearConv(Q(x))))))))',
  },
  {
    name: 'Mul and Add by constants that no convolution takes up',
    build: (g) => {
      const pooled = g.op('pool', 'MaxPool', [conv(g, 'first', image(g))], { attributes: { kernel_shape: [2, 2] } });
      const scaled = g.op('scaled', 'Mul', [pooled, g.weight('gain', [16, 1, 1], 1)]);
      g.output(conv(g, 'second', g.op('shifted', 'Add', [g.weight('shift', [16, 1, 1], 1), scaled])));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      pool MaxPool: reads 0:first, makes pool
      scaled Mul: reads 0:pool, 1:uint8, makes scaled
      shifted Add: reads 1:scaled, 0:uint8, makes shifted
      second Conv: reads 0:shifted, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      pool: as first
      scaled: uint8 scale 0.01569 zero 64
      shifted: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearAdd(QLinearMul(MaxPool(QLinearConv(Q(x)))))))',
  },
  {
    name: 'Split, each part to a convolution',
    build: (g) => {
      g.opWithInts('split', 'Split', conv(g, 'first', image(g)), 'split', [8, 8], { attributes: { axis: 1 }, outputs: ['left', 'right'] });
      const parts = ['left', 'right'].map((part) => pointwise(g, `${part}_conv`, part, 8, 8));
      g.output(g.op('joined', 'Concat', parts, { attributes: { axis: 1 } }));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      split Split: reads 0:first, makes left right
      left_conv Conv: reads 0:left, 1:int8@0, 2:int32@0, makes left_conv
      right_conv Conv: reads 0:right, 1:int8@0, 2:int32@0, makes right_conv
      joined Concat: float, nothing that runs on integers reads it
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      left: as first
      right: as first
      left_conv: uint8 scale 0.01569 zero 64
      right_conv: uint8 scale 0.01569 zero 64
    `,
    fused: 'Concat(DQ(QLinearConv(Split(QLinearConv(Q(x))))), DQ(QLinearConv(Split…)))',
  },
  {
    name: 'Split with a part that nothing integer reads',
    build: (g) => {
      g.opWithInts('split', 'Split', conv(g, 'first', image(g)), 'split', [8, 8], { attributes: { axis: 1 }, outputs: ['left', 'right'] });
      g.output(pointwise(g, 'second', 'left', 8, 8), g.op('tanh', 'Tanh', ['right']));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      split Split: reads 0:first, makes left right
      second Conv: reads 0:left, 1:int8@0, 2:int32@0, makes second
      tanh Tanh: float, Tanh has no integer kernel in onnxruntime
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      left: as first
      right: as first
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(Split(QLinearConv(Q(x))))); Tanh(DQ(Split…))',
  },
  {
    name: 'channel shuffle',
    build: (g) => {
      const first = conv(g, 'first', image(g));
      const grouped = g.op('grouped', 'Reshape', [first, g.ints('grouped_shape', [1, 2, 8, 8, 8])]);
      const turned = g.op('turned', 'Transpose', [grouped], { attributes: { perm: [0, 2, 1, 3, 4] } });
      g.output(conv(g, 'second', g.op('flat', 'Reshape', [turned, g.ints('flat_shape', [1, 16, 8, 8])])));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      grouped Reshape: reads 0:first, makes grouped
      turned Transpose: reads 0:grouped, makes turned
      flat Reshape: reads 0:turned, makes flat
      second Conv: reads 0:flat, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      grouped: as first
      turned: as first
      flat: as first
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(Reshape(Transpose(Reshape(QLinearConv(Q(x)))))))',
  },
  {
    name: 'Transposes at the edges',
    build: (g) => {
      const turned = g.op('turned', 'Transpose', [g.input('x', [1, 8, 8, 16])], { attributes: { perm: [0, 3, 1, 2] } });
      g.output(g.op('back', 'Transpose', [conv(g, 'conv', turned)], { attributes: { perm: [0, 2, 3, 1] } }));
    },
    plan: `
      turned Transpose: float, not all that feeds it runs on integers
      conv Conv: reads 0:turned, 1:int8@0, 2:int32@0, makes conv
      back Transpose: float, nothing that runs on integers reads it
      --
      turned: uint8 scale 0.01569 zero 64
      conv: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(Transpose(QLinearConv(Transpose(Q(x)))))',
  },
  {
    name: 'MaxPool, then Relu',
    build: (g) => {
      const pooled = g.op('pool', 'MaxPool', [conv(g, 'first', image(g))], { attributes: { kernel_shape: [2, 2] } });
      g.output(conv(g, 'second', g.op('relu', 'Relu', [pooled])));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      pool MaxPool: float, nothing that runs on integers reads it
      relu Relu: float, Relu has no integer kernel in onnxruntime
      second Conv: reads 0:relu, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      relu: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(Q(DQ(MaxPool(QLinearConv(Q(x)))))))',
  },
  {
    name: 'Relu, then MaxPool',
    build: (g) => {
      const relu = g.op('relu', 'Relu', [conv(g, 'first', image(g))]);
      g.output(conv(g, 'second', g.op('pool', 'MaxPool', [relu], { attributes: { kernel_shape: [2, 2] } })));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes relu
      relu Relu: part of first
      pool MaxPool: reads 0:relu, makes pool
      second Conv: reads 0:pool, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      relu: uint8 scale 0.01176 zero 0
      pool: as relu
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(MaxPool(QLinearConv(Q(x)))))',
  },
  {
    name: 'MaxPool whose indices are read',
    danglesWithout: ['first', 'second'],
    build: (g) => {
      g.op('pool', 'MaxPool', [conv(g, 'first', image(g))], { attributes: { kernel_shape: [2, 2] }, outputs: ['pooled', 'where'] });
      g.output(conv(g, 'second', 'pooled'), 'where');
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      pool MaxPool: float, "where" is int64, not float32
      second Conv: reads 0:pooled, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      pooled: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(Q(MaxPool(DQ(QLinearConv(Q(x))))))); MaxPool…',
  },
  {
    name: 'nearest and linear Resize, DepthToSpace, ReduceMax',
    build: (g) => {
      const first = conv(g, 'first', image(g));
      const nearest = g.op('nearest', 'Resize', [first, g.floats('roi', []), g.floats('double', [1, 1, 2, 2])], { attributes: { mode: 'nearest' } });
      const linear = g.op('linear', 'Resize', [conv(g, 'second', nearest), g.floats('roi', []), g.floats('half', [1, 1, 0.5, 0.5])], { attributes: { mode: 'linear' } });
      const deep = g.op('deep', 'DepthToSpace', [conv(g, 'third', linear)], { attributes: { blocksize: 2 } });
      const highest = g.op('highest', 'ReduceMax', [pointwise(g, 'fourth', deep, 16, 4)], { attributes: { axes: [2, 3], keepdims: 1 } });
      g.output(pointwise(g, 'fifth', highest));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      nearest Resize: reads 0:first, makes nearest
      second Conv: reads 0:nearest, 1:int8@0, 2:int32@0, makes second
      linear Resize: float, Resize interpolates in float
      third Conv: reads 0:linear, 1:int8@0, 2:int32@0, makes third
      deep DepthToSpace: reads 0:third, makes deep
      fourth Conv: reads 0:deep, 1:int8@0, 2:int32@0, makes fourth
      highest ReduceMax: reads 0:fourth, makes highest
      fifth Conv: reads 0:highest, 1:int8@0, 2:int32@0, makes fifth
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      nearest: as first
      second: uint8 scale 0.01569 zero 64
      linear: uint8 scale 0.01569 zero 64
      third: uint8 scale 0.01569 zero 64
      deep: as third
      fourth: uint8 scale 0.01569 zero 64
      highest: as fourth
      fifth: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(ReduceMax(QLinearConv(DepthToSpace(QLinearConv(Q(Resize(DQ(QLinearConv(Resize(QLinearConv(Q(x)))))))))))))',
  },
  {
    name: 'depthwise and grouped convolutions',
    build: (g) => {
      const depthwise = conv(g, 'depthwise', image(g), { dims: [16, 1, 3, 3], attributes: { ...SAME_PADS, group: 16 } });
      g.output(conv(g, 'grouped', depthwise, { dims: [16, 4, 3, 3], attributes: { ...SAME_PADS, group: 4 } }));
    },
    plan: `
      depthwise Conv: reads 0:x, 1:int8@0, 2:int32@0, makes depthwise
      grouped Conv: reads 0:depthwise, 1:int8@0, 2:int32@0, makes grouped
      --
      x: uint8 scale 0.01569 zero 64
      depthwise: uint8 scale 0.01569 zero 64
      grouped: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConv(Q(x))))',
  },
  {
    name: '1-D convolutions',
    build: (g) => g.output(conv(g, 'second', conv(g, 'first', g.input('x', [1, 16, 32]), { dims: [16, 16, 3], attributes: {} }), { dims: [16, 16, 3], attributes: {} })),
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      second Conv: reads 0:first, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConv(Q(x))))',
  },
  {
    name: '3-D convolutions',
    build: (g) => g.output(conv(g, 'second', conv(g, 'first', g.input('x', [1, 8, 6, 6, 6]), { dims: [8, 8, 3, 3, 3], attributes: {} }), { dims: [8, 8, 3, 3, 3], attributes: {} })),
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      second Conv: reads 0:first, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConv(Q(x))))',
  },
  {
    name: 'ConvTranspose between convolutions',
    build: (g) => {
      const up = g.op('up', 'ConvTranspose', [conv(g, 'first', image(g)), g.weight('up_w', [16, 16, 2, 2])], { attributes: { strides: [2, 2] } });
      g.output(conv(g, 'second', up));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      up ConvTranspose: float, ConvTranspose has no integer kernel in onnxruntime
      second Conv: reads 0:up, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      up: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(Q(ConvTranspose(DQ(QLinearConv(Q(x)))))))',
  },
  {
    name: 'Conv with a weight that is computed',
    build: (g) => {
      const w = g.op('w', 'Tanh', [g.input('v', [16, 16, 3, 3])]);
      g.output(conv(g, 'second', g.op('first', 'Conv', [image(g), w, g.weight('b', [16])], { attributes: SAME_PADS })));
    },
    plan: `
      w Tanh: float, Tanh has no integer kernel in onnxruntime
      first Conv: reads 0:x 1:w, 2:int32, makes first
      second Conv: reads 0:first, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      w: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConv(Q(x), Q(Tanh(v)))))',
  },
  {
    name: 'batch norm, folded',
    build: (g) => {
      const first = conv(g, 'first', image(g), { bias: false });
      const normed = g.op('norm', 'BatchNormalization', [first, g.floats('gain', new Array(16).fill(1.5)), g.weight('shift', [16], 1), g.weight('mean', [16], 1), g.floats('variance', new Array(16).fill(2))]);
      g.output(conv(g, 'second', g.op('relu', 'Relu', [normed])));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes relu
      relu Relu: part of first
      second Conv: reads 0:relu, 1:int8@0, 2:int32@0, makes second
      --
      x: uint8 scale 0.01569 zero 64
      relu: uint8 scale 0.01176 zero 0
      second: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConv(Q(x))))',
  },
  {
    name: 'a convolution that is excluded, between two that are not',
    exclude: ['second'],
    build: (g) => g.output(conv(g, 'third', conv(g, 'second', conv(g, 'first', image(g))))),
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      second Conv: float, excluded by --exclude
      third Conv: reads 0:second, 1:int8@0, 2:int32@0, makes third
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
      third: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(Q(Conv(DQ(QLinearConv(Q(x)))))))',
  },
  {
    name: 'If whose bodies read an integer value',
    build: (g) => {
      const first = conv(g, 'first', image(g));
      const body = (name: string, opType: string) => {
        const inner = new GraphBuilder(g.opset);
        inner.op(`${name}_y`, opType, [first]);
        inner.output(`${name}_y`);
        return { kind: 'graph', value: inner.graph(name) } as const;
      };
      const chosen = g.op('chosen', 'If', [g.input('c', [], 'bool')], { attributes: { then_branch: body('then', 'Tanh'), else_branch: body('else', 'Neg') } });
      g.output(conv(g, 'second', chosen), conv(g, 'third', first));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      chosen If: float, If has no integer kernel in onnxruntime
      second Conv: reads 0:chosen, 1:int8@0, 2:int32@0, makes second
      third Conv: reads 0:first, 1:int8@0, 2:int32@0, makes third
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
      chosen: uint8 scale 0.01569 zero 64
      second: uint8 scale 0.01569 zero 64
      third: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(Q(If(c)))); DQ(QLinearConv(QLinearConv(Q(x))))',
  },
  {
    name: 'If whose body holds a convolution, which is left alone',
    build: (g) => {
      const first = conv(g, 'first', image(g));
      const body = (name: string, build: (inner: GraphBuilder) => string) => {
        const inner = new GraphBuilder(g.opset);
        inner.output(build(inner));
        return { kind: 'graph', value: inner.graph(name) } as const;
      };
      const then_branch = body('then', (inner) => conv(inner, 'then_conv', first));
      const else_branch = body('else', (inner) => inner.op('else_y', 'Neg', [first]));
      g.output(g.op('chosen', 'If', [g.input('c', [], 'bool')], { attributes: { then_branch, else_branch } }));
    },
    plan: `
      first Conv: reads 0:x, 1:int8@0, 2:int32@0, makes first
      chosen If: float, If has no integer kernel in onnxruntime
      --
      x: uint8 scale 0.01569 zero 64
      first: uint8 scale 0.01569 zero 64
    `,
    fused: 'If(c)',
  },
  {
    name: 'names that the recipe would give itself, and nodes without names',
    build: (g) => {
      g.op('', 'Conv', [g.input('x', [1, 16, 8, 8]), g.weight('w', [16, 16, 3, 3])], { attributes: SAME_PADS, outputs: ['x_q'] });
      g.op('', 'Relu', ['x_q'], { outputs: ['x_q_dq'] });
      g.op('', 'Conv', ['x_q_dq', g.weight('w_q', [16, 16, 3, 3])], { attributes: SAME_PADS, outputs: ['w_dq'] });
      g.op('x_Q', 'Relu', ['w_dq'], { outputs: ['zero_point_uint8_0_scalar'] });
      g.op('x_Q', 'Conv', ['zero_point_uint8_0_scalar', 'w'], { attributes: SAME_PADS, outputs: ['x_s'] });
      g.output('x_s');
    },
    plan: `
      Conv_x_q Conv: reads 0:x, 1:int8@0, makes x_q_dq
      Relu_x_q_dq Relu: part of Conv_x_q
      Conv_w_dq Conv: reads 0:x_q_dq, 1:int8@0, makes zero_point_uint8_0_scalar
      x_Q Relu: part of Conv_w_dq
      x_Q_1 Conv: reads 0:zero_point_uint8_0_scalar, 1:int8@0, makes x_s
      --
      x: uint8 scale 0.01569 zero 64
      x_q_dq: uint8 scale 0.01176 zero 0
      zero_point_uint8_0_scalar: uint8 scale 0.01176 zero 0
      x_s: uint8 scale 0.01569 zero 64
    `,
    fused: 'DQ(QLinearConv(QLinearConv(QLinearConv(Q(x)))))',
  },
];
