import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { BlockFormat } from '../../src/quantization/weight-only-format.js';
import { roundWithProducts, type RoundedWeight } from '../../src/quantization/weight-only-gptq.js';
import { fitHalfQuadratic } from '../../src/quantization/weight-only-hqq.js';
import { packWeight } from '../../src/quantization/weight-only-packing.js';
import { fitRange, type FitBlock } from '../../src/quantization/weight-only-rounding.js';
import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { noise, noiseTensor } from '../helpers/graph-builder.js';

const [DEPTH, CHANNELS] = [70, 24];
const weight = noiseTensor([DEPTH, CHANNELS], 1);
const refuse = () => new Error('not finite');

/** Σ x xᵀ of inputs whose elements go together, as those of networks do; `dead` ones are always zero. */
function products(rows: number, dead: readonly number[] = []): Float64Array {
  const sum = new Float64Array(DEPTH * DEPTH);
  for (let r = 0; r < rows; r++) {
    const own = noise(DEPTH, 100 + r);
    const shared = noise(4, 1000 + r);
    const x = own.map((value, i) => (dead.includes(i) ? 0 : value * 0.3 + shared[i % 4]! * (1 + (i % 3))));
    for (let i = 0; i < DEPTH; i++) for (let j = 0; j < DEPTH; j++) sum[i * DEPTH + j]! += x[i]! * x[j]!;
  }
  return sum;
}

/** The numbers that stored integers stand for, [depth, channels]; through the order of MatMul, whose integers are easy to read. */
function dequantized(source: FitBlock | RoundedWeight, format: BlockFormat): Float64Array {
  const wide = packWeight({ tensor: weight, depthAxis: 0 }, format, 'by depth', refuse, source);
  const nibble = (tensor: Tensor, i: number) => {
    const integer = (tensor.storage.read()[i >> 1]! >> (4 * (i & 1))) & 15;
    return format.symmetric && integer > 7 ? integer - 16 : integer;
  };
  const scales = new Float32Array(wide.scales.storage.read().slice().buffer);
  return Float64Array.from({ length: DEPTH * CHANNELS }, (_, i) => {
    const at = Math.floor(Math.floor(i / CHANNELS) / format.blockSize) * CHANNELS + (i % CHANNELS);
    return scales[at]! * (nibble(wide.integers, i) - (wide.zeroPoints ? nibble(wide.zeroPoints, at) : 0));
  });
}

/** Σ over channels of eᵀ · products · e, the error of the product. */
function productError(values: Float64Array, of: Float64Array): number {
  const exact = new Float32Array(weight.storage.read().slice().buffer);
  let sum = 0;
  for (let c = 0; c < CHANNELS; c++) {
    const error = Float64Array.from({ length: DEPTH }, (_, k) => values[k * CHANNELS + c]! - exact[k * CHANNELS + c]!);
    for (let i = 0; i < DEPTH; i++) for (let j = 0; j < DEPTH; j++) sum += error[i]! * of[i * DEPTH + j]! * error[j]!;
  }
  return sum;
}

describe('rounding by the inputs of a product', () => {
  for (const symmetric of [true, false]) {
    for (const blockSize of [16, 32]) {
      const format: BlockFormat = { bits: 4, blockSize, symmetric };
      test(`less error of the product than other ways, ${JSON.stringify(format)}`, async () => {
        const of = products(200);
        const rounded = await roundWithProducts({ tensor: weight, depthAxis: 0 }, format, of, refuse);
        const errors = [rounded, fitHalfQuadratic, fitRange].map((source) => productError(dequantized(source, format), of));
        assert.ok(errors[0]! < 0.5 * errors[1]! && errors[0]! < 0.5 * errors[2]!, errors.join(', '));
      });
    }
  }

  const format: BlockFormat = { bits: 4, blockSize: 32, symmetric: true };

  test('[channels, depth] gives the same integers', async () => {
    const values = new Float32Array(weight.storage.read().slice().buffer);
    const turned = tensorFromArray('float32', [CHANNELS, DEPTH], Float32Array.from({ length: values.length }, (_, i) => values[(i % DEPTH) * CHANNELS + Math.floor(i / DEPTH)]!));
    const of = products(100);
    assert.deepEqual(await roundWithProducts({ tensor: turned, depthAxis: 1 }, format, of, refuse), await roundWithProducts({ tensor: weight, depthAxis: 0 }, format, of, refuse));
  });

  test('fewer rows than depth, inputs that are always zero, no inputs and infinite ones', async () => {
    const plain = dequantized(fitHalfQuadratic, format);
    for (const of of [products(3), products(50, [0, 5, 69]), new Float64Array(DEPTH * DEPTH), new Float64Array(DEPTH * DEPTH).fill(Infinity)]) {
      const values = dequantized(await roundWithProducts({ tensor: weight, depthAxis: 0 }, format, of, refuse), format);
      assert.ok(values.every(Number.isFinite));
      if (of[DEPTH + 1] === 0 || of[DEPTH + 1] === Infinity) assert.deepEqual(values, plain, 'without knowledge it is the other fit');
    }
  });

  test('threads give what one thread gives: channels are rounded each for itself', async () => {
    const [depth, channels] = [500, 1100];
    const large = noise(depth * channels, 9);
    const of = new Float64Array(depth * depth);
    for (let r = 0; r < 40; r++) {
      const x = noise(depth, 300 + r);
      for (let i = 0; i < depth; i++) for (let j = 0; j < depth; j++) of[i * depth + j]! += x[i]! * x[j]!;
    }
    const done: number[] = [];
    const all = await roundWithProducts({ tensor: tensorFromArray('float32', [depth, channels], large), depthAxis: 0 }, format, of, refuse, (count) => done.push(count));
    assert.deepEqual([done.length, done.at(-1)], [5, channels]);
    const from = 555;
    const part = Float32Array.from({ length: depth * 90 }, (_, i) => large[Math.floor(i / 90) * channels + from + (i % 90)]!);
    const few = await roundWithProducts({ tensor: tensorFromArray('float32', [depth, 90], part), depthAxis: 0 }, format, of, refuse);
    for (const key of ['integers', 'scales', 'zeroPoints'] as const) {
      assert.deepEqual([...few[key]], Array.from(few[key], (_, i) => all[key][Math.floor(i / 90) * channels + from + (i % 90)]!), key);
    }
  });

  test('a weight that is not finite is refused', async () => {
    const broken = Float32Array.from({ length: DEPTH * CHANNELS }, (_, i) => (i === 999 ? NaN : i % 7));
    await assert.rejects(roundWithProducts({ tensor: tensorFromArray('float32', [DEPTH, CHANNELS], broken), depthAxis: 0 }, format, products(20), refuse), /not finite/);
  });
});
