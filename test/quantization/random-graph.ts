import { float, SAME_PADS, type GraphBuilder } from '../helpers/graph-builder.js';

/** A repeatable source of choices. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = Math.imul(seed + 1, 0x9e3779b1) >>> 0;
  }

  /** An integer from 0 to below `count`. */
  roll(count: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % count;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.roll(choices.length)]!;
  }
}

type Step = (g: GraphBuilder, name: string, value: () => string) => string;

const scalar = (g: GraphBuilder, name: string, value: number) => g.floats(name, [value], []);

const SHARED_STEPS: Readonly<Record<string, Step>> = {
  relu: (g, name, value) => g.op(name, 'Relu', [value()]),
  clip6: (g, name, value) => g.op(name, 'Clip', [value(), scalar(g, `${name}_low`, 0), scalar(g, `${name}_high`, 6)]),
  clip1: (g, name, value) => g.op(name, 'Clip', [value(), scalar(g, `${name}_low`, -1), scalar(g, `${name}_high`, 1)]),
  clipAbove: (g, name, value) => g.op(name, 'Clip', [value(), scalar(g, `${name}_low`, 0.1), scalar(g, `${name}_high`, 2)]),
  leaky: (g, name, value) => g.op(name, 'LeakyRelu', [value()], { attributes: { alpha: float(0.1) } }),
  sigmoid: (g, name, value) => g.op(name, 'Sigmoid', [value()]),
  tanh: (g, name, value) => g.op(name, 'Tanh', [value()]),
  add: (g, name, value) => g.op(name, 'Add', [value(), value()]),
  mul: (g, name, value) => g.op(name, 'Mul', [value(), g.op(`${name}_gate`, 'Sigmoid', [value()])]),
  sub: (g, name, value) => g.op(name, 'Sub', [value(), value()]),
  addConstant: (g, name, value) => g.op(name, 'Add', [value(), scalar(g, `${name}_c`, 0.3)]),
  mulConstant: (g, name, value) => g.op(name, 'Mul', [scalar(g, `${name}_c`, 0.7), value()]),
};

/** Steps from images of [1, 16, 8, 8] to such images. */
const IMAGE_STEPS: Readonly<Record<string, Step>> = {
  ...SHARED_STEPS,
  conv: (g, name, value) => g.op(name, 'Conv', [value(), g.weight(`${name}_w`, [16, 16, 3, 3]), g.weight(`${name}_b`, [16], 0.5)], { attributes: SAME_PADS }),
  pointwise: (g, name, value) => g.op(name, 'Conv', [value(), g.weight(`${name}_w`, [16, 16, 1, 1])]),
  depthwise: (g, name, value) => g.op(name, 'Conv', [value(), g.weight(`${name}_w`, [16, 1, 3, 3]), g.weight(`${name}_b`, [16], 0.5)], { attributes: { ...SAME_PADS, group: 16 } }),
  transposed: (g, name, value) => g.op(name, 'ConvTranspose', [value(), g.weight(`${name}_w`, [16, 16, 3, 3])], { attributes: SAME_PADS }),
  maxPool: (g, name, value) => g.op(name, 'MaxPool', [value()], { attributes: { kernel_shape: [3, 3], ...SAME_PADS } }),
  averagePool: (g, name, value) => g.op(name, 'AveragePool', [value()], { attributes: { kernel_shape: [3, 3], ...SAME_PADS } }),
  squeeze: (g, name, value) => g.op(name, 'Mul', [value(), g.op(`${name}_pool`, 'GlobalAveragePool', [value()])]),
  shuffle: (g, name, value) => {
    const grouped = g.op(`${name}_grouped`, 'Reshape', [value(), g.ints(`${name}_5`, [1, 2, 8, 8, 8])]);
    const turned = g.op(`${name}_turned`, 'Transpose', [grouped], { attributes: { perm: [0, 2, 1, 3, 4] } });
    return g.op(name, 'Reshape', [turned, g.ints(`${name}_4`, [1, 16, 8, 8])]);
  },
  turn: (g, name, value) => g.op(name, 'Transpose', [value()], { attributes: { perm: [0, 1, 3, 2] } }),
  concat: (g, name, value) => {
    const joined = g.op(`${name}_joined`, 'Concat', [value(), value()], { attributes: { axis: 1 } });
    return g.op(name, 'Conv', [joined, g.weight(`${name}_w`, [16, 32, 1, 1])]);
  },
  split: (g, name, value) => {
    const halves = [`${name}_left`, `${name}_right`];
    g.opWithInts(`${name}_split`, 'Split', value(), 'split', [8, 8], { attributes: { axis: 1 }, outputs: halves });
    return g.op(name, 'Concat', halves.reverse(), { attributes: { axis: 1 } });
  },
  resize: (g, name, value) => {
    const half = g.op(`${name}_half`, 'MaxPool', [value()], { attributes: { kernel_shape: [2, 2], strides: [2, 2] } });
    return g.op(name, 'Resize', [half, g.floats(`${name}_roi`, []), g.floats(`${name}_scales`, [1, 1, 2, 2])], { attributes: { mode: 'nearest' } });
  },
};

