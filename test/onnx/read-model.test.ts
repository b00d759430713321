import assert from 'node:assert/strict';
import { chmodSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { test } from 'node:test';
import { QdqError, type ErrorCode } from '../../src/errors.js';
import { writeMessage } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/model-codec.js';
import { readModel } from '../../src/onnx/read-model.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { modelWith } from './small-model.js';

const valid = Buffer.from(modelWith({ dims: [300], data_type: 1, raw_data: new Uint8Array(1200) }));

function fails(code: ErrorCode, message: RegExp, hint?: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof QdqError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    assert.ok(!error.message.includes('\n'), 'one line');
    assert.match(error.hint ?? '', hint ?? /./);
    return true;
  };
}

test('a missing file, a folder, an unreadable and an oversized file', async (t) => {
  const folder = temporaryFolder(t);
  await assert.rejects(readModel(join(folder, 'no.onnx')), fails('file-not-found', /no\.onnx does not exist; expected an ONNX file/));
  await assert.rejects(readModel(folder), fails('file-unreadable', /is a folder; expected an ONNX file/));
  const path = join(folder, 'm.onnx');
  writeFileSync(path, valid);
  await assert.rejects(readModel(join(path, 'inside')), fails('file-not-found', /does not exist/));
  if (process.getuid?.() !== 0) {
    chmodSync(path, 0);
    await assert.rejects(readModel(path), fails('file-unreadable', /cannot be read: EACCES/, /permissions/));
    chmodSync(path, 0o600);
  }
  truncateSync(path, 2 ** 31);
  await assert.rejects(readModel(path), fails('file-unreadable', /has 2147483648 bytes; an ONNX file has at most 2147483647/, /side file/));
});

test('files that are something else are told apart', async (t) => {
  const path = join(temporaryFolder(t), 'm.onnx');
  const cases: [Uint8Array | string, RegExp, RegExp][] = [
    ['', /received an empty file \(0 bytes\)/, /again/],
    ['version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n', /received a Git LFS pointer/, /git lfs pull/],
    ['<!DOCTYPE html><html>', /received a web page/, /download/],
    ['\n<html lang="en">', /received a web page/, /address/],
    ['PK\x03\x04\x14\0\0\0', /received a zip archive/, /exported to ONNX/],
    [gzipSync(valid), /received gzip data/, /Unpack/],
    [Buffer.from('8002636f736574', 'hex'), /received a Python pickle/, /torch\.onnx\.export/],
    [Buffer.from('894844460d0a1a0a', 'hex'), /received an HDF5 file/, /tf2onnx/],
    [Buffer.from('\x18\0\0\0TFL3\0\0', 'latin1'), /received a FlatBuffers model/, /\.onnx/],
    [Buffer.from('\x08\0\0\0ORTM\0\0', 'latin1'), /received a FlatBuffers model/, /\.onnx/],
    [Buffer.from('\x93NUMPY\x01\0', 'latin1'), /received a NumPy array/, /\.onnx/],
    ['{"a": 1}\nmore', /received a text file \(it starts with "\{\\"a\\": 1\}"\)/, /\.onnx/],
    ['größe\n', /received a text file/, /\.onnx/],
  ];
  for (const [content, message, hint] of cases) {
    writeFileSync(path, content);
    await assert.rejects(readModel(path), fails('not-onnx', message, hint));
    await assert.rejects(readModel(path), fails('not-onnx', /m\.onnx is not an ONNX model: expected a protobuf message/));
  }
});

test('every truncation is refused', () => {
  for (let length = 0; length < valid.length; length++) {
    assert.throws(
      () => decodeModel(valid.subarray(0, length), { file: 'm.onnx' }),
      (error) => error instanceof QdqError && ['not-onnx', 'model-invalid'].includes(error.code) && error.message.startsWith('m.onnx'),
      `cut at ${length}`,
    );
  }
});

