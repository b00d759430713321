import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { channelMeansTask, type ChannelValue } from '../../src/evaluation/channel-means.js';
import type { Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { noiseTensor } from '../helpers/graph-builder.js';
import { floats } from '../metrics/tensors.js';
import { recordingContext, stage, writeSamples } from './workshop.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-means-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Means along all axes but one, of each sample, averaged over the samples. */
function directMeans(tensors: readonly Tensor[], axis: number, change: (value: number) => number): number[] {
  const sums = new Array<number>(tensors[0]!.dims[axis]!).fill(0);
  for (const tensor of tensors) {
    const inner = tensor.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
    const share = sums.length / numbersOf(tensor).length;
    numbersOf(tensor).forEach((value, i) => (sums[Math.floor(i / inner) % sums.length]! += change(value) * share));
  }
  return sums.map((sum) => sum / tensors.length);
}

const IMAGES = { a: noiseTensor([2, 3, 4, 5], 1), b: noiseTensor([1, 3, 2, 7], 2), c: noiseTensor([1, 3, 4, 5], 3) };
const data = writeSamples(folder, 'images', Object.fromEntries(Object.entries(IMAGES).map(([name, x]) => [name, { x }])));

async function means(values: readonly ChannelValue[], only: readonly string[], opset?: number): Promise<Map<string, Float64Array>> {
  const model = stage(folder, 'model.onnx', (g) => void g.output(g.op('z', 'Relu', [g.op('y', 'Mul', [g.input('x', ['n', 3, 'h', 'w']), g.floats('two', [2], [])])])), opset);
  return channelMeansTask.run({ model, values, data, only }, recordingContext());
}

function assertClose(received: Float64Array | undefined, expected: readonly number[]): void {
  assert.equal(received?.length, expected.length);
  expected.forEach((value, c) => assert.ok(Math.abs(received[c]! - value) < 1e-6, `channel ${c}: ${received[c]} instead of ${value}`));
}

describe('channelMeansTask', () => {
  for (const opset of [13, 18]) {
    test(`means of inputs, inner values and outputs, operator set ${opset}`, async () => {
      const all = Object.values(IMAGES);
      const found = await means(['x', 'y', 'z'].map((name) => ({ name, rank: 4, axis: 1 })), ['a.npz', 'b.npz', 'c.npz'], opset);
      assert.deepEqual([...found.keys()], ['x', 'y', 'z']);
      assertClose(found.get('x'), directMeans(all, 1, (value) => value));
      assertClose(found.get('y'), directMeans(all, 1, (value) => 2 * value));
      assertClose(found.get('z'), directMeans(all, 1, (value) => Math.max(0, 2 * value)));
    });
  }

  test('over the samples named', async () => {
    const found = await means([{ name: 'y', rank: 4, axis: 1 }], ['a.npz', 'c.npz']);
    assertClose(found.get('y'), directMeans([IMAGES.a, IMAGES.c], 1, (value) => 2 * value));
  });

  test('along another axis, of a matrix', async () => {
    const model = stage(folder, 'matrix.onnx', (g) => void g.output(g.op('y', 'Neg', [g.input('x', ['n', 2])])));
    const matrices = writeSamples(folder, 'matrices', { a: { x: floats([3, 2], [1, 2, 3, 4, 5, 9]) } });
    const run = (axis: number) => channelMeansTask.run({ model, values: [{ name: 'y', rank: 2, axis }], data: matrices, only: ['a.npz'] }, recordingContext());
    assertClose((await run(1)).get('y'), [-3, -5]);
    assertClose((await run(0)).get('y'), [-1.5, -3.5, -7]);
  });
});
