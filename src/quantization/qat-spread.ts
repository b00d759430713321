import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf, soleReader } from '../graph/graph-index.js';
import type { Model } from '../graph/model.js';
import { passResult, type PassResult } from '../passes/pass.js';
import { tensorFromArray } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { ruleOf } from './operator-rules.js';
import { readsIntegers } from './qat-pairs.js';
import { integerTensor } from './qat-layout-ops.js';
import { isDequantizeLinear, quantizerOf, replaceConstant } from './qat-quantizer.js';

/** Smallest scale that stays exact when it is divided by a power of two. */
const SMALLEST_SCALE = 2 ** -100;

/**
 * Spreads weights of few bits over the 8 in which they are stored: integers times a power of two, scales divided by it, which stands for the same
 * numbers bit for bit. A kernel adds its bias in whole multiples of input scale · weight scale, and those of 4 bits would be 16 times coarser than they
 * have to be. `largest` is the magnitude up to which products are exact on the target.
 */
export function spreadWeights(model: Model, largest: number): PassResult {
  const { graph } = model;
  const index = indexOf(graph);
  const editor = new GraphEditor(graph);
  const spread: string[] = [];
  for (const dequantize of graph.nodes.filter(isDequantizeLinear)) {
    const [name = '', scaleName = ''] = dequantize.inputs;
    const quantizer = quantizerOf(index, dequantize);
    const weight = index.constant(name);
    const reader = soleReader(index, dequantize.outputs[0]!);
    if (!weight || quantizer?.dtype !== 'int8' || quantizer.blockSize > 0 || index.uses(name).length > 1) continue;
    if (!reader || ruleOf(reader)?.kind !== 'compute' || reader.inputs[1] !== dequantize.outputs[0] || !readsIntegers(index, reader)) continue;
    const scales = Float32Array.from(quantizer.scales);
    if (Array.from(quantizer.zeroPoints).some((zero) => zero !== 0) || scales.some((scale) => scale < SMALLEST_SCALE)) continue;
    const integers = Float64Array.from(numbersOf(weight));
    const most = integers.reduce((magnitude, value) => Math.max(magnitude, Math.abs(value)), 0);
    const factor = most > 0 ? 2 ** Math.floor(Math.log2(largest / most)) : 1;
    if (factor <= 1) continue;
    const own = new Set([dequantize]);
    const inputs = [
      replaceConstant(editor, index, name, own, integerTensor('int8', weight.dims, integers.map((value) => value * factor))!),
      replaceConstant(editor, index, scaleName, own, tensorFromArray('float32', quantizer.scale.dims, scales.map((scale) => scale / factor))),
    ];
    editor.replace(dequantize, { ...dequantize, inputs: [...inputs, ...dequantize.inputs.slice(2)] });
    spread.push(name);
  }
  if (spread.length === 0) return { model, changes: [] };
  const message = `${spread.length} weights of few bits are spread over 8 by a power of two, which is exact, so that their biases are not rounded coarsely`;
  return passResult(model, editor.finish(), [{ pass: 'spread-weights', names: spread, message }]);
}
