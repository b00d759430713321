import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { readModel } from '../../src/onnx/read-model.js';
import { writeModel } from '../../src/onnx/write-model.js';
import { packWeight } from '../../src/quantization/weight-only-packing.js';
import type { BlockFormat } from '../../src/quantization/weight-only-format.js';
import { DeferredStorage } from '../../src/tensor/deferred-storage.js';
import { tensorFromArray, type Tensor, type TensorStorage } from '../../src/tensor/tensor.js';
import { GraphBuilder, noise } from '../helpers/graph-builder.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

/** More channels than one stripe holds, and neither a whole number of blocks nor of the kernel's vectors. */
const [DEPTH, CHANNELS] = [70_003, 139];
const FORMAT: BlockFormat = { bits: 8, blockSize: 64, symmetric: false };
const CHUNK = 3_000_000;
const PARTS = ['integers', 'scales', 'zeroPoints'] as const;

const some = noise(99_991, 5);

function weight(dims: readonly number[]): { readonly tensor: Tensor; readonly values: Float32Array } {
  const values = new Float32Array(DEPTH * CHANNELS);
  for (let at = 0; at < values.length; at += some.length) values.set(some.slice(0, values.length - at), at);
  return { tensor: tensorFromArray('float32', dims, values), values };
}

async function inSideFile(folder: string, tensor: Tensor): Promise<Tensor> {
  const g = new GraphBuilder();
  g.output(g.op('y', 'Add', [g.input('x', [...tensor.dims]), 'w']));
  const model = g.model();
  const path = join(folder, 'model.onnx');
  await writeModel(path, { ...model, graph: { ...model.graph, initializers: new Map([['w', tensor]]) } }, { externalData: 'always' });
  return (await readModel(path)).graph.initializers.get('w')!;
}

/** The bytes of a storage as the writer takes them: chunk by chunk, several of them asked for at once. */
async function filled(storage: TensorStorage): Promise<Buffer> {
  assert.ok(storage instanceof DeferredStorage && storage.fill);
  const { fill } = storage;
  const bytes = new Uint8Array(new SharedArrayBuffer(storage.byteLength));
  const chunks = Array.from({ length: Math.ceil(bytes.length / CHUNK) }, (_, i) => i * CHUNK);
  await Promise.all(chunks.map((at) => fill(at, bytes.subarray(at, at + CHUNK))));
  return Buffer.from(bytes);
}

describe('threads round a weight in a side file as one thread rounds it in memory', () => {
  const refuse = () => new Error('not finite');
  for (const depthAxis of [0, 1] as const) {
    test(`depth along axis ${depthAxis}`, async (t) => {
      const { tensor } = weight(depthAxis === 0 ? [DEPTH, CHANNELS] : [CHANNELS, DEPTH]);
      const external = await inSideFile(temporaryFolder(t), tensor);
      const expected = packWeight({ tensor, depthAxis }, FORMAT, 'by channel', refuse);
      const found = packWeight({ tensor: external, depthAxis }, FORMAT, 'by channel', refuse);
      // Read twice: what was known of the first reading is gone after it.
      for (const parts of [PARTS, [...PARTS].reverse()]) {
        for (const part of parts) assert.ok((await filled(found[part]!.storage)).equals(expected[part]!.storage.read()), part);
      }
      assert.deepEqual(found.scales.storage.readRange(8, 400), expected.scales.storage.readRange(8, 400), 'computed in this thread');
    });
  }

  test('what is not finite is refused by whoever reads it', async (t) => {
    const { tensor, values } = weight([DEPTH, CHANNELS]);
    values[values.length - 1] = NaN;
    const external = await inSideFile(temporaryFolder(t), tensor);
    const { integers, scales } = packWeight({ tensor: external, depthAxis: 0 }, FORMAT, 'by channel', refuse);
    for (const { storage } of [integers, scales]) await assert.rejects(filled(storage), /not finite/);
  });
});
