import type { Model } from '../../src/graph/model.js';
import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { float, GraphBuilder, noise } from './graph-builder.js';

const [WIDTH, HEADS, INNER, VOCABULARY, POSITIONS] = [64, 4, 128, 200, 32];

/**
 * A sentence encoder of two layers in the pattern of MiniLM as PyTorch exports it in operator set 17: lookups of words and positions, an attention mask, attention in
 * single operators with reshapes to computed shapes, separate Adds for biases, Gelu by Erf. The first layer normalizes by single operators,
 * the second by LayerNormalization. Inputs: `input_ids` and `attention_mask`, int64 [batch, sequence]; output: `last_hidden_state`.
 */
export function smallEncoder(): Model {
  const g = new GraphBuilder(17);
  const ids = g.input('input_ids', ['batch', 'sequence'], 'int64');
  const mask = attentionMask(g, g.input('attention_mask', ['batch', 'sequence'], 'int64'));
  const shape = g.op('shape', 'Shape', [ids]);
  const sizes = [0, 1].map((i) => g.op(`size${i}`, 'Gather', [shape, g.ints(`at${i}`, [i])]));
  const positions = g.op('positions', 'Slice', [g.weight('position_table', [POSITIONS, WIDTH], 0.1), g.ints('first', [0]), sizes[1]!, g.ints('rows', [0])]);
  const words = g.op('words', 'Gather', [g.weight('word_table', [VOCABULARY, WIDTH], 0.5), ids]);
  let x = layerNorm(g, 'embedded', g.op('embeddings', 'Add', [words, positions]), false);
  for (const layer of [0, 1]) {
    const single = layer === 1;
    x = layerNorm(g, `norm${layer}a`, g.op(`skip${layer}a`, 'Add', [attention(g, `attention${layer}`, x, mask, sizes), x]), single);
    const inner = gelu(g, `gelu${layer}`, linear(g, `up${layer}`, x, WIDTH, INNER));
    x = layerNorm(g, `norm${layer}b`, g.op(`skip${layer}b`, 'Add', [linear(g, `down${layer}`, inner, INNER, WIDTH), x]), single);
  }
  g.output(g.op('last_hidden_state', 'Identity', [x]));
  return g.model();
}

/** Inputs of the encoder; the last tokens are padding. */
export function smallSentence(seed: number, tokens = 24): Map<string, Tensor> {
  const ids = BigInt64Array.from(noise(tokens, seed), (value) => BigInt(Math.floor(((value + 1) / 2) * (VOCABULARY - 1))));
  const mask = BigInt64Array.from({ length: tokens }, (_, i) => (i < tokens - (seed % 5) ? 1n : 0n));
  return new Map([
    ['input_ids', tensorFromArray('int64', [1, tokens], ids)],
    ['attention_mask', tensorFromArray('int64', [1, tokens], mask)],
  ]);
}

/** 0 where attention may go, −10000 where it may not, in the shape of scores. */
function attentionMask(g: GraphBuilder, mask: string): string {
  const wide = g.op('mask_wide', 'Unsqueeze', [mask, g.ints('mask_axes', [1, 2])]);
  const away = g.op('mask_away', 'Sub', [g.floats('mask_one', [1], []), g.op('mask_float', 'Cast', [wide], { attributes: { to: 1 } })]);
  return g.op('mask', 'Mul', [away, g.floats('mask_low', [-10000], [])]);
}

function linear(g: GraphBuilder, name: string, x: string, from: number, to: number): string {
  return g.op(name, 'Add', [g.weight(`${name}_b`, [to], 0.1), g.op(`${name}_product`, 'MatMul', [x, g.weight(`${name}_w`, [from, to])])]);
}

function reshape(g: GraphBuilder, name: string, x: string, sizes: readonly string[], tail: readonly number[]): string {
  const target = g.op(`${name}_shape`, 'Concat', [...sizes, g.ints(`${name}_tail`, tail)], { attributes: { axis: 0 } });
  return g.op(name, 'Reshape', [x, target]);
}

function attention(g: GraphBuilder, name: string, x: string, mask: string, sizes: readonly string[]): string {
  const heads = (part: string, order: readonly number[]) =>
    g.op(`${name}_${part}`, 'Transpose', [reshape(g, `${name}_${part}_heads`, linear(g, `${name}_${part}_linear`, x, WIDTH, WIDTH), sizes, [HEADS, WIDTH / HEADS])], { attributes: { perm: order } });
  const products = g.op(`${name}_scores`, 'MatMul', [heads('query', [0, 2, 1, 3]), heads('key', [0, 2, 3, 1])]);
  const scaled = g.op(`${name}_scaled`, 'Div', [products, g.floats(`${name}_root`, [Math.sqrt(WIDTH / HEADS)], [])]);
  const shares = g.op(`${name}_shares`, 'Softmax', [g.op(`${name}_masked`, 'Add', [scaled, mask])], { attributes: { axis: -1 } });
  const mixed = g.op(`${name}_mixed`, 'Transpose', [g.op(`${name}_values`, 'MatMul', [shares, heads('value', [0, 2, 1, 3])])], { attributes: { perm: [0, 2, 1, 3] } });
  return linear(g, `${name}_out`, reshape(g, `${name}_flat`, mixed, sizes, [WIDTH]), WIDTH, WIDTH);
}

/** x · (1 + erf(x / √2)) / 2 */
function gelu(g: GraphBuilder, name: string, x: string): string {
  const erf = g.op(`${name}_erf`, 'Erf', [g.op(`${name}_div`, 'Div', [x, g.floats(`${name}_root`, [Math.SQRT2], [])])]);
  const product = g.op(`${name}_product`, 'Mul', [x, g.op(`${name}_add`, 'Add', [erf, g.floats(`${name}_one`, [1], [])])]);
  return g.op(name, 'Mul', [product, g.floats(`${name}_half`, [0.5], [])]);
}

function layerNorm(g: GraphBuilder, name: string, x: string, single: boolean): string {
  const gain = g.floats(`${name}_gain`, [...noise(WIDTH, 7)].map((value, c) => (c % 32 === 7 ? 4 : 1 + value / 4)));
  const bias = g.weight(`${name}_bias`, [WIDTH], 0.1);
  if (single) return g.op(name, 'LayerNormalization', [x, gain, bias], { attributes: { axis: -1, epsilon: float(1e-5) } });
  const mean = (part: string, of: string) => g.op(`${name}_${part}`, 'ReduceMean', [of], { attributes: { axes: [-1], keepdims: 1 } });
  const centered = g.op(`${name}_centered`, 'Sub', [x, mean('mean', x)]);
  const variance = mean('variance', g.op(`${name}_squared`, 'Pow', [centered, g.floats(`${name}_two`, [2], [])]));
  const deviation = g.op(`${name}_deviation`, 'Sqrt', [g.op(`${name}_safe`, 'Add', [variance, g.floats(`${name}_epsilon`, [1e-5], [])])]);
  const scaled = g.op(`${name}_scaled`, 'Mul', [g.op(`${name}_divided`, 'Div', [centered, deviation]), gain]);
  return g.op(name, 'Add', [scaled, bias]);
}