test('truncated and corrupt bytes say what was received', () => {
  assert.throws(
    () => decodeModel(valid.subarray(0, 700), { file: 'm.onnx' }),
    fails('not-onnx', /m\.onnx is not an ONNX model, or is damaged: .* its 700 bytes failed \(index out of range.*\)\. It starts with 08 08 12 04/),
  );
  const corrupt = Buffer.from(valid);
  corrupt.fill(0xff, 8, 40);
  assert.throws(() => decodeModel(corrupt), fails('not-onnx', /the model is not an ONNX model, or is damaged/));
});

test('random damage gives a model or a QdqError, never another error', () => {
  let state = 1;
  const random = (below: number) => ((state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 8) % below;
  const small = Buffer.from(modelWith({ dims: [2], data_type: 1, float_data: [1, 2] }));
  let refused = 0;
  for (let round = 0; round < 3000; round++) {
    const damaged = Buffer.from(small);
    for (let n = 0; n <= random(3); n++) damaged[random(damaged.length)] = random(256);
    try {
      decodeModel(damaged);
    } catch (error) {
      assert.ok(error instanceof QdqError, `${error instanceof Error ? error.stack : String(error)} for ${damaged.toString('hex')}`);
      refused++;
    }
  }
  assert.ok(refused > 500, `only ${refused} of 3000 refused`);
});

test('messages nested without end are refused', () => {
  const wrap = (number: number, bytes: Uint8Array) => Buffer.concat([Buffer.from([(number << 3) | 2, ...varint(bytes.length)]), bytes]);
  const isGraph = Buffer.from([0xa0, 0x01, 5]);
  const nested = (depth: number) => {
    let graph: Uint8Array = Buffer.from([0x12, 1, 0x67]);
    for (let i = 0; i < depth; i++) graph = wrap(1, wrap(5, Buffer.concat([wrap(6, graph), isGraph])));
    return Buffer.concat([Buffer.from([0x08, 2]), wrap(7, graph)]);
  };
  // A body takes three messages; protobuf allows a depth of 100.
  assert.equal(decodeModel(nested(33)).graph.nodes.length, 1);
  assert.throws(() => decodeModel(nested(34)), fails('not-onnx', /max depth exceeded/));
  assert.throws(() => decodeModel(nested(10_000)), fails('not-onnx', /max depth exceeded/));
});

test('a model without a graph, without operator sets, and a tensor file', () => {
  const opset_import = [{ domain: '', version: 13 }];
  assert.throws(() => decodeModel(writeMessage('ModelProto', { ir_version: 8, opset_import })), fails('model-invalid', /has no graph/));
  assert.throws(
    () => decodeModel(writeMessage('ModelProto', { ir_version: 8, graph: { name: 'g' } }), { file: 'm.onnx' }),
    fails('model-invalid', /m\.onnx names no operator set \(opset_import\), which IR version 8 requires/, /cut off/),
  );
  const tensor = writeMessage('TensorProto', { dims: [2], data_type: 1, raw_data: new Uint8Array(8) });
  assert.throws(() => decodeModel(tensor), fails('not-onnx', /expected a protobuf message with a graph; its 14 bytes have none/));
});

test('a tensor that contradicts itself is named, in attributes too', () => {
  assert.throws(
    () => decodeModel(modelWith({ dims: [3], data_type: 1, raw_data: new Uint8Array(8) }), { file: 'm.onnx' }),
    fails('model-invalid', /m\.onnx: tensor "w" is invalid: float32\[3\] takes 12 bytes, but 8 are stored/, /export/),
  );
  const node = [
    { op_type: 'Constant', name: 'c', output: ['k'], attribute: [{ name: 'value', type: 4, t: { dims: [1], data_type: 7 } }] },
  ];
  assert.throws(
    () => decodeModel(modelWith({ dims: [0], data_type: 1 }, { node })),
    fails('model-invalid', /tensor "value of Constant c" is invalid: int64\[1\] takes 8 bytes, but 0 are stored/),
  );
});

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) | 128, ...varint(Math.floor(value / 128))];
}
