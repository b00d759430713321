import { float, SAME_PADS, type GraphBuilder } from '../helpers/graph-builder.js';
import { attention } from './random-carriers.js';
import { Dice } from './random-graph.js';

/** Where a step takes its choices, its values and its earlier weights from. */
interface Bench {
  readonly g: GraphBuilder;
  readonly dice: Dice;
  /** A value made before, recent ones more often. */
  readonly value: () => string;
  /** A weight of these dimensions: now and then one that an earlier node reads too. */
  readonly weight: (name: string, dims: readonly number[]) => string;
}

type Step = (bench: Bench, name: string) => string;

const scalar = (g: GraphBuilder, name: string, value: number) => g.floats(name, [value], []);
const transpose = (g: GraphBuilder, name: string, x: string, perm: readonly number[]) => g.op(name, 'Transpose', [x], { attributes: { perm } });
const reshape = (g: GraphBuilder, name: string, x: string, dims: readonly number[]) => g.op(name, 'Reshape', [x, g.ints(`${name}_shape`, dims)]);

/** Activations as operators of their own and as exporters spell them out. */
const ACTIVATIONS: Readonly<Record<string, (g: GraphBuilder, name: string, x: string) => string>> = {
  none: (_, __, x) => x,
  relu: (g, name, x) => g.op(name, 'Relu', [x]),
  relu6: (g, name, x) => g.op(name, 'Clip', [x, scalar(g, `${name}_0`, 0), scalar(g, `${name}_6`, 6)]),
  leaky: (g, name, x) => g.op(name, 'LeakyRelu', [x], { attributes: { alpha: float(0.1) } }),
  prelu: (g, name, x) => g.op(name, 'PRelu', [x, g.weight(`${name}_slope`, [1], 0.3)]),
  elu: (g, name, x) => g.op(name, 'Elu', [x]),
  tanh: (g, name, x) => g.op(name, 'Tanh', [x]),
  silu: (g, name, x) => g.op(name, 'Mul', [x, g.op(`${name}_gate`, 'Sigmoid', [x])]),
  hardSigmoid: (g, name, x) => g.op(name, 'Mul', [x, g.op(`${name}_gate`, 'HardSigmoid', [x], { attributes: { alpha: float(1 / 6), beta: float(0.5) } })]),
  hardSwish: (g, name, x) => {
    const clipped = g.op(`${name}_clip`, 'Clip', [g.op(`${name}_plus`, 'Add', [x, scalar(g, `${name}_3`, 3)]), scalar(g, `${name}_0`, 0), scalar(g, `${name}_6`, 6)]);
    return g.op(name, 'Div', [g.op(`${name}_times`, 'Mul', [x, clipped]), scalar(g, `${name}_by`, 6)]);
  },
  gelu: (g, name, x) => {
    const erf = g.op(`${name}_erf`, 'Erf', [g.op(`${name}_div`, 'Div', [x, scalar(g, `${name}_root`, Math.SQRT2)])]);
    return g.op(name, 'Mul', [g.op(`${name}_mul`, 'Mul', [x, g.op(`${name}_add`, 'Add', [erf, scalar(g, `${name}_1`, 1)])]), scalar(g, `${name}_half`, 0.5)]);
  },
  mish: (g, name, x) => g.op(name, 'Mul', [x, g.op(`${name}_tanh`, 'Tanh', [g.op(`${name}_soft`, 'Softplus', [x])])]),
};

const activation = ({ g, dice }: Bench, name: string, x: string) => ACTIVATIONS[dice.pick(Object.keys(ACTIVATIONS))]!(g, `${name}_act`, x);

interface ConvSpec {
  readonly inputs?: number;
  readonly outputs?: number;
  readonly kernel?: number;
  readonly group?: number;
  readonly dilation?: number;
  readonly stride?: number;
}

/** A convolution that keeps the size where its stride is 1, with its bias in one of the ways of exporters. */
function conv({ g, dice, weight }: Bench, name: string, x: string, { inputs = 16, outputs = 16, kernel = 3, group = 1, dilation = 1, stride = 1 }: ConvSpec = {}): string {
  const pad = ((kernel - 1) / 2) * dilation;
  const attributes = { pads: [pad, pad, pad, pad], strides: [stride, stride], dilations: [dilation, dilation], group, kernel_shape: [kernel, kernel] };
  const w = weight(`${name}_w`, [outputs, inputs / group, kernel, kernel]);
  switch (dice.roll(4)) {
    case 0:
      return g.op(name, 'Conv', [x, w], { attributes });
    case 1:
      return g.op(name, 'Add', [g.op(`${name}_conv`, 'Conv', [x, w], { attributes }), g.weight(`${name}_b`, [1, outputs, 1, 1], 0.3)]);
    case 2: {
      const parts = ['scale', 'shift', 'mean'].map((part) => g.weight(`${name}_${part}`, [outputs], part === 'scale' ? 1 : 0.3));
      const variance = g.floats(`${name}_variance`, new Array<number>(outputs).fill(0.8));
      return g.op(name, 'BatchNormalization', [g.op(`${name}_conv`, 'Conv', [x, w], { attributes }), ...parts, variance]);
    }
    default:
      return g.op(name, 'Conv', [x, w, g.weight(`${name}_b`, [outputs], 0.3)], { attributes });
  }
}

