import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { QdqError } from '../../src/errors.js';
import type { Model } from '../../src/graph/model.js';
import { decodeModel, encodeModel } from '../../src/onnx/model-codec.js';
import { Session } from '../../src/runtime/session.js';
import type { DType } from '../../src/tensor/dtype.js';
import { memoryStorage, tensorFromArray, typedArrayOf, type Tensor, type TypedArray } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { externalTensor, modelWith } from '../onnx/small-model.js';

const floats = (dims: readonly number[], values: readonly number[]) => tensorFromArray('float32', dims, Float32Array.from(values));

function modelOf(build: (g: GraphBuilder) => void, opset = 17): Uint8Array {
  const g = new GraphBuilder(opset);
  build(g);
  return encodeModel(g.model());
}

const relu = modelOf((g) => void g.output(g.op('y', 'Relu', [g.input('x', ['n', 2])])));

async function rejection(work: () => Promise<unknown>, code = 'runtime-rejected'): Promise<QdqError> {
  try {
    await work();
  } catch (error) {
    assert.ok(error instanceof QdqError, String(error));
    assert.equal(error.code, code);
    assert.ok(error.message.startsWith('onnxruntime: '));
    assert.ok(!error.message.includes('\n'), 'more than one line');
    assert.ok(!/\.cc:\d|\.h:\d/.test(error.message), 'a place in the source');
    assert.ok(error.hint);
    return error;
  }
  return assert.fail('it was accepted');
}

describe('Session.open', () => {
  test('tells names, types and shapes of inputs and outputs', async () => {
    const session = await Session.open(
      modelOf((g) => void g.output(g.op('y', 'Shape', [g.input('x', ['n', 3, null], 'float16')]), g.input('ids', [], 'int64'), g.input('words', [2], 'string'))),
    );
    assert.deepEqual(session.inputs, [
      { name: 'x', dtype: 'float16', shape: ['n', 3, ''] },
      { name: 'ids', dtype: 'int64', shape: [] },
      { name: 'words', dtype: 'string', shape: [2] },
    ]);
    assert.deepEqual(session.outputs[0], { name: 'y', dtype: 'int64', shape: [3] });
    await session.release();
  });

  test('a value that is no tensor is of unknown type', async () => {
    const session = await Session.open(modelOf((g) => void g.output(g.op('y', 'SequenceConstruct', [g.input('x', [2])]))));
    assert.deepEqual(session.outputs, [{ name: 'y', dtype: 'unknown', shape: [] }]);
  });

  const single = (opType: string, domain = '', domains: readonly string[] = []) => () => {
    const g = new GraphBuilder(17);
    g.output(g.op('y', opType, [g.input('x', [1, 4])], { domain }));
    const model = g.model();
    return Session.open(encodeModel({ ...model, opsets: new Map([...model.opsets, ...domains.map((name) => [name, 1] as const)]) }));
  };
  const bad: readonly [string, () => Promise<unknown>, RegExp][] = [
    ['bytes that are no model', () => Session.open(Uint8Array.of(1, 2, 3)), /protobuf parsing failed/],
    ['no bytes', () => Session.open(new Uint8Array()), /null/],
    ['a file that is not there', () => Session.open('/nowhere/model.onnx'), /\/nowhere\/model\.onnx/],
    ['a node that reads nothing', () => Session.open(modelOf((g) => void g.output(g.op('y', 'Relu', ['none'])))), /'none'/],
    ['a type that an operator does not take', () => Session.open(modelOf((g) => void g.output(g.op('y', 'Conv', [g.input('x', [1, 1, 4, 4], 'int64'), g.input('w', [1, 1, 2, 2], 'int64')])))), /tensor\(int64\)/],
    ['an operator set to come', () => Session.open(modelOf((g) => void g.output(g.op('y', 'Relu', [g.input('x', [1])])), 99)), /Opset 99/],
  ];
  for (const [name, work, message] of bad) {
    test(`refuses ${name}, in the runtime's words`, async () => assert.match((await rejection(work)).message, message));
  }

  for (const [name, work] of [
    ['an operator that ONNX does not have', single('NoSuchOperator')],
    ['an operator of an own domain', single('NoSuchOperator', 'my.own', ['my.own'])],
  ] as const) {
    test(`refuses ${name}, and hints at the missing kernel`, async () => {
      const error = await rejection(work, 'operator-missing');
      assert.match(error.message, /it has no kernel for the operator ([\w.]+\.)?NoSuchOperator /);
      assert.match(error.hint!, /its weights can still be quantized/);
    });
  }

  test('writes the optimized model', async (t) => {
    const optimizedModelPath = join(temporaryFolder(t), 'fused.onnx');
    const session = await Session.open(relu, { optimization: 'extended', optimizedModelPath });
    await session.release();
    assert.deepEqual(decodeModel(readFileSync(optimizedModelPath)).graph.nodes.map(({ opType }) => opType), ['Relu']);
  });
});

