import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { QdqError } from '../../src/errors.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { multipliesBlocksAsIntegers } from '../../src/runtime/block-product-probe.js';
import { Session, type SessionOptions } from '../../src/runtime/session.js';
import { webFacts } from '../../src/runtime/web-binding.js';
import type { DType } from '../../src/tensor/dtype.js';
import { memoryStorage, tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { randomFeeds, runModel, sqnrDb } from '../helpers/run-model.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { externalTensor, modelWith } from '../onnx/small-model.js';
import { KERNEL_PATTERNS } from './kernel-patterns.js';

const openWeb = (model: string | Uint8Array, options: SessionOptions = {}) => Session.open(model, { threads: 1, ...options, runtime: 'web' });
const floats = (dims: readonly number[], values: readonly number[]) => tensorFromArray('float32', dims, Float32Array.from(values));

function modelOf(build: (g: GraphBuilder) => void): Uint8Array {
  const g = new GraphBuilder(17);
  build(g);
  return encodeModel(g.model());
}

const relu = modelOf((g) => void g.output(g.op('y', 'Relu', [g.input('x', ['n', 2])])));

describe('a session in onnxruntime-web', () => {
  test('tells names, types and shapes, and the runtime with its threads', async () => {
    const session = await openWeb(modelOf((g) => void g.output(g.op('y', 'Shape', [g.input('x', ['n', 3, null], 'float16')]))));
    assert.deepEqual([session.inputs, session.outputs], [[{ name: 'x', dtype: 'float16', shape: ['n', 3, ''] }], [{ name: 'y', dtype: 'int64', shape: [3] }]]);
    await session.release();
    assert.match(webFacts().runtime, /^onnxruntime-web \d+\.\d+\.\d+$/);
    assert.equal(webFacts().threads, 1);
  });

  for (const dtype of ['float32', 'float16', 'int8', 'uint8', 'int32', 'int64', 'bool'] as const satisfies readonly DType[]) {
    test(`${dtype} goes in and comes out bit for bit`, async () => {
      const session = await openWeb(modelOf((g) => void g.output(g.op('y', 'Identity', [g.input('x', ['n'], dtype)]))));
      const bytes = Uint8Array.from({ length: 16 }, (_, i) => (dtype === 'bool' ? i & 1 : i));
      const x: Tensor = { dtype, dims: [{ float32: 4, float16: 8, int8: 16, uint8: 16, int32: 4, int64: 2, bool: 16 }[dtype]], storage: memoryStorage(bytes) };
      const y = (await session.run(new Map([['x', x]]))).get('y')!;
      assert.deepEqual([y.dtype, y.dims, [...y.storage.read()]], [dtype, x.dims, [...bytes]]);
      await session.release();
    });
  }

  test('text', async () => {
    const session = await openWeb(modelOf((g) => void g.output(g.op('y', 'Identity', [g.input('x', ['n'], 'string')]))));
    const x: Tensor = { dtype: 'string', dims: [2], storage: memoryStorage(new Uint8Array()), strings: ['', 'Grüße'] };
    assert.deepEqual((await session.run(new Map([['x', x]]))).get('y')!.strings, ['', 'Grüße']);
  });

  test('feeds converted once can be run again', async () => {
    const session = await openWeb(relu);
    const feeds = session.toFeeds(new Map([['x', floats([1, 2], [1, -1])]]));
    for (let i = 0; i < 3; i++) assert.deepEqual([...((await session.runRaw(feeds))['y']!.data as Float32Array)], [1, 0]);
  });

  test('side files beside a model, in the folder named, and in a folder below', async (t) => {
    const folder = temporaryFolder(t);
    const bytes = modelWith(externalTensor(3, { location: './w.bin', length: 12 }));
    writeFileSync(join(folder, 'w.bin'), new Uint8Array(Float32Array.of(1, 2, 3).buffer));
    writeFileSync(join(folder, 'model.onnx'), bytes);
    for (const session of [await openWeb(join(folder, 'model.onnx')), await openWeb(bytes, { externalDataFolder: folder })]) {
      assert.deepEqual([...numbersOf((await session.run(new Map([['x', floats([3], [1, 1, 1])]]))).get('y')!)], [2, 3, 4]);
    }
    await assert.rejects(openWeb(modelWith(externalTensor(3, { location: 'none.bin', length: 12 })), { externalDataFolder: folder }), { code: 'external-data', message: /none\.bin/ });
  });

  test('refuses an operator without a kernel, a model that is none, and wrong input, in its own words', async () => {
    const unknown = modelOf((g) => void g.output(g.op('y', 'NoSuchOperator', [g.input('x', [1, 4])])));
    await assert.rejects(openWeb(unknown), { code: 'operator-missing', message: /^onnxruntime-web: it has no kernel for the operator NoSuchOperator / });
    await assert.rejects(openWeb(Uint8Array.of(1, 2, 3)), { code: 'not-onnx' });
    const session = await openWeb(relu);
    const rejected = (error: unknown) => error instanceof QdqError && error.code === 'runtime-rejected' && /^onnxruntime-web: .*input 'x' is missing/.test(error.message) && !error.message.includes('\n');
    await assert.rejects(session.run(new Map()), rejected);
  });

  test('a profile is a trace of all runs, of which stdout sees nothing', async (t) => {
    const printed = t.mock.method(process.stdout, 'write');
    const session = await openWeb(relu, { profilePrefix: join(temporaryFolder(t), 'trace') });
    const feeds = session.toFeeds(new Map([['x', floats([1, 2], [1, -1])]]));
    for (let i = 0; i < 3; i++) await session.runRaw(feeds);
    const events = JSON.parse(await session.endProfiling()) as { cat: string; args: { op_name?: string } }[];
    assert.deepEqual(events.filter(({ cat }) => cat === 'Node').map(({ args }) => args.op_name), ['Relu', 'Relu', 'Relu']);
    assert.equal(printed.mock.callCount(), 0);
  });
});

/** What WebAssembly's kernels and those of this machine may differ by: the order of float sums. */
const LEAST_SQNR_DB = 90;

describe('onnxruntime-web computes what Q/DQ say', () => {
  const rows = KERNEL_PATTERNS.filter(({ name, simulated }) => simulated !== false && /^(Conv, u8|Conv, depthwise|MatMul with|MatMul without Q|Gemm with Q|Add|residual)/.test(name) && !/one scale a channel/.test(name));
  test('there are such patterns', () => assert.ok(rows.length >= 10, `${rows.length}`));
  for (const row of rows) {
    test(row.name, async () => {
      const g = new GraphBuilder(row.opset ?? 13);
      row.build(g);
      const bytes = encodeModel(g.model());
      const feeds = await randomFeeds(bytes);
      // Simulated in float on both sides, so that integers of this machine's kernels, which may saturate, play no part.
      const [node, web] = [await runModel(bytes, feeds, { simulateQdq: true }), await runModel(bytes, feeds, { simulateQdq: true, runtime: 'web' })];
      for (const [name, expected] of node) assert.ok(sqnrDb(expected, web.get(name)!) > LEAST_SQNR_DB, `${name}: ${sqnrDb(expected, web.get(name)!)} dB`);
      const integers = await runModel(bytes, feeds, { runtime: 'web' });
      for (const [name, expected] of node) assert.ok(sqnrDb(expected, integers.get(name)!) > 30, `${name} on integers: ${sqnrDb(expected, integers.get(name)!)} dB`);
    });
  }
});

describe('multipliesBlocksAsIntegers', () => {
  for (const bits of [4, 8]) {
    test(`${bits} bits: onnxruntime-node does, onnxruntime-web makes floats of them`, async () => {
      assert.equal(await multipliesBlocksAsIntegers('node', bits), true);
      assert.equal(await multipliesBlocksAsIntegers('web', bits), false);
    });
  }
});
