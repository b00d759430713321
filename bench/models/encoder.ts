import type { Model } from '../../src/graph/model.js';
import { float32Tensor, int64Tensor, tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { GraphBuilder, int, ints, valueInfo } from './graph-builder.js';
import { uniform } from './network.js';

/** Tokens of a sample. */
export const TOKENS = 128;

const LAYERS = 6;
const WIDTH = 384;
const HEADS = 12;
const INNER = 1536;
const VOCABULARY = 2000;
const DEVIATION = 0.04;

/** Channels whose layer norms amplify, as trained encoders have a few (T. Dettmers et al., LLM.int8(), 2022, section 4). */
const OUTLIER_CHANNELS = 3;
const OUTLIER_GAIN = 6;

/**
 * A sentence encoder in the shape of MiniLM-L6 with random weights, as PyTorch's exporter writes it in operator set 17: separate Adds for
 * biases, Gelu by Erf, attention in single operators, LayerNormalization. With dynamic shapes the dimensions are symbols, and Reshape
 * targets are computed from Shape.
 */
export function encoder(dynamic: boolean): Model {
  const build = new GraphBuilder();
  const dims = dynamic ? ['batch', 'sequence'] : [1, TOKENS];
  const mask = attentionMask(build);
  const shape = dynamic ? shapeOf(build, 'input_ids') : undefined;
  let x = build.add('Gather', [build.normal([VOCABULARY, WIDTH], DEVIATION), 'input_ids']);
  x = layerNorm(build, build.add('Add', [x, build.normal([1, TOKENS, WIDTH], DEVIATION / 2)]));
  for (let layer = 0; layer < LAYERS; layer++) {
    x = layerNorm(build, build.add('Add', [attention(build, x, mask, shape), x]));
    x = layerNorm(build, build.add('Add', [linear(build, gelu(build, linear(build, x, WIDTH, INNER)), INNER, WIDTH), x]));
  }
  return build.finish(
    [valueInfo('input_ids', 'int64', dims), valueInfo('attention_mask', 'int64', dims)],
    [valueInfo(x, 'float32', [...dims, WIDTH])],
  );
}

/** Inputs of the encoder: tokens by Zipf's law, the last ones padding in some samples. */
export function sentence(seed: number): Map<string, Tensor> {
  const random = uniform(seed);
  const ids = BigInt64Array.from({ length: TOKENS }, () => BigInt(Math.floor(VOCABULARY ** random()) - 1));
  const length = Math.ceil(TOKENS * Math.min(1, 0.5 + random()));
  const mask = BigInt64Array.from({ length: TOKENS }, (_, i) => (i < length ? 1n : 0n));
  return new Map([
    ['input_ids', tensorFromArray('int64', [1, TOKENS], ids)],
    ['attention_mask', tensorFromArray('int64', [1, TOKENS], mask)],
  ]);
}

/** 0 where attention may go, −10000 where it may not, in the shape of scores. */
function attentionMask(build: GraphBuilder): string {
  const wide = build.add('Unsqueeze', ['attention_mask', build.constant(int64Tensor([1, 2]))]);
  const away = build.add('Sub', [build.constant(float32Tensor(1)), build.add('Cast', [wide], { to: int(1) })]);
  return build.add('Mul', [away, build.constant(float32Tensor(-10000))]);
}

/** Batch size and sequence length as vectors of one element. */
function shapeOf(build: GraphBuilder, value: string): string[] {
  const shape = build.add('Shape', [value]);
  return [0, 1].map((i) => build.add('Unsqueeze', [build.add('Gather', [shape, build.constant(int64Tensor(i))]), build.constant(int64Tensor([0]))]));
}

function linear(build: GraphBuilder, x: string, from: number, to: number): string {
  const product = build.add('MatMul', [x, build.normal([from, to], DEVIATION)]);
  return build.add('Add', [build.normal([to], DEVIATION), product]);
}

function reshape(build: GraphBuilder, x: string, shape: readonly string[] | undefined, tail: readonly number[]): string {
  const target = shape
    ? build.add('Concat', [...shape, ...tail.map((dim) => build.constant(int64Tensor([dim])))], { axis: int(0) })
    : build.constant(int64Tensor([1, TOKENS, ...tail]));
  return build.add('Reshape', [x, target]);
}

function attention(build: GraphBuilder, x: string, mask: string, shape: readonly string[] | undefined): string {
  const heads = (order: readonly number[]) =>
    build.add('Transpose', [reshape(build, linear(build, x, WIDTH, WIDTH), shape, [HEADS, WIDTH / HEADS])], { perm: ints(...order) });
  const query = heads([0, 2, 1, 3]);
  const key = heads([0, 2, 3, 1]);
  const value = heads([0, 2, 1, 3]);
  const scores = build.add('Div', [build.add('MatMul', [query, key]), build.constant(float32Tensor(Math.sqrt(WIDTH / HEADS)))]);
  const shares = build.add('Softmax', [build.add('Add', [scores, mask])], { axis: int(-1) });
  const mixed = build.add('Transpose', [build.add('MatMul', [shares, value])], { perm: ints(0, 2, 1, 3) });
  return linear(build, reshape(build, mixed, shape, [WIDTH]), WIDTH, WIDTH);
}

/** x · (1 + erf(x / √2)) / 2 */
function gelu(build: GraphBuilder, x: string): string {
  const erf = build.add('Erf', [build.add('Div', [x, build.constant(float32Tensor(Math.SQRT2))])]);
  const product = build.add('Mul', [x, build.add('Add', [erf, build.constant(float32Tensor(1))])]);
  return build.add('Mul', [product, build.constant(float32Tensor(0.5))]);
}

function layerNorm(build: GraphBuilder, x: string): string {
  const gains = Float32Array.from({ length: WIDTH }, (_, c) => (c % (WIDTH / OUTLIER_CHANNELS) === 7 ? OUTLIER_GAIN : 1) * Math.exp(0.15 * build.sample()));
  const weights = build.constant(tensorFromArray('float32', [WIDTH], gains), 'weight');
  return build.add('LayerNormalization', [x, weights, build.normal([WIDTH], 0.1)], { axis: int(-1), epsilon: { kind: 'float', value: 1e-12 } });
}