describe('Session.run', () => {
  const wrong: readonly [string, ReadonlyMap<string, Tensor>, RegExp][] = [
    ['no input', new Map(), /input 'x' is missing/],
    ['an input of another name', new Map([['z', floats([1, 2], [1, 2])]]), /input 'x' is missing/],
    ['another rank', new Map([['x', floats([2], [1, 2])]]), /Invalid rank for input: x Got: 1 Expected: 2/],
    ['another size', new Map([['x', floats([1, 3], [1, 2, 3])]]), /index: 1 Got: 3 Expected: 2/],
    ['another type', new Map([['x', tensorFromArray('int64', [1, 2], BigInt64Array.of(1n, 2n))]]), /tensor\(int64\).*tensor\(float\)/],
  ];
  for (const [name, feeds, message] of wrong) {
    test(`refuses ${name}`, async () => {
      const session = await Session.open(relu);
      assert.match((await rejection(() => session.run(feeds))).message, message);
    });
  }

  test('an error inside an operator names the node', async () => {
    const session = await Session.open(modelOf((g) => void g.output(g.op('looked up', 'Gather', [g.floats('table', [1, 2]), g.input('i', [1], 'int64')]))));
    assert.match((await rejection(() => session.run(new Map([['i', tensorFromArray('int64', [1], BigInt64Array.of(9n))]])))).message, /looked up/);
  });

  test('gives all outputs, or those asked for', async () => {
    const session = await Session.open(modelOf((g) => {
      const x = g.input('x', [2]);
      g.output(g.op('a', 'Relu', [x]), g.op('b', 'Neg', [x]), g.op('c', 'SequenceConstruct', [x]));
    }));
    const feeds = new Map([['x', floats([2], [1, -2])]]);
    const all = await session.run(feeds);
    assert.deepEqual([...all.keys()], ['a', 'b'], 'a sequence is no tensor');
    assert.deepEqual([...numbersOf(all.get('a')!)], [1, 0]);
    assert.deepEqual([...(await session.run(feeds, ['b'])).keys()], ['b']);
    await rejection(() => session.run(feeds, ['nope']));
  });

  const types: readonly [DType, TypedArray][] = [
    ['float32', Float32Array.of(0, -0, NaN, Infinity, 1e-45, 3e38)],
    ['float64', Float64Array.of(1e300, -1, 0, 5e-324, 2, 3)],
    ['float16', Uint16Array.of(0x3c00, 0x7bff, 0x0001, 0xfc00, 0x8000, 0)],
    ['int64', BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n, 0n, 2n ** 53n + 1n, 1n, -1n)],
    ['int32', Int32Array.of(-2147483648, 2147483647, 0, 1, 2, 3)],
    ['uint8', Uint8Array.of(0, 1, 127, 128, 254, 255)],
    ['int8', Int8Array.of(-128, -1, 0, 1, 126, 127)],
    ['uint16', Uint16Array.of(0, 1, 2, 3, 4, 65535)],
    ['int16', Int16Array.of(-32768, -1, 0, 1, 2, 32767)],
    ['uint32', Uint32Array.of(0, 1, 2, 3, 4, 4294967295)],
    ['uint64', BigUint64Array.of(0n, 1n, 2n, 3n, 4n, 2n ** 64n - 1n)],
    ['bool', Uint8Array.of(0, 1, 1, 0, 1, 0)],
  ];
  for (const [dtype, values] of types) {
    test(`${dtype} goes in and comes out bit for bit, also where it has no elements`, async () => {
      const session = await Session.open(modelOf((g) => void g.output(g.op('y', 'Identity', [g.input('x', ['n', 2], dtype)]))));
      for (const [rows, array] of [[3, values], [0, values.slice(0, 0)]] as const) {
        const tensor = tensorFromArray(dtype, [rows, 2], array);
        const received = (await session.run(new Map([['x', tensor]]))).get('y')!;
        assert.deepEqual([received.dtype, received.dims], [dtype, [rows, 2]]);
        assert.deepEqual([...received.storage.read()], [...tensor.storage.read()]);
      }
    });
  }

  test('a view of odd alignment', async () => {
    const session = await Session.open(relu);
    const bytes = new Uint8Array(9);
    bytes.set(new Uint8Array(Float32Array.of(1.5, -1).buffer), 1);
    const x: Tensor = { dtype: 'float32', dims: [1, 2], storage: memoryStorage(bytes.subarray(1)) };
    const feeds = new Map([['x', x]]);
    assert.deepEqual([...numbersOf((await session.run(feeds)).get('y')!)], [1.5, 0]);
  });

  test('text', async () => {
    const session = await Session.open(modelOf((g) => void g.output(g.op('y', 'Identity', [g.input('x', ['n'], 'string')]))));
    const words = ['', 'Grüße', '日本', 'a\nb'];
    const x: Tensor = { dtype: 'string', dims: [4], storage: memoryStorage(new Uint8Array()), strings: words };
    const y = (await session.run(new Map([['x', x]]))).get('y')!;
    assert.deepEqual([y.dtype, y.dims, y.strings], ['string', [4], words]);
  });

  test('a scalar', async () => {
    const session = await Session.open(modelOf((g) => void g.output(g.op('y', 'Neg', [g.input('x', [])]))));
    const y = (await session.run(new Map([['x', floats([], [3])]]))).get('y')!;
    assert.deepEqual([y.dims, [...numbersOf(y)]], [[], [-3]]);
  });

  test('feeds converted once can be run again', async () => {
    const session = await Session.open(relu);
    const feeds = session.toFeeds(new Map([['x', floats([1, 2], [1, -1])]]));
    for (let i = 0; i < 3; i++) assert.deepEqual([...((await session.runRaw(feeds))['y']!.data as Float32Array)], [1, 0]);
  });

  test('runAndVisit hands over each output and tells the time', async () => {
    const session = await Session.open(modelOf((g) => void g.output(g.op('a', 'Relu', [g.input('x', [2])]), g.op('b', 'Neg', ['x']))));
    const seen: [string, number[]][] = [];
    const durationMs = await session.runAndVisit(new Map([['x', floats([2], [1, -2])]]), (name, tensor) => seen.push([name, [...numbersOf(tensor)]]));
    assert.deepEqual(seen, [['a', [1, 0]], ['b', [-1, 2]]]);
    assert.ok(durationMs > 0 && durationMs < 10_000);
  });

  test('a released session refuses to run', async () => {
    const session = await Session.open(relu);
    await session.release();
    await rejection(() => session.run(new Map([['x', floats([1, 2], [1, 2])]])));
  });
});

