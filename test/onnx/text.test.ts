import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readMessage, writeMessage } from '../../src/onnx/messages.js';

const field = (bytes: Uint8Array) => Buffer.concat([Buffer.from([0x0a, bytes.length]), bytes]);
const nameOf = (bytes: Uint8Array) => readMessage('ValueInfoProto', field(bytes)).name;

test('names that are not UTF-8 keep their bytes and stay apart', () => {
  const first = Buffer.from('cae4c8eb31', 'hex'); // 输入1 in GBK
  const second = Buffer.from('cae4b3f631', 'hex'); // 输出1 in GBK
  assert.notEqual(nameOf(first), nameOf(second));
  for (const bytes of [first, second, Buffer.from('ff', 'hex'), Buffer.from('61c362e28262f09f98', 'hex'), Buffer.from('edb280', 'hex')]) {
    const message = readMessage('ValueInfoProto', field(bytes));
    assert.deepEqual(Buffer.from(writeMessage('ValueInfoProto', message)), field(bytes));
    assert.deepEqual(Buffer.from(writeMessage('ValueInfoProto', { name: message.name })), field(bytes), 'also in a new message');
  }
  assert.equal(nameOf(Buffer.from('61ff62', 'hex')), 'a\udcffb');
});

test('valid text reads as it is, U+FFFD, BOM and emoji included', () => {
  for (const text of ['', 'plain', 'wëights', '输入', '\ufffd', '\ufeffx', '😀', 'x'.repeat(300), 'ü'.repeat(300)]) {
    const bytes = writeMessage('ValueInfoProto', { name: text });
    const message = readMessage('ValueInfoProto', bytes);
    assert.equal(message.name, text);
    assert.deepEqual(Buffer.from(writeMessage('ValueInfoProto', message)), Buffer.from(bytes));
  }
});
