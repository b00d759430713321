import { SAME_PADS, type GraphBuilder } from '../helpers/graph-builder.js';
import { Dice } from './random-graph.js';

type Step = (g: GraphBuilder, name: string, value: () => string) => string;

const slice = (g: GraphBuilder, name: string, value: string, axis: number, start: number, end: number) =>
  g.op(name, 'Slice', [value, g.ints(`${name}_starts`, [start]), g.ints(`${name}_ends`, [end]), g.ints(`${name}_axes`, [axis])]);
const reshape = (g: GraphBuilder, name: string, value: string, dims: readonly number[]) => g.op(name, 'Reshape', [value, g.ints(`${name}_shape`, dims)]);
const transpose = (g: GraphBuilder, name: string, value: string, perm: readonly number[]) => g.op(name, 'Transpose', [value], { attributes: { perm } });
const concat = (g: GraphBuilder, name: string, values: readonly string[], axis: number) => g.op(name, 'Concat', values, { attributes: { axis } });
const gather = (g: GraphBuilder, name: string, value: string, axis: number, indexes: readonly number[]) => g.op(name, 'Gather', [value, g.ints(`${name}_indexes`, indexes)], { attributes: { axis } });
const linear = (g: GraphBuilder, name: string, value: string, [rows, columns]: readonly [number, number]) =>
  g.op(name, 'Add', [g.op(`${name}_matmul`, 'MatMul', [value, g.weight(`${name}_w`, [rows, columns])]), g.weight(`${name}_b`, [columns], 0.5)]);

/** Steps from images of [1, 16, 8, 8] to such images that move elements, most of them to several readers. */
const IMAGE_STEPS: Readonly<Record<string, Step>> = {
  conv: (g, name, value) => g.op(name, 'Conv', [value(), g.weight(`${name}_w`, [16, 16, 3, 3]), g.weight(`${name}_b`, [16], 0.5)], { attributes: SAME_PADS }),
  convRelu: (g, name, value) => g.op(name, 'Relu', [g.op(`${name}_conv`, 'Conv', [value(), g.weight(`${name}_w`, [16, 16, 1, 1])])]),
  add: (g, name, value) => g.op(name, 'Add', [value(), value()]),
  tanh: (g, name, value) => g.op(name, 'Tanh', [value()]),
  turnBoth: (g, name, value) => {
    const turned = transpose(g, `${name}_t`, value(), [0, 1, 3, 2]);
    const conv = g.op(`${name}_conv`, 'Conv', [turned, g.weight(`${name}_w`, [16, 16, 1, 1])]);
    return g.op(name, 'Add', [turned, transpose(g, `${name}_back`, conv, [0, 1, 3, 2])]);
  },
  shuffle: (g, name, value) => reshape(g, name, transpose(g, `${name}_t`, reshape(g, `${name}_r`, value(), [1, 4, 4, 8, 8]), [0, 2, 1, 3, 4]), [1, 16, 8, 8]),
  swapHalves: (g, name, value) => {
    const x = value();
    return concat(g, name, [slice(g, `${name}_b`, x, 1, 8, 16), slice(g, `${name}_a`, x, 1, 0, 8)], 1);
  },
  convOneHalf: (g, name, value) => {
    g.opWithInts(`${name}_split`, 'Split', value(), 'split', [8, 8], { attributes: { axis: 1 }, outputs: [`${name}_a`, `${name}_b`] });
    return concat(g, name, [`${name}_a`, g.op(`${name}_conv`, 'Conv', [`${name}_b`, g.weight(`${name}_w`, [8, 8, 3, 3])], { attributes: SAME_PADS })], 1);
  },
  focus: (g, name, value) => {
    const x = value();
    const parts = [[0, 0], [0, 4], [4, 0], [4, 4]].map(([i, j], k) => slice(g, `${name}_s${k}`, slice(g, `${name}_r${k}`, x, 2, i!, i! + 4), 3, j!, j! + 4));
    return g.op(name, 'DepthToSpace', [g.op(`${name}_conv`, 'Conv', [concat(g, `${name}_c`, parts, 1), g.weight(`${name}_w`, [64, 64, 1, 1])])], { attributes: { blocksize: 2 } });
  },
  permute: (g, name, value) => gather(g, name, value(), 1, [3, 1, 2, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12]),
  squeeze: (g, name, value) => {
    const flat = g.opWithInts(`${name}_s`, 'Squeeze', value(), 'axes', [0]);
    const back = (to: string) => g.opWithInts(to, 'Unsqueeze', flat, 'axes', [0]);
    return g.op(name, 'Add', [back(`${name}_u`), g.op(`${name}_conv`, 'Conv', [back(`${name}_v`), g.weight(`${name}_w`, [16, 16, 1, 1])])]);
  },
  pyramid: (g, name, value) => {
    const pools = [value()];
    for (const i of [1, 2, 3]) pools.push(g.op(`${name}_p${i}`, 'MaxPool', [pools.at(-1)!], { attributes: { kernel_shape: [3, 3], ...SAME_PADS } }));
    return g.op(name, 'Conv', [concat(g, `${name}_c`, pools, 1), g.weight(`${name}_w`, [16, 64, 1, 1])]);
  },
};

