import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { QdqError, type ErrorCode } from '../../src/errors.js';
import type { Message } from '../../src/onnx/messages.js';
import { readMessage, writeMessage } from '../../src/onnx/messages.js';
import { readModel } from '../../src/onnx/read-model.js';
import { writeModel } from '../../src/onnx/write-model.js';
import { quantize } from '../../src/quantize.js';
import { Session } from '../../src/runtime/session.js';
import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { noise } from '../helpers/graph-builder.js';
import { parseModel } from '../helpers/graph-text.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

const SIZE = 64;

/** Two products in a row whose weights are in a side file, and where the quantized model goes: a folder of its own. */
async function inSideFile(t: TestContext, weights: Readonly<Record<string, Float32Array>> = {}) {
  const folder = temporaryFolder(t);
  for (const name of ['in', 'out']) mkdirSync(join(folder, name));
  const model = join(folder, 'in', 'model.onnx');
  const parsed = parseModel(`opset 13\ninput x float32[2,${SIZE}]\nconst w float32[${SIZE},${SIZE}] ~1\nconst v float32[${SIZE},${SIZE}] ~2\nh = MatMul(x, w)\ny = MatMul(h, v)\noutput h\noutput y`);
  const initializers = new Map(parsed.graph.initializers);
  for (const [name, values] of Object.entries(weights)) initializers.set(name, tensorFromArray('float32', [SIZE, SIZE], values));
  await writeModel(model, { ...parsed, graph: { ...parsed.graph, initializers } }, { externalData: 'always' });
  return { model, sidePath: `${model}.data`, outFolder: join(folder, 'out'), output: join(folder, 'out', 'int8.onnx') };
}

/** Changes an external_data entry of a weight. */
function setEntry(path: string, weight: string, key: string, value: string): void {
  const message = readMessage('ModelProto', readFileSync(path));
  const change = (tensor: Message<'TensorProto'>): Message<'TensorProto'> =>
    tensor.name === weight ? { ...tensor, external_data: tensor.external_data!.map((entry) => (entry.key === key ? { key, value } : entry)) } : tensor;
  writeFileSync(path, writeMessage('ModelProto', { ...message, graph: { ...message.graph, initializer: message.graph!.initializer!.map(change) } }));
}

async function refused(work: Promise<unknown>, code: ErrorCode, message: RegExp, hint?: RegExp): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof QdqError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    if (hint) assert.match(error.hint ?? '', hint);
    return true;
  });
}

async function run(path: string, x: Tensor): Promise<ReadonlyMap<string, Tensor>> {
  const session = await Session.open(path);
  const outputs = await session.run(new Map([['x', x]]));
  await session.release();
  return outputs;
}

const x = tensorFromArray('float32', [2, SIZE], noise(2 * SIZE, 5));

describe('weights in side files that are not as they should be', () => {
  const bytes = SIZE * SIZE * 4;
  const cases: readonly [string, (files: { model: string; sidePath: string }) => void, ErrorCode, RegExp][] = [
    ['no side file', ({ sidePath }) => rmSync(sidePath), 'external-data', /tensor "w" is stored in the side file "model\.onnx\.data", which cannot be opened/],
    ['a short one', ({ sidePath }) => truncateSync(sidePath, bytes + 100), 'external-data', new RegExp(`tensor "v" takes bytes ${bytes} to ${2 * bytes} of .* which has only ${bytes + 100} bytes`)],
    ['an offset beyond its end', ({ model }) => setEntry(model, 'v', 'offset', String(3 * bytes)), 'external-data', /tensor "v" takes bytes .* which has only/],
    ['an offset that is no number', ({ model }) => setEntry(model, 'v', 'offset', '-8'), 'external-data', /tensor "v" has "-8" as its offset .* expected a byte count/],
    ['a length that does not fit the shape', ({ model }) => setEntry(model, 'w', 'length', '100'), 'external-data', new RegExp(`tensor "w" has 100 bytes .* its type and shape take ${bytes}`)],
  ];
  for (const [name, damage, code, message] of cases) {
    test(`${name}: an error that names the weight, and no output`, async (t) => {
      const files = await inSideFile(t);
      damage(files);
      await refused(quantize({ ...files, mode: 'dynamic' }), code, message);
      assert.deepEqual(readdirSync(files.outFolder), []);
    });
  }

  test('a NaN in a weight', async (t) => {
    const files = await inSideFile(t, { v: noise(SIZE * SIZE, 2).fill(NaN, 77, 78) });
    const { nodes } = await quantize({ ...files, mode: 'dynamic' });
    assert.deepEqual(nodes.map(({ decision }) => decision), ['quantized', 'float']);
    assert.match(nodes[1]!.reason!, /"v".*(NaN|infin)/);
  });
});