/** A product with its bias in one of the ways of exporters. */
function linear({ g, dice, weight }: Bench, name: string, x: string, [rows, columns]: readonly [number, number] = [32, 32]): string {
  const product = g.op(`${name}_matmul`, 'MatMul', [x, weight(`${name}_w`, [rows, columns])]);
  const bias = () => g.weight(`${name}_b`, dice.roll(3) === 0 ? [1, columns] : [columns], 0.3);
  return [() => product, () => g.op(name, 'Add', [bias(), product]), () => g.op(name, 'Add', [product, bias()])][dice.pick([0, 1, 2, 2, 2])]!();
}

function norm(g: GraphBuilder, name: string, x: string): string {
  const mean = (key: string, of: string) => g.op(`${name}_${key}`, 'ReduceMean', [of], { attributes: { axes: [-1], keepdims: 1 } });
  const center = g.op(`${name}_center`, 'Sub', [x, mean('mean', x)]);
  const variance = mean('variance', g.op(`${name}_square`, 'Mul', [center, center]));
  const root = g.op(`${name}_root`, 'Sqrt', [g.op(`${name}_plus`, 'Add', [variance, scalar(g, `${name}_e`, 1e-3)])]);
  return g.op(name, 'Add', [g.op(`${name}_scaled`, 'Mul', [g.op(`${name}_div`, 'Div', [center, root]), g.floats(`${name}_gain`, new Array<number>(32).fill(1))]), g.weight(`${name}_shift`, [32], 0.1)]);
}