/** Steps from [n, 32, 32] to such. */
const SEQUENCE_STEPS: Readonly<Record<string, Step>> = {
  linear: (g, name, value) => linear(g, name, value(), [32, 32]),
  add: (g, name, value) => g.op(name, 'Add', [value(), value()]),
  tanh: (g, name, value) => g.op(name, 'Tanh', [value()]),
  softmax: (g, name, value) => g.op(name, 'Softmax', [value()], { attributes: { axis: -1 } }),
  swap: (g, name, value) => transpose(g, name, linear(g, `${name}_linear`, transpose(g, `${name}_t`, value(), [0, 2, 1]), [32, 32]), [0, 2, 1]),
  halves: (g, name, value) => {
    const x = linear(g, `${name}_wide`, value(), [32, 64]);
    return g.op(name, 'Mul', [slice(g, `${name}_a`, x, 2, 0, 32), g.op(`${name}_gate`, 'Sigmoid', [slice(g, `${name}_b`, x, 2, 32, 64)])]);
  },
  joined: (g, name, value) => attention(g, name, value(), 'slices'),
  gathered: (g, name, value) => attention(g, name, value(), 'gathers'),
  separate: (g, name, value) => attention(g, name, value(), 'products'),
};

/** Attention with two heads: query, key and value cut from one product, or from three. */
export function attention(g: GraphBuilder, name: string, x: string, by: 'slices' | 'gathers' | 'products'): string {
  const parts = by === 'products' ? [0, 1, 2].map((i) => ownPart(g, `${name}_${i}`, x)) : cutParts(g, name, x, by);
  const [query = '', key = '', content = ''] = parts;
  const product = g.op(`${name}_qk`, 'MatMul', [g.op(`${name}_scaled`, 'Mul', [query, g.floats(`${name}_scale`, [0.25], [])]), transpose(g, `${name}_kt`, key, [0, 1, 3, 2])]);
  const mixed = g.op(`${name}_mixed`, 'MatMul', [g.op(`${name}_softmax`, 'Softmax', [product], { attributes: { axis: -1 } }), content]);
  return linear(g, name, reshape(g, `${name}_flat`, transpose(g, `${name}_heads`, mixed, [0, 2, 1, 3]), [0, -1, 32]), [32, 32]);
}

function ownPart(g: GraphBuilder, name: string, x: string): string {
  return transpose(g, name, reshape(g, `${name}_r`, linear(g, `${name}_linear`, x, [32, 32]), [0, -1, 2, 16]), [0, 2, 1, 3]);
}

function cutParts(g: GraphBuilder, name: string, x: string, by: 'slices' | 'gathers'): string[] {
  const all = transpose(g, `${name}_all`, reshape(g, `${name}_r`, linear(g, `${name}_qkv`, x, [32, 96]), [0, -1, 3, 2, 16]), [2, 0, 3, 1, 4]);
  return [0, 1, 2].map((i) =>
    by === 'gathers'
      ? g.op(`${name}_part${i}`, 'Gather', [all, g.ints(`${name}_at${i}`, [i], [])], { attributes: { axis: 0 } })
      : g.opWithInts(`${name}_part${i}`, 'Squeeze', slice(g, `${name}_s${i}`, all, 0, i, i + 1), 'axes', [0]),
  );
}

const SHAPES = {
  image: { dims: [1, 16, 8, 8], steps: IMAGE_STEPS },
  sequence: { dims: [2, 32, 32], steps: SEQUENCE_STEPS },
  'open sequence': { dims: ['n', 'm', 32], steps: SEQUENCE_STEPS },
} as const satisfies Record<string, { readonly dims: readonly (number | string)[]; readonly steps: Readonly<Record<string, Step>> }>;

export const CARRIER_SHAPES = Object.keys(SHAPES) as (keyof typeof SHAPES)[];

/** A graph of a few random steps in which values have several readers, and some are outputs as well. */
export function buildRandomCarriers(g: GraphBuilder, shape: keyof typeof SHAPES, seed: number): void {
  const { dims, steps } = SHAPES[shape];
  const dice = new Dice(seed + 77);
  const values = [g.input('x', dims)];
  const value = () => values[Math.max(0, values.length - 1 - dice.pick([0, 0, 0, 1, 1, 2]))]!;
  const count = 3 + dice.roll(5);
  for (let i = 0; i < count; i++) {
    // A swap needs as many rows as columns.
    const kinds = Object.keys(steps).filter((kind) => kind !== 'swap' || dims[1] === 32);
    const kind = dice.pick(kinds);
    values.push((steps)[kind]!(g, `${kind}${i}`, value));
  }
  g.output(values.at(-1)!, ...values.slice(1, -1).filter(() => dice.roll(6) === 0));
}
