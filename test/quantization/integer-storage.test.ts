import assert from 'node:assert/strict';
import { closeSync, openSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { QdqError } from '../../src/errors.js';
import { readModel } from '../../src/onnx/read-model.js';
import { writeModel } from '../../src/onnx/write-model.js';
import type { ProgressEvent } from '../../src/progress.js';
import { integerStorage } from '../../src/quantization/integer-storage.js';
import { measureWeights } from '../../src/quantization/weight-work.js';
import { channelMaxima, hasMaxima, maximaInRange, quantizeWeight, scalesFromMaxima, type WeightRounding } from '../../src/quantization/weights.js';
import { DeferredStorage } from '../../src/tensor/deferred-storage.js';
import { elementCount, tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { noise } from '../helpers/graph-builder.js';
import { parseModel } from '../helpers/graph-text.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

/** Weights of these shapes in memory, the same in a side file, and the path of that. */
async function inSideFile(t: TestContext, ...shapes: readonly (readonly number[])[]): Promise<{ memory: Tensor[]; external: Tensor[]; sidePath: string }> {
  const path = join(temporaryFolder(t), 'model.onnx');
  const memory = shapes.map((dims, i) => tensorFromArray('float32', dims, noise(elementCount(dims), i)));
  const model = parseModel('opset 13\ninput x float32[2]\ny = Identity(x)\noutput y');
  const initializers = new Map(memory.map((tensor, i) => [`w${i}`, tensor]));
  await writeModel(path, { ...model, graph: { ...model.graph, initializers } }, { externalData: 'always' });
  return { memory, external: [...(await readModel(path)).graph.initializers.values()], sidePath: `${path}.data` };
}

function writeNaN(path: string, element: number): void {
  const file = openSync(path, 'r+');
  writeSync(file, Buffer.from(Float32Array.of(NaN).buffer), 0, 4, element * 4);
  closeSync(file);
}

/** The integers as other threads give them, in ranges that end anywhere. */
async function filled(storage: DeferredStorage, step: number): Promise<Uint8Array> {
  const all = new Uint8Array(storage.byteLength);
  const ranges = Array.from({ length: Math.ceil(all.length / step) }, (_, i) => [i * step, Math.min(all.length, (i + 1) * step)] as const);
  await Promise.all(
    ranges.map(async ([from, to]) => {
      const target = new Uint8Array(new SharedArrayBuffer(to - from + 5), 3, to - from);
      await storage.fill!(from, target);
      all.set(target, from);
    }),
  );
  return all;
}

/** The transpose by the definition. */
function transposed(bytes: Uint8Array, [rows, columns]: readonly [number, number]): Uint8Array {
  return Uint8Array.from({ length: bytes.length }, (_, i) => bytes[(i % rows) * columns + Math.floor(i / rows)]!);
}

const CASES = [
  { dims: [1031, 1024], axis: 1, turned: false },
  { dims: [1031, 1024], axis: 0, turned: false },
  { dims: [1031, 1024], axis: null, turned: false },
  { dims: [1031, 1024], axis: 0, turned: true },
  { dims: [30, 40_000], axis: null, turned: true },
  { dims: [40_000, 30], axis: 0, turned: true },
] as const;

for (const { dims, axis, turned } of CASES) {
  for (const dtype of ['int8', 'uint8'] as const) {
    test(`${dims.join(' × ')} to ${dtype} along ${axis}${turned ? ', transposed' : ''}: threads give the bytes that one gives`, async (t) => {
      const { memory, external } = await inSideFile(t, dims);
      const rounding: WeightRounding = { axis, scales: scalesFromMaxima(channelMaxima(memory[0]!, axis), 127), dtype, limit: 127 };
      const plain = quantizeWeight(memory[0]!, axis, rounding.scales, dtype, 127).storage.read();
      const expected = Buffer.from(turned ? transposed(plain, dims) : plain);
      assert.ok(expected.equals(integerStorage(memory[0]!, rounding, turned).read()), 'in memory');
      const deferred = integerStorage(external[0]!, rounding, turned);
      assert.ok(deferred instanceof DeferredStorage);
      assert.ok(expected.equals(deferred.read()), 'from the side file');
      for (const step of [299_993, 1 << 20]) assert.ok(expected.equals(await filled(deferred, step)), `by threads, ${step} at a time`);
    });
  }
}

test('maxima that threads find are those that one finds, and are then known; a NaN stays one', async (t) => {
  const { memory, external } = await inSideFile(t, [5000, 2500], [2500, 5000]);
  const { external: damaged, sidePath } = await inSideFile(t, [2000, 5000]);
  writeNaN(sidePath, 9_999_998);
  const events: ProgressEvent[] = [];
  const weights = external.flatMap((tensor) => [0, 1, null].map((axis) => ({ tensor, axis })));
  await measureWeights([...weights, ...weights, { tensor: damaged[0]!, axis: 1 }], (event) => events.push(event));
  for (const { tensor, axis } of weights) {
    assert.ok(hasMaxima(tensor, axis));
    assert.deepEqual(channelMaxima(tensor, axis), maximaInRange(memory[external.indexOf(tensor)]!, axis, 0, Infinity));
  }
  const [good, bad] = [channelMaxima(damaged[0]!, 1).slice(0, -2), channelMaxima(damaged[0]!, 1).at(-2)];
  assert.ok(good.every(Number.isFinite) && Number.isNaN(bad));
  const total = 4 * (6 * 12_500_000 + 10_000_000);
  assert.deepEqual(events.at(-1), { stage: 'reading weights', done: total, total, unit: 'bytes' });
});

test('a side file that is gone or cut off after it was looked at is an error of its own', async (t) => {
  const { external, sidePath } = await inSideFile(t, [4096, 5000]);
  truncateSync(sidePath, 1000);
  const rounding: WeightRounding = { axis: null, scales: [1], dtype: 'int8', limit: 127 };
  const isShort = (error: unknown) => error instanceof QdqError && error.code === 'external-data' && /tensor "w0" .* has only 1000 bytes/.test(error.message);
  await assert.rejects(measureWeights([{ tensor: external[0]!, axis: 1 }]), isShort);
  const storage = integerStorage(external[0]!, rounding);
  assert.ok(storage instanceof DeferredStorage);
  await assert.rejects(filled(storage, 1 << 22), isShort);
});
