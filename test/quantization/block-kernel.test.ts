import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import wabt from 'wabt';
import { BLOCK_KERNEL_BASE64 } from '../../src/quantization/block-kernel.js';
import { PRODUCT_KERNEL_BASE64 } from '../../src/quantization/product-kernel.js';
import { HALF_QUADRATIC_KERNEL_BASE64 } from '../../src/quantization/weight-only-hqq.js';
import { packWeight } from '../../src/quantization/weight-only-packing.js';
import { fitRange } from '../../src/quantization/weight-only-rounding.js';
import { elementCount, tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { noise } from '../helpers/graph-builder.js';

const KERNELS = [
  ['block-kernel.wat', 'BLOCK_KERNEL_BASE64', BLOCK_KERNEL_BASE64],
  ['half-quadratic-kernel.wat', 'HALF_QUADRATIC_KERNEL_BASE64', HALF_QUADRATIC_KERNEL_BASE64],
  ['product-kernel.wat', 'PRODUCT_KERNEL_BASE64', PRODUCT_KERNEL_BASE64],
] as const;

for (const [file, name, binary] of KERNELS) {
  test(`the binary of ${file} is that of its text`, async () => {
    const source = fileURLToPath(new URL(`../../../src/quantization/${file}`, import.meta.url));
    const module = (await wabt()).parseWat(file, await readFile(source, 'utf8'), { simd: true });
    module.validate();
    const base64 = Buffer.from(module.toBinary({}).buffer).toString('base64');
    assert.equal(binary, base64, `${file} was changed: set ${name} to\n${base64.replace(/.{140}/g, '$&\n')}`);
  });
}

/** Noise with ties, zeros of both signs, blocks of one sign and blocks of zeros. */
function weight(dims: readonly number[]): Tensor {
  const values = noise(elementCount(dims), 3).map((value, i) => {
    if (i % 1000 < 130) return 0;
    if (i % 1700 < 300) return Math.abs(value);
    return i % 5 === 0 ? Math.round(value * 64) / 64 : i % 7 === 0 ? -0 : value / (1 + (i % 3));
  });
  return tensorFromArray('float32', dims, values);
}

const SHAPES = [[16, 1], [17, 3], [64, 130], [300, 2051], [5000, 5], [256, 1024]] as const;

describe('the kernel gives what the definition gives', () => {
  for (const shape of SHAPES) {
    for (const depthAxis of [0, 1] as const) {
      test(`${shape.join('×')}, depth along axis ${depthAxis}`, () => {
        const tensor = weight(depthAxis === 0 ? shape : [shape[1], shape[0]]);
        for (const bits of [4, 8] as const) {
          for (const symmetric of [true, false]) {
            for (const blockSize of [16, 32, 256]) {
              const pack = (fit: typeof fitRange) => packWeight({ tensor, depthAxis }, { bits, symmetric, blockSize }, 'by channel', () => new Error('not finite'), fit);
              const [fast, plain] = [pack(fitRange), pack((...block) => fitRange(...block))];
              for (const part of ['integers', 'scales', 'zeroPoints'] as const) {
                assert.deepEqual(Buffer.from(fast[part]?.storage.read() ?? []), Buffer.from(plain[part]?.storage.read() ?? []), `${part}, ${bits} bits, blocks of ${blockSize}`);
              }
            }
          }
        }
      });
    }
  }
});