test('weights whose ranges of a side file overlap are each what they are', async (t) => {
  const files = await inSideFile(t);
  setEntry(files.model, 'v', 'offset', String(SIZE * 4 * 10));
  await quantize({ ...files, mode: 'dynamic', target: 'ort-x64' });
  const [expected, received] = [await run(files.model, x), await run(files.output, x)];
  for (const name of ['h', 'y']) {
    const signal = [...numbersOf(expected.get(name)!)];
    const power = (values: readonly number[]) => values.reduce((sum, value) => sum + value ** 2, 0);
    assert.ok(power([...numbersOf(received.get(name)!)].map((value, i) => value - signal[i]!)) < 1e-3 * power(signal), name);
  }
});

test('channels of zeros give zeros, and spoil no other', async (t) => {
  const w = noise(SIZE * SIZE, 1).map((value, i) => (i % SIZE < 3 ? 0 : value));
  const files = await inSideFile(t, { w });
  await quantize({ ...files, mode: 'dynamic', target: 'ort-x64' });
  const h = numbersOf((await run(files.output, x)).get('h')!);
  const expected = numbersOf((await run(files.model, x)).get('h')!);
  for (let i = 0; i < h.length; i++) {
    if (i % SIZE < 3) assert.equal(h[i], 0);
    else assert.ok(Math.abs(h[i]! - expected[i]!) < 0.1, `${h[i]} at ${i}, expected ${expected[i]}`);
  }
  const all = await inSideFile(t, { w: new Float32Array(SIZE * SIZE) });
  await quantize({ ...all, mode: 'dynamic' });
  assert.ok(numbersOf((await run(all.output, x)).get('y')!).every((value) => value === 0));
});

test('a disk that is full half-way: how much was needed is said, and nothing is left behind', async (t) => {
  const files = await inSideFile(t);
  const { sizeBytes } = (await quantize({ ...files, mode: 'dynamic' })).output!;
  const before = readFileSync(files.output);
  const handle = await open(join(files.outFolder, 'probe'), 'w');
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  rmSync(join(files.outFolder, 'probe'));
  const write = prototype.write as (this: FileHandle, ...args: unknown[]) => Promise<{ bytesWritten: number }>;
  let left = 3000;
  // A full disk takes what fits, and refuses the rest.
  t.mock.method(prototype, 'write', function (this: FileHandle, bytes: Uint8Array, from: number, length: number) {
    const fitting = Math.min(length, left);
    left -= fitting;
    if (fitting === 0) return Promise.reject(Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' }));
    return write.call(this, bytes, from, fitting);
  });
  await refused(quantize({ ...files, mode: 'dynamic' }), 'file-unwritable', new RegExp(`no space left on its disk \\(${sizeBytes} bytes are needed\\)`), /Free some space/);
  assert.deepEqual(readdirSync(files.outFolder).sort(), ['int8.onnx', 'int8.onnx.data'], 'nothing but what was there');
  assert.ok(readFileSync(files.output).equals(before));
  assert.ok((await readModel(files.output)).graph.nodes.length > 0);
});