/** Steps from images of [1, 16, 8, 8] to such. */
const IMAGE_STEPS: Readonly<Record<string, Step>> = {
  conv: (bench, name) => activation(bench, name, conv(bench, name, bench.value(), { kernel: bench.dice.pick([1, 3, 5]), group: bench.dice.pick([1, 1, 2, 16]), dilation: bench.dice.pick([1, 1, 2]) })),
  residual: (bench, name) => {
    const x = bench.value();
    const inner = activation(bench, `${name}_1`, conv(bench, `${name}_1`, x));
    return activation(bench, name, bench.g.op(`${name}_sum`, 'Add', [conv(bench, `${name}_2`, inner), x]));
  },
  inverted: (bench, name) => {
    const x = bench.value();
    const wide = activation(bench, `${name}_1`, conv(bench, `${name}_1`, x, { outputs: 32, kernel: 1 }));
    const deep = activation(bench, `${name}_2`, conv(bench, `${name}_2`, wide, { inputs: 32, outputs: 32, group: 32 }));
    return bench.g.op(name, 'Add', [x, conv(bench, `${name}_3`, deep, { inputs: 32, kernel: 1 })]);
  },
  excite: (bench, name) => {
    const { g } = bench;
    const x = bench.value();
    const pooled = bench.dice.roll(2) === 0 ? g.op(`${name}_pool`, 'GlobalAveragePool', [x]) : g.op(`${name}_pool`, 'ReduceMean', [x], { attributes: { axes: [2, 3], keepdims: 1 } });
    const small = activation(bench, `${name}_1`, conv(bench, `${name}_1`, pooled, { kernel: 1 }));
    return g.op(name, 'Mul', [x, g.op(`${name}_gate`, bench.dice.pick(['Sigmoid', 'HardSigmoid', 'Softmax']), [conv(bench, `${name}_2`, small, { kernel: 1 })])]);
  },
  exciteGemm: (bench, name) => {
    const { g, weight } = bench;
    const x = bench.value();
    const flat = g.op(`${name}_flat`, 'Flatten', [g.op(`${name}_pool`, 'GlobalAveragePool', [x])]);
    const first = activation(bench, `${name}_1`, g.op(`${name}_1`, 'Gemm', [flat, weight(`${name}_1w`, [32, 16]), g.weight(`${name}_1b`, [32], 0.3)], { attributes: { transB: 1 } }));
    const second = g.op(`${name}_2`, 'Gemm', [first, weight(`${name}_2w`, [32, 16]), g.weight(`${name}_2b`, [16], 0.3)], { attributes: { alpha: float(bench.dice.pick([1, 0.5])) } });
    return g.op(name, 'Mul', [x, reshape(g, `${name}_gate`, g.op(`${name}_sigmoid`, 'Sigmoid', [second]), [1, 16, 1, 1])]);
  },
  dense: (bench, name) => {
    const [x, y] = [bench.value(), bench.value()];
    return conv(bench, name, bench.g.op(`${name}_joined`, 'Concat', [x, activation(bench, `${name}_1`, conv(bench, `${name}_1`, y))], { attributes: { axis: 1 } }), { inputs: 32, kernel: 1 });
  },
  crossStage: (bench, name) => {
    const { g } = bench;
    g.opWithInts(`${name}_split`, 'Split', bench.value(), 'split', [8, 8], { attributes: { axis: 1 }, outputs: [`${name}_left`, `${name}_right`] });
    const inner = activation(bench, `${name}_1`, conv(bench, `${name}_1`, `${name}_left`, { inputs: 8, outputs: 8 }));
    const parts = bench.dice.roll(2) === 0 ? [inner, `${name}_right`] : [`${name}_right`, inner, g.op(`${name}_sum`, 'Add', [inner, `${name}_left`])];
    return conv(bench, name, g.op(`${name}_c`, 'Concat', parts, { attributes: { axis: 1 } }), { inputs: 8 * parts.length, kernel: 1 });
  },
  pyramid: (bench, name) => {
    const { g, dice } = bench;
    const x = bench.value();
    const down = conv(bench, `${name}_down`, x, { stride: 2 });
    const scales = [g.floats(`${name}_roi`, []), g.floats(`${name}_scales`, [1, 1, 2, 2])];
    const up = dice.roll(3) === 0 ? g.op(`${name}_up`, 'ConvTranspose', [down, g.weight(`${name}_w`, [16, 16, 2, 2])], { attributes: { strides: [2, 2] } }) : g.op(`${name}_up`, 'Resize', [down, ...scales], { attributes: { mode: dice.pick(['nearest', 'linear']) } });
    return g.op(name, dice.pick(['Add', 'Mul', 'Max', 'Sub']), [x, up]);
  },
  pools: (bench, name) => {
    const { g } = bench;
    const x = bench.value();
    const pool = (key: string, opType: string) => g.op(`${name}_${key}`, opType, [x], { attributes: { kernel_shape: [3, 3], ...SAME_PADS } });
    return conv(bench, name, g.op(`${name}_joined`, 'Concat', [pool('max', 'MaxPool'), pool('average', 'AveragePool')], { attributes: { axis: 1 } }), { inputs: 32, kernel: 1 });
  },
  subpixel: (bench, name) => bench.g.op(name, 'SpaceToDepth', [conv(bench, `${name}_after`, bench.g.op(`${name}_up`, 'DepthToSpace', [conv(bench, `${name}_wide`, bench.value())], { attributes: { blocksize: 2 } }), { inputs: 4, outputs: 4 })], { attributes: { blocksize: 2 } }),
  padded: (bench, name) => {
    const { g, weight } = bench;
    const padded = g.op(`${name}_pad`, 'Pad', [bench.value(), g.ints(`${name}_pads`, [0, 0, 1, 1, 0, 0, 1, 1])]);
    return g.op(name, 'Conv', [padded, weight(`${name}_w`, [16, 16, 3, 3])]);
  },
  tokens: (bench, name) => {
    const { g } = bench;
    const rows = transpose(g, `${name}_rows`, reshape(g, `${name}_flat`, bench.value(), [1, 16, 64]), [0, 2, 1]);
    const mixed = activation(bench, name, linear(bench, `${name}_linear`, rows, [16, 16]));
    return reshape(g, name, transpose(g, `${name}_back`, mixed, [0, 2, 1]), [1, 16, 8, 8]);
  },
  oneD: (bench, name) => {
    const { g, weight } = bench;
    const flat = reshape(g, `${name}_flat`, bench.value(), [1, 16, 64]);
    return reshape(g, name, g.op(`${name}_conv`, 'Conv', [flat, weight(`${name}_w`, [16, 16, 3])], { attributes: { pads: [1, 1] } }), [1, 16, 8, 8]);
  },
  threeD: (bench, name) => {
    const { g, weight } = bench;
    const cube = reshape(g, `${name}_cube`, bench.value(), [1, 16, 1, 8, 8]);
    return reshape(g, name, g.op(`${name}_conv`, 'Conv', [cube, weight(`${name}_w`, [16, 16, 1, 3, 3])], { attributes: { pads: [0, 1, 1, 0, 1, 1] } }), [1, 16, 8, 8]);
  },
  masked: (bench, name) => {
    const { g } = bench;
    const x = bench.value();
    return g.op(name, 'Where', [g.op(`${name}_mask`, 'Greater', [x, scalar(g, `${name}_0`, 0.1)]), bench.value(), conv(bench, `${name}_conv`, x)]);
  },
  kernelOfInput: (bench, name) => {
    const { g } = bench;
    const pooled = reshape(g, `${name}_row`, g.op(`${name}_pool`, 'GlobalAveragePool', [bench.value()]), [1, 16]);
    return g.op(name, 'Conv', [bench.value(), reshape(g, `${name}_kernel`, linear(bench, `${name}_linear`, pooled, [16, 256]), [16, 16, 1, 1])]);
  },
  arithmetic: (bench, name) => bench.g.op(name, bench.dice.pick(['Add', 'Mul', 'Sub', 'Max', 'Min']), [bench.value(), bench.value()]),
};

