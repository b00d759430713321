import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import type { Model } from '../../src/graph/model.js';
import { float, GraphBuilder, noise } from './graph-builder.js';

/** Shape of an encoder. */
export interface EncoderSpec {
  readonly hidden?: number;
  readonly heads?: number;
  readonly inner?: number;
  readonly tokens?: number;
  readonly layers?: number;
  /** Normalized before each part, with a residual of what came in; otherwise after it, where the normalized values are the residual of the next part. */
  readonly preNorm?: boolean;
  /** Channels whose scale in each normalization is so many times that of the others; what reads them has weights as many times smaller, as training makes them. */
  readonly outliers?: Readonly<Record<number, number>>;
  /** LayerNormalization written out in small operators. */
  readonly decomposed?: boolean;
}

const DEFAULTS: Required<EncoderSpec> = { hidden: 64, heads: 2, inner: 128, tokens: 24, layers: 2, preNorm: true, outliers: { 7: 24, 30: 60, 51: 40 }, decomposed: false };

/** A text encoder, "x" [1, tokens, hidden] → "y" of the same shape, with channels in its normalized activations that are far larger than the others. */
export function outlierEncoder(spec: EncoderSpec = {}): Model {
  const { hidden, heads, inner, tokens, layers, preNorm, outliers, decomposed } = { ...DEFAULTS, ...spec };
  const builder = new GraphBuilder(17);
  const factors = Array.from({ length: hidden }, (_, c) => outliers[c] ?? 1);
  let seed = 100;
  const vector = (name: string, count: number, of: (value: number, c: number) => number) => builder.floats(name, Array.from(noise(count, seed++), of));
  const matrix = (name: string, rows: number, columns: number, behindNorm: boolean) => {
    const values = noise(rows * columns, seed++).map((value, i) => (value * Math.sqrt(3 / rows)) / (behindNorm ? factors[Math.floor(i / columns)]! : 1));
    return builder.constant(name, tensorFromArray('float32', [rows, columns], values));
  };
  const linear = (name: string, x: string, rows: number, columns: number, behindNorm = false) =>
    builder.op(`${name}_out`, 'Add', [builder.op(name, 'MatMul', [x, matrix(`${name}_w`, rows, columns, behindNorm)]), vector(`${name}_b`, columns, (v) => v / 10)]);
  const norm = (name: string, x: string) => {
    const gamma = vector(`${name}_gamma`, hidden, (v, c) => (1 + v / 4) * factors[c]!);
    const beta = vector(`${name}_beta`, hidden, (v, c) => (v / 4) * factors[c]!);
    if (!decomposed) return builder.op(name, 'LayerNormalization', [x, gamma, beta], { attributes: { epsilon: float(1e-5) } });
    const mean = (value: string, output: string) => builder.op(output, 'ReduceMean', [value], { attributes: { axes: [-1] } });
    const centred = builder.op(`${name}_centred`, 'Sub', [x, mean(x, `${name}_mean`)]);
    const variance = mean(builder.op(`${name}_square`, 'Mul', [centred, centred]), `${name}_variance`);
    const deviation = builder.op(`${name}_deviation`, 'Sqrt', [builder.op(`${name}_eps`, 'Add', [variance, builder.floats(`${name}_e`, [1e-5], [])])]);
    const scaled = builder.op(`${name}_scaled`, 'Mul', [builder.op(`${name}_normal`, 'Div', [centred, deviation]), gamma]);
    return builder.op(name, 'Add', [scaled, beta]);
  };
  const split = builder.ints('split', [0, 0, heads, hidden / heads]);
  const join = builder.ints('join', [0, 0, hidden]);
  const attention = (name: string, x: string) => {
    const head = (part: string, perm: readonly number[]) =>
      builder.op(`${name}_${part}_heads`, 'Transpose', [builder.op(`${name}_${part}_split`, 'Reshape', [linear(`${name}_${part}`, x, hidden, hidden, true), split])], { attributes: { perm } });
    const scores = builder.op(`${name}_scores`, 'MatMul', [head('q', [0, 2, 1, 3]), head('k', [0, 2, 3, 1])]);
    const shares = builder.op(`${name}_shares`, 'Softmax', [builder.op(`${name}_scaled`, 'Mul', [scores, builder.floats(`${name}_factor`, [1 / Math.sqrt(hidden / heads)], [])])], { attributes: { axis: -1 } });
    const mixed = builder.op(`${name}_mixed`, 'Transpose', [builder.op(`${name}_context`, 'MatMul', [shares, head('v', [0, 2, 1, 3])])], { attributes: { perm: [0, 2, 1, 3] } });
    return linear(`${name}_o`, builder.op(`${name}_joined`, 'Reshape', [mixed, join]), hidden, hidden);
  };
  const feedForward = (name: string, x: string) => linear(`${name}_down`, builder.op(`${name}_relu`, 'Relu', [linear(`${name}_up`, x, hidden, inner, true)]), inner, hidden);
  let x = builder.input('x', [1, tokens, hidden]);
  if (!preNorm) x = norm('first', x);
  for (let layer = 0; layer < layers; layer++) {
    for (const [part, run] of Object.entries({ attention, feedForward })) {
      const name = `${part}${layer}`;
      x = preNorm
        ? builder.op(`${name}_sum`, 'Add', [x, run(name, norm(`${name}_norm`, x))])
        : norm(`${name}_norm`, builder.op(`${name}_sum`, 'Add', [x, run(name, x)]));
    }
  }
  const last = linear('head', preNorm ? norm('last', x) : x, hidden, hidden, true);
  builder.op('y', 'Identity', [last]);
  return builder.output('y').model();
}

/** A sample of such an encoder. */
export function encoderSample(seed: number, { hidden = DEFAULTS.hidden, tokens = DEFAULTS.tokens }: EncoderSpec = {}): ReadonlyMap<string, Tensor> {
  return new Map([['x', tensorFromArray('float32', [1, tokens, hidden], noise(tokens * hidden, 1000 + seed).map((value) => 2 * value))]]);
}
