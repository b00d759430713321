import assert from 'node:assert/strict';
import { test } from 'node:test';
import { QdqError } from '../../src/errors.js';
import { SideFiles } from '../../src/onnx/external-data.js';
import { readMessage, writeMessage, type Message } from '../../src/onnx/messages.js';
import { decodeTensor, encodeTensor } from '../../src/onnx/tensor-codec.js';
import { dtypeInfo, type DType } from '../../src/tensor/dtype.js';
import { memoryStorage, typedArrayOf, type Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';

type TensorMessage = Message<'TensorProto'>;

const files = new SideFiles();
const decode = (message: TensorMessage) => decodeTensor(readMessage('TensorProto', writeMessage('TensorProto', message)), 't', files);
const int64 = (low: number, high: number) => ({ low, high, unsigned: false });

/** Element type, shape, the list form, and the same elements as raw bytes. Source: comments of TensorProto in onnx.in.proto. */
const FORMS: readonly (readonly [DType, readonly number[], TensorMessage, string])[] = [
  ['float32', [2], { float_data: [1, -0.5] }, '0000803f000000bf'],
  ['complex64', [1], { float_data: [1, -0.5] }, '0000803f000000bf'],
  ['float64', [1], { double_data: [1] }, '000000000000f03f'],
  ['complex128', [1], { double_data: [1, -2] }, '000000000000f03f00000000000000c0'],
  ['int64', [2], { int64_data: [-1, int64(1, 0x7fffffff)] }, 'ffffffffffffffff01000000ffffff7f'],
  ['uint64', [1], { uint64_data: [int64(-1, -1)] }, 'ffffffffffffffff'],
  ['uint32', [2], { uint64_data: [4294967295, 1] }, 'ffffffff01000000'],
  ['int32', [2], { int32_data: [-2147483648, 5] }, '0000008005000000'],
  ['int16', [2], { int32_data: [-2, 258] }, 'feff0201'],
  ['uint16', [1], { int32_data: [65535] }, 'ffff'],
  ['float16', [2], { int32_data: [0x3c00, 0xc000] }, '003c00c0'],
  ['bfloat16', [1], { int32_data: [0x3f80] }, '803f'],
  ['int8', [3], { int32_data: [-128, -1, 127] }, '80ff7f'],
  ['uint8', [2], { int32_data: [0, 255] }, '00ff'],
  ['bool', [2], { int32_data: [1, 0] }, '0100'],
  ['float8e4m3fn', [1], { int32_data: [0x38] }, '38'],
  ['float8e5m2', [1], { int32_data: [0xbc] }, 'bc'],
  ['float8e8m0', [1], { int32_data: [127] }, '7f'],
  ['int4', [3], { int32_data: [0xe1, 0x03] }, 'e103'],
  ['uint4', [2, 2], { int32_data: [0x21, 0x43] }, '2143'],
  ['float4e2m1', [1], { int32_data: [0x02] }, '02'],
  ['int2', [5], { int32_data: [0xe4, 0x03] }, 'e403'],
  ['uint2', [4], { int32_data: [0x1b] }, '1b'],
];

for (const [dtype, dims, list, hex] of FORMS) {
  const header = { dims, data_type: dtypeInfo(dtype).code, name: 't' };
  const raw = Buffer.from(hex, 'hex');

  test(`${dtype}: the list form and raw_data give the same tensor`, () => {
    const fromList = decode({ ...header, ...list });
    const fromRaw = decode({ ...header, raw_data: raw });
    for (const tensor of [fromList, fromRaw]) {
      assert.equal(tensor.dtype, dtype);
      assert.deepEqual(tensor.dims, dims);
      assert.equal(tensor.storage.byteLength, raw.length);
      assert.equal(Buffer.from(tensor.storage.read()).toString('hex'), hex);
      assert.equal(Buffer.from(tensor.storage.readRange(1, 2)).toString('hex'), hex.slice(2, 6));
    }
    assert.equal(fromList.storage.read(), fromList.storage.read(), 'packed once');
  });

  test(`${dtype}: an untouched list stays a list, also under another name and shape`, () => {
    const message = readMessage('TensorProto', writeMessage('TensorProto', { ...header, ...list }));
    const tensor = decodeTensor(message, 't', files);
    assert.equal(encodeTensor(tensor), message);
    assert.equal(encodeTensor({ ...tensor, dims: [...dims] }, 't'), message);
    const moved = encodeTensor({ ...tensor, dims: [...dims, 1] }, 'other');
    assert.deepEqual({ ...moved }, { ...message, name: 'other', dims: [...dims, 1] });
  });

  test(`${dtype}: a new tensor goes to raw_data and reads back`, () => {
    const message = encodeTensor({ dtype, dims, storage: memoryStorage(raw) }, 'new');
    assert.deepEqual(message, { dims, data_type: dtypeInfo(dtype).code, name: 'new', raw_data: raw });
    assert.equal(Buffer.from(decode(message).storage.read()).toString('hex'), hex);
  });
}

test('raw_data is a view of the bytes that were decoded, and reads at any alignment', () => {
  const message: TensorMessage = { dims: [2], data_type: 1, raw_data: Buffer.from('0000803f000000bf', 'hex') };
  for (let shift = 0; shift < 4; shift++) {
    const written = writeMessage('TensorProto', { ...message, name: 'n'.repeat(shift + 1) });
    const tensor = decodeTensor(readMessage('TensorProto', written), 't', files);
    assert.equal(tensor.storage.read().buffer, written.buffer);
    assert.equal(Object.getPrototypeOf(tensor.storage.read()), Uint8Array.prototype, 'no Buffer, whose slice does not copy');
    assert.deepEqual([...typedArrayOf(tensor)], [1, -0.5]);
  }
});

test('another element type over the same bytes moves a list to raw_data', () => {
  const tensor = decode({ dims: [2], data_type: 3, int32_data: [-1, 127], doc_string: 'kept' });
  assert.deepEqual(
    readBack(encodeTensor({ ...tensor, dtype: 'uint8' }, 'w')),
    readBack({ dims: [2], data_type: 2, name: 'w', raw_data: Uint8Array.of(255, 127), doc_string: 'kept' }),
  );
});

test('new elements take the place of the old ones; the rest of the message stays', () => {
  const unknown = Buffer.from([0xf8, 0x7f, 0x2a]);
  const message = { dims: [1], data_type: 1, float_data: [1], name: 'w', doc_string: 'd', metadata_props: [{ key: 'k' }] };
  const tensor = decode({ ...message, $unknowns: [unknown] });
  const edited = encodeTensor({ ...tensor, storage: memoryStorage(Uint8Array.of(0, 0, 0, 64)) }, 'w');
  const { float_data, ...rest } = message;
  assert.deepEqual(readBack(edited), readBack({ ...rest, raw_data: Uint8Array.of(0, 0, 0, 64), $unknowns: [unknown] }));
  assert.deepEqual(float_data, [1]);
});

test('strings', () => {
  const text = ['a', '', 'é'];
  const message = { dims: [3], data_type: 8, string_data: text.map((item) => Buffer.from(item)) };
  const tensor = decode(message);
  assert.deepEqual(tensor.strings, text);
  const fresh: Tensor = { dtype: 'string', dims: [3], storage: tensor.storage, strings: text };
  assert.deepEqual(readBack(encodeTensor(fresh)), readBack(message));
  assert.throws(() => decode({ ...message, dims: [2] }), modelInvalid(/string\[2\] has 2 elements, but 3 are stored/));
});

test('a scalar, an empty tensor and a type newer than the table', () => {
  assert.deepEqual([...numbersOf(decode({ data_type: 7, int64_data: [5] }))], [5]);
  assert.equal(decode({ dims: [0, 4], data_type: 1 }).storage.byteLength, 0);
  const unknown = { dims: [3], data_type: 28, int32_data: [1, 2, 3] };
  const tensor = decode(unknown);
  assert.equal(tensor.dtype, 'unknown');
  assert.deepEqual(readBack(encodeTensor({ ...tensor }, 'named')), readBack({ ...unknown, name: 'named' }));
});

test('bytes that do not fit shape and type are refused, naming the tensor and both counts', () => {
  assert.throws(
    () => decode({ dims: [2, 3], data_type: 1, raw_data: new Uint8Array(20) }),
    modelInvalid(/tensor "t" is invalid: float32\[2,3\] takes 24 bytes, but 20 are stored/),
  );
  assert.throws(() => decode({ dims: [3], data_type: 22, int32_data: [1] }), modelInvalid(/int4\[3\] takes 2 bytes, but 1 are/));
  assert.throws(() => decode({ dims: [3], data_type: 10, int32_data: [1, 2] }), modelInvalid(/float16\[3\] takes 6 bytes, but 4 are/));
  assert.throws(() => decode({ dims: [1], data_type: 1 }), modelInvalid(/takes 4 bytes, but 0 are stored/));
});

test('absurd shapes are refused', () => {
  assert.throws(() => decode({ dims: [-1, 2], data_type: 1 }), modelInvalid(/its shape \[-1,2\] has a negative dimension/));
  assert.throws(
    () => decode({ dims: [2 ** 40, 2 ** 40], data_type: 1 }),
    modelInvalid(/its shape \[1099511627776,1099511627776\] has more than 2\^53 elements/),
  );
  assert.throws(() => decode({ dims: [int64(-1, 0x7fffffff)], data_type: 1 }), modelInvalid(/has more than 2\^53 elements/));
});

test('a new tensor whose bytes do not fit is not written', () => {
  const tensor: Tensor = { dtype: 'float32', dims: [2], storage: memoryStorage(new Uint8Array(4)) };
  assert.throws(() => encodeTensor(tensor, 'w'), { code: 'internal', message: /"w": float32\[2\] takes 8 bytes, received 4/ });
});

function readBack(message: TensorMessage): TensorMessage {
  return readMessage('TensorProto', writeMessage('TensorProto', message));
}

function modelInvalid(message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof QdqError);
    assert.equal(error.code, 'model-invalid');
    assert.match(error.message, message);
    assert.ok(error.hint);
    return true;
  };
}