/** Steps from [..., 16, 32] to such. */
const SEQUENCE_STEPS: Readonly<Record<string, Step>> = {
  linear: (bench, name) => activation(bench, name, linear(bench, name, bench.value())),
  feedForward: (bench, name) => {
    const x = bench.value();
    const wide = activation(bench, `${name}_1`, linear(bench, `${name}_1`, norm(bench.g, `${name}_norm`, x), [32, 64]));
    return bench.g.op(name, 'Add', [x, linear(bench, `${name}_2`, wide, [64, 32])]);
  },
  gated: (bench, name) => {
    const { g } = bench;
    const x = bench.value();
    const gate = activation(bench, `${name}_gate`, linear(bench, `${name}_gate`, x, [32, 48]));
    return linear(bench, name, g.op(`${name}_product`, 'Mul', [gate, linear(bench, `${name}_up`, x, [32, 48])]), [48, 32]);
  },
  halves: (bench, name) => {
    const { g } = bench;
    g.opWithInts(`${name}_split`, 'Split', linear(bench, name, bench.value(), [32, 64]), 'split', [32, 32], { attributes: { axis: -1 }, outputs: [`${name}_left`, `${name}_right`] });
    return g.op(`${name}_product`, 'Mul', [`${name}_left`, g.op(`${name}_sigmoid`, 'Sigmoid', [`${name}_right`])]);
  },
  residual: (bench, name) => bench.g.op(name, 'Add', [linear(bench, `${name}_linear`, bench.value()), bench.value()]),
  norm: (bench, name) => norm(bench.g, name, bench.value()),
  turned: (bench, name) => bench.g.op(name, 'Add', [bench.value(), bench.g.op(`${name}_product`, 'MatMul', [bench.weight(`${name}_left`, [16, 16]), bench.value()])]),
  similarity: (bench, name) => {
    const { g } = bench;
    const x = bench.value();
    const last = [0, 1, 2].slice(0, 3);
    const other = g.op(`${name}_t`, 'Transpose', [bench.value()], { attributes: { perm: [last[0]!, last[2]!, last[1]!] } });
    const scores = g.op(`${name}_scores`, 'Softmax', [g.op(`${name}_product`, 'MatMul', [x, other])], { attributes: { axis: -1 } });
    return g.op(name, 'MatMul', [scores, bench.value()]);
  },
  attention: (bench, name) => bench.g.op(name, 'Add', [attention(bench.g, `${name}_inner`, norm(bench.g, `${name}_norm`, bench.value()), bench.dice.pick(['slices', 'gathers', 'products'])), bench.value()]),
  masked: (bench, name) => {
    const { g, dice } = bench;
    const x = bench.value();
    const scores = g.op(`${name}_scores`, 'MatMul', [x, transpose(g, `${name}_t`, linear(bench, `${name}_k`, x), [0, 2, 1])]);
    const mask = g.op(`${name}_mask`, 'Greater', [scores, scalar(g, `${name}_0`, 0)]);
    const kept = g.op(`${name}_kept`, 'Where', [mask, scores, scalar(g, `${name}_low`, dice.pick([-10, -10_000, -Infinity]))]);
    const weights = g.op(`${name}_softmax`, 'Softmax', [g.op(`${name}_safe`, 'Max', [kept, scalar(g, `${name}_least`, -20_000)])], { attributes: { axis: -1 } });
    return g.op(name, 'MatMul', [weights, x]);
  },
  convolution: (bench, name) => {
    const { g, weight } = bench;
    const turned = transpose(g, `${name}_t`, bench.value(), [0, 2, 1]);
    return transpose(g, name, activation(bench, name, g.op(`${name}_conv`, 'Conv', [turned, weight(`${name}_w`, [32, 32, 3]), g.weight(`${name}_b`, [32], 0.3)], { attributes: { pads: [1, 1] } })), [0, 2, 1]);
  },
  positions: (bench, name) => bench.g.op(name, 'Add', [bench.value(), bench.g.weight(`${name}_p`, [1, 16, 32], 0.5)]),
  arithmetic: (bench, name) => bench.g.op(name, bench.dice.pick(['Add', 'Mul', 'Sub', 'Max']), [bench.value(), bench.value()]),
};

