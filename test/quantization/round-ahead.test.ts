import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { test } from 'node:test';
import { integerStorage } from '../../src/quantization/integer-storage.js';
import { roundWhile } from '../../src/quantization/round-ahead.js';
import { selectNodes } from '../../src/quantization/select.js';
import { hasMaxima, weightLimit, weightScales } from '../../src/quantization/weights.js';
import type { Tensor, TensorStorage } from '../../src/tensor/tensor.js';
import { GraphBuilder, SAME_PADS } from '../helpers/graph-builder.js';

const SETTINGS = { weightType: 'int8', perChannel: true, reduceRange: false } as const;

/** Convolutions in a row, their weights, and how often any of these was read. */
function chain(length: number) {
  const g = new GraphBuilder(13);
  let x = g.input('x', [1, 16, 8, 8]);
  for (let i = 0; i < length; i++) x = g.op(`conv${i}`, 'Conv', [x, g.weight(`w${i}`, [16, 16, 3, 3])], { attributes: SAME_PADS });
  g.output(x);
  const built = g.graph();
  let reads = 0;
  const initializers = new Map(
    [...built.initializers].map(([name, tensor]): [string, Tensor] => {
      const { storage } = tensor;
      const counted = <T>(bytes: T): T => {
        reads++;
        return bytes;
      };
      const counting: TensorStorage = { byteLength: storage.byteLength, read: () => counted(storage.read()), readRange: (offset, length) => counted(storage.readRange(offset, length)) };
      return [name, { ...tensor, storage: counting }];
    }),
  );
  const graph = { ...built, initializers };
  return { graph, weights: [...initializers.values()], selection: selectNodes(graph, new Map(), { opset: 13 }), reads: () => reads };
}

test('weights are rounded by the time the work is done', async () => {
  const { graph, weights, selection, reads } = chain(3);
  assert.equal(selection.nodes.size, 3);
  const work = (async () => {
    for (let turn = 0; turn < 10; turn++) await setImmediate();
    return 'done';
  })();
  assert.equal(await roundWhile(work, () => true, graph, selection, SETTINGS), 'done');
  const before = reads();
  assert.ok(before > 0);
  const limit = weightLimit('int8', false);
  for (const weight of weights) {
    const scales = weightScales(weight, 0, limit);
    assert.equal(integerStorage(weight, { axis: 0, scales, dtype: 'int8', limit }).byteLength, 16 * 16 * 9);
  }
  assert.equal(reads(), before, 'what a plan asks for is known');
});

test('rounding ends with the work, also where it fails', async () => {
  const { graph, weights, selection } = chain(3);
  const work = (async () => {
    await setImmediate();
    throw new Error('interrupted');
  })();
  await assert.rejects(roundWhile(work, () => true, graph, selection, SETTINGS), /^Error: interrupted$/);
  assert.equal(hasMaxima(weights.at(-1)!, 0), false);
});

test('nothing is rounded as long as the other process waits for what this one does', async () => {
  const { graph, weights, selection } = chain(3);
  const seen: boolean[] = [];
  let turn = 0;
  const work = (async () => {
    for (; turn < 10; turn++) {
      await setImmediate();
      seen.push(hasMaxima(weights[0]!, 0));
    }
  })();
  await roundWhile(work, () => turn >= 5, graph, selection, SETTINGS);
  assert.deepEqual(seen.slice(0, 5), [false, false, false, false, false]);
  assert.equal(seen.at(-1), true);
});