/** Steps from [..., 4, 32] to such. */
const SEQUENCE_STEPS: Readonly<Record<string, Step>> = {
  ...SHARED_STEPS,
  matmul: (g, name, value) => g.op(name, 'MatMul', [value(), g.weight(`${name}_w`, [32, 32])]),
  linear: (g, name, value) => g.op(name, 'Add', [g.op(`${name}_matmul`, 'MatMul', [value(), g.weight(`${name}_w`, [32, 32])]), g.weight(`${name}_b`, [32], 0.5)]),
  mlp: (g, name, value) => {
    const wide = g.op(`${name}_wide`, 'Add', [g.weight(`${name}_b`, [1, 64], 0.5), g.op(`${name}_up`, 'MatMul', [value(), g.weight(`${name}_w`, [32, 64])])]);
    return g.op(name, 'MatMul', [g.op(`${name}_relu`, 'Relu', [wide]), g.weight(`${name}_v`, [64, 32])]);
  },
  softmax: (g, name, value) => g.op(name, 'Softmax', [value()], { attributes: { axis: -1 } }),
  norm: (g, name, value) => g.op(name, 'Sub', [value(), g.op(`${name}_mean`, 'ReduceMean', [value()], { attributes: { axes: [-1], keepdims: 1 } })]),
};

const SHAPES = {
  image: { dims: [1, 16, 8, 8], steps: IMAGE_STEPS },
  matrix: { dims: [4, 32], steps: { ...SEQUENCE_STEPS, gemm: (g, name, value) => g.op(name, 'Gemm', [value(), g.weight(`${name}_w`, [32, 32]), g.weight(`${name}_b`, [32], 0.5)]) } },
  sequence: { dims: [2, 4, 32], steps: SEQUENCE_STEPS },
  'open sequence': { dims: ['n', 4, 32], steps: SEQUENCE_STEPS },
} as const satisfies Record<string, { readonly dims: readonly (number | string)[]; readonly steps: Readonly<Record<string, Step>> }>;

export const RANDOM_SHAPES = Object.keys(SHAPES) as (keyof typeof SHAPES)[];

/** A graph of up to twelve random steps; later steps read recent values more often, and some values are outputs beside the last. */
export function buildRandomGraph(g: GraphBuilder, shape: keyof typeof SHAPES, seed: number): void {
  const { dims, steps } = SHAPES[shape];
  const dice = new Dice(seed);
  const values = [g.input('x', dims)];
  const value = () => values[Math.max(0, values.length - 1 - dice.pick([0, 0, 0, 0, 1, 2, 3]))]!;
  const count = 3 + dice.roll(10);
  for (let i = 0; i < count; i++) {
    const kind = dice.pick(Object.keys(steps));
    const step = (steps as Readonly<Record<string, Step>>)[kind]!;
    values.push(step(g, `${kind}${i}`, value));
  }
  g.output(values.at(-1)!, ...values.slice(1, -1).filter(() => dice.roll(8) === 0));
}