/** Steps from [16, 32] to such. */
const MATRIX_STEPS: Readonly<Record<string, Step>> = {
  ...Object.fromEntries(Object.entries(SEQUENCE_STEPS).filter(([kind]) => !['similarity', 'attention', 'masked', 'convolution', 'positions'].includes(kind))),
  gemm: (bench, name) => {
    const { g, dice, weight } = bench;
    const transB = dice.roll(2);
    const attributes = { transB, alpha: float(dice.pick([1, 0.7])), beta: float(dice.pick([1, 0.5])) };
    return activation(bench, name, g.op(name, 'Gemm', [bench.value(), weight(`${name}_w`, [32, 32]), g.weight(`${name}_b`, dice.pick([[32], [1, 32], [], [16, 32]]), 0.3)], { attributes }));
  },
  gemmResidual: (bench, name) => bench.g.op(name, 'Gemm', [bench.value(), bench.weight(`${name}_w`, [32, 32]), bench.value()]),
  gemmOfTwo: (bench, name) => {
    const { g } = bench;
    const scores = g.op(`${name}_scores`, 'Gemm', [bench.value(), bench.value()], { attributes: { transB: 1, alpha: float(0.2) } });
    return g.op(name, 'Gemm', [g.op(`${name}_softmax`, 'Softmax', [scores], { attributes: { axis: -1 } }), bench.value()]);
  },
  lookup: (bench, name) => bench.g.op(name, 'Gather', [bench.value(), bench.g.ints(`${name}_rows`, [3, 1, 2, 0, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4])]),
  ownScale: (bench, name) => bench.g.op(name, 'Mul', [linear(bench, `${name}_linear`, bench.value()), bench.g.weight(`${name}_scale`, [32], 1)]),
};

const SHAPES = {
  image: { dims: [1, 16, 8, 8], steps: IMAGE_STEPS },
  'open image': { dims: ['n', 16, 'h', 'w'], steps: Object.fromEntries(Object.entries(IMAGE_STEPS).filter(([kind]) => !['exciteGemm', 'tokens', 'oneD', 'threeD', 'kernelOfInput', 'pyramid', 'subpixel'].includes(kind))) },
  sequence: { dims: [2, 16, 32], steps: SEQUENCE_STEPS },
  'open sequence': { dims: ['n', 16, 32], steps: SEQUENCE_STEPS },
  matrix: { dims: [16, 32], steps: MATRIX_STEPS },
} as const satisfies Record<string, { readonly dims: readonly (number | string)[]; readonly steps: Readonly<Record<string, Step>> }>;

export const NETWORK_SHAPES = Object.keys(SHAPES) as (keyof typeof SHAPES)[];

/** A network of a few random blocks, with shared weights, values that several blocks read, and outputs that are read inside as well. */
export function buildRandomNetwork(g: GraphBuilder, shape: keyof typeof SHAPES, seed: number): void {
  const { dims, steps } = SHAPES[shape];
  const dice = new Dice(seed + 4711);
  const values = [g.input('x', dims)];
  const value = () => values[Math.max(0, values.length - 1 - dice.pick([0, 0, 0, 0, 1, 1, 2, 3]))]!;
  const weights = new Map<string, string[]>();
  const weight = (name: string, weightDims: readonly number[]) => {
    const key = weightDims.join();
    const known = weights.get(key) ?? [];
    if (known.length > 0 && dice.roll(6) === 0) return dice.pick(known);
    weights.set(key, [...known, name]);
    return g.weight(name, weightDims);
  };
  const count = 2 + dice.roll(5);
  for (let i = 0; i < count; i++) {
    const kind = dice.pick(Object.keys(steps));
    values.push((steps as Readonly<Record<string, Step>>)[kind]!({ g, dice, value, weight }, `${kind}${i}`));
  }
  g.output(values.at(-1)!, ...values.slice(1, -1).filter((name) => name !== values.at(-1) && dice.roll(5) === 0));
}