describe('external data', () => {
  const bytes = modelWith(externalTensor(3, { location: 'w.bin', length: 12 }));
  const run = async (session: Session) => [...numbersOf((await session.run(new Map([['x', floats([3], [1, 1, 1])]]))).get('y')!)];

  test('is found beside a model that is opened by path, and in the folder named for bytes', async (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(join(folder, 'w.bin'), new Uint8Array(Float32Array.of(1, 2, 3).buffer));
    writeFileSync(join(folder, 'model.onnx'), bytes);
    assert.deepEqual(await run(await Session.open(join(folder, 'model.onnx'))), [2, 3, 4]);
    assert.deepEqual(await run(await Session.open(bytes, { externalDataFolder: folder })), [2, 3, 4]);
  });

  test('that is not there or too short is refused', async (t) => {
    const folder = temporaryFolder(t);
    await rejection(() => Session.open(bytes, { externalDataFolder: folder }));
    writeFileSync(join(folder, 'w.bin'), new Uint8Array(4));
    await rejection(() => Session.open(bytes, { externalDataFolder: folder }));
  });
});

describe('simulateQdq', () => {
  /** x · w with weights so large that u8 × s8 pairs saturate on CPUs without VNNI. */
  function quantizedModel(): Model {
    const g = new GraphBuilder(13);
    const x = g.pair(g.input('x', [1, 64]), { zeroPoint: 0, scale: 1 / 255 });
    g.constant('w_q', tensorFromArray('int8', [64, 4], new Int8Array(256).fill(127)));
    g.constant('w_z', tensorFromArray('int8', [], Int8Array.of(0)));
    g.output(g.op('y', 'MatMul', [x, g.op('w', 'DequantizeLinear', ['w_q', g.floats('w_s', [1], []), 'w_z'])]));
    return g.model();
  }

  test('runs Q/DQ as they are written, exactly', async () => {
    const session = await Session.open(encodeModel(quantizedModel()), { simulateQdq: true });
    const x = floats([1, 64], new Array<number>(64).fill(1));
    const [y] = typedArrayOf((await session.run(new Map([['x', x]]))).get('y')!) as Float32Array;
    assert.ok(Math.abs(y! - 64 * 127) < 0.01, String(y));
  });

  test('leaves Q/DQ in the optimized graph', async (t) => {
    const ops = async (simulateQdq: boolean) => {
      const path = join(temporaryFolder(t), 'fused.onnx');
      await (await Session.open(encodeModel(quantizedModel()), { simulateQdq, optimization: 'extended', optimizedModelPath: path })).release();
      return decodeModel(readFileSync(path)).graph.nodes.map(({ opType }) => opType);
    };
    assert.ok((await ops(true)).includes('MatMul'));
    assert.ok((await ops(false)).includes('MatMulIntegerToFloat'));
  });
});
