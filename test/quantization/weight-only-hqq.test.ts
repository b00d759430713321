import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fitHalfQuadratic } from '../../src/quantization/weight-only-hqq.js';
import { fitRange, largestInteger, roundBlock, type BlockParameters, type FitBlock } from '../../src/quantization/weight-only-rounding.js';
import type { BlockFormat } from '../../src/quantization/weight-only-format.js';
import { readModel } from '../../src/onnx/read-model.js';
import { visitBlocks } from '../../src/quantization/weight-only-blocks.js';
import { selectWeightOnly } from '../../src/quantization/weight-only-select.js';
import { noise } from '../helpers/graph-builder.js';
import { floatSampleModels } from '../helpers/shared-models.js';

function errorOf(fit: FitBlock, values: ArrayLike<number>, from: number, count: number, format: BlockFormat): number {
  const found: BlockParameters = { scale: 1, zeroPoint: 0 };
  fit(values, from, count, format, found);
  const integers = new Uint8Array(count);
  roundBlock(values, from, count, found, largestInteger(format), integers);
  return integers.reduce((sum, integer, i) => sum + (values[from + i]! - found.scale * (integer - found.zeroPoint)) ** 2, 0);
}

const FORMATS: readonly BlockFormat[] = [16, 32, 128].flatMap((blockSize) => [true, false].map((symmetric) => ({ bits: 4, blockSize, symmetric }) as const));

describe('half-quadratic fit', () => {
  test('no block is worse than round to nearest, and most are better', () => {
    for (const format of FORMATS) {
      let better = 0;
      for (let seed = 0; seed < 200; seed++) {
        // Third powers: a few large elements among many small ones, as trained weights have.
        const values = noise(format.blockSize, seed).map((value) => value ** 3 + (seed % 3) * 0.2);
        const [plain, fitted] = [fitRange, fitHalfQuadratic].map((fit) => errorOf(fit, values, 0, values.length, format));
        assert.ok(fitted! <= plain! * (1 + 1e-6), `${fitted} and ${plain}`);
        if (fitted! < plain! * 0.99) better++;
      }
      assert.ok(better > 150, `${better} of 200 at ${JSON.stringify(format)}`);
    }
  });

  test('zeros, single values and short blocks', () => {
    for (const format of FORMATS) {
      for (const values of [[0, 0, 0], [0.5], [-3, -3, -3], [1e-30, 2e-30], [1e30, -1e30]]) {
        const error = errorOf(fitHalfQuadratic, values, 0, values.length, format);
        assert.ok(error <= errorOf(fitRange, values, 0, values.length, format) * (1 + 1e-6), JSON.stringify({ values, format, error }));
      }
      const found: BlockParameters = { scale: 1, zeroPoint: 0 };
      fitHalfQuadratic([1, NaN], 0, 2, format, found);
      assert.ok(Number.isNaN(found.scale));
    }
  });
});

for (const { name, path } of floatSampleModels()) {
  test(`every layer of samples/${name} has less error than rounded to nearest`, async () => {
    const { graph } = await readModel(path);
    const layers = selectWeightOnly(graph, { keptFloat: () => undefined, lookupBlock: null }).filter((choice) => choice.form !== null);
    for (const { node, weight, depthAxis } of layers) {
      for (const format of FORMATS) {
        let [plain, fitted] = [0, 0];
        visitBlocks({ tensor: weight.tensor, depthAxis }, format.blockSize, (_channel, _block, values, from, count) => {
          plain += errorOf(fitRange, values, from, count, format);
          fitted += errorOf(fitHalfQuadratic, values, from, count, format);
        });
        assert.ok(fitted < plain * 0.97, `${node.name}: ${fitted} and ${plain}, ${JSON.stringify(format)}`);
      }
    }
  });
}
