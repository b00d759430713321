import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { decodeNpy } from '../../src/data/decode-npy.js';
import { encodeNpy } from '../../src/data/encode-npy.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { assertFails, fixture, floats, readArrays, valuesOf } from './support.js';

const decode = (name: string) => decodeNpy(readFileSync(fixture(name)), name);

test('decodeNpy undoes Fortran order', () => {
  const tensor = decode('fortran.npy');
  assert.equal(tensor.dtype, 'int16');
  assert.deepEqual(tensor.dims, [2, 3, 2]);
  assert.deepEqual(valuesOf(tensor), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
});

test('decodeNpy reads format versions 2 and 3', () => {
  for (const name of ['version-2.npy', 'version-3.npy']) {
    assert.deepEqual(decode(name).dims, [2, 3, 2]);
    assert.deepEqual(valuesOf(decode(name)), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  }
});

test('decodeNpy reads scalars and arrays without elements', () => {
  assert.deepEqual(decode('scalar.npy').dims, []);
  assert.deepEqual(valuesOf(decode('scalar.npy')), [2.5]);
  assert.deepEqual(decode('empty.npy').dims, [0, 3]);
  assert.deepEqual(valuesOf(decode('empty.npy')), []);
});

test('decodeNpy reads text', () => {
  const text = decode('text.npy');
  assert.equal(text.dtype, 'string');
  assert.deepEqual(text.dims, [2, 2]);
  assert.deepEqual(text.strings, ['ab', 'é😀', '', 'xyz']);
  assert.deepEqual(decode('bytes.npy').strings, ['ab', 'c']);
});

test('decodeNpy swaps the bytes of big-endian arrays', async () => {
  for (const [type, tensor] of await readArrays(fixture('big-endian.npz'))) {
    assert.deepEqual(valuesOf(tensor), [1, 2, -3, 260], type);
  }
});

test('decodeNpy refuses Python objects and structures, with a hint', async () => {
  await assertFails(() => decode('object.npy'), 'data-invalid', /object\.npy has elements of type \|?O/, /Python objects/);
  await assertFails(() => decode('structured.npy'), 'data-invalid', /structured\.npy has elements of type \[/);
});

test('decodeNpy refuses damaged files', async () => {
  const whole = readFileSync(fixture('fortran.npy'));
  await assertFails(() => decodeNpy(Buffer.from('PK\x03\x04 no array'), 'a.npy'), 'data-invalid', /a\.npy is not a NumPy array/);
  await assertFails(() => decodeNpy(Buffer.alloc(0), 'a.npy'), 'data-invalid', /not a NumPy array/);
  await assertFails(() => decodeNpy(whole.subarray(0, 40), 'a.npy'), 'data-invalid', /header of 118 bytes that is cut off/);
  await assertFails(() => decodeNpy(whole.subarray(0, -1), 'a.npy'), 'data-invalid', /expected 24 bytes of data, received 23/);
  const newer = Buffer.from(whole);
  newer[6] = 9;
  await assertFails(() => decodeNpy(newer, 'a.npy'), 'data-invalid', /version 9, expected 1, 2 or 3/);
});

test('decodeNpy refuses shapes that no memory holds, before taking any', async () => {
  for (const [shape, message] of [
    ['(99999999, 99999999, 9999999999)', /declares .* bytes/],
    ['(4294967296,)', /declares 17179869184 bytes/],
    ['(99999999999999999999,)', /without a valid shape/],
    ['(-1,)', /without a valid shape/],
    ['(0x10,)', /without a valid shape/],
  ] as const) {
    await assertFails(() => decodeNpy(npyWithShape(shape), 'a.npy'), 'data-invalid', message);
  }
});

test('encodeNpy writes the bytes that numpy.save writes', () => {
  assert.deepEqual(encodeNpy(floats([], [2.5])), readFileSync(fixture('scalar.npy')));
  assert.deepEqual(encodeNpy(floats([0, 3], [])), readFileSync(fixture('empty.npy')));
  assert.deepEqual(encodeNpy(decode('text.npy')), readFileSync(fixture('text.npy')));
});

test('encodeNpy widens the types that NumPy lacks', () => {
  const bfloat = decodeNpy(encodeNpy(tensorFromArray('bfloat16', [2], Uint16Array.of(0x3fc0, 0xc000))), 'a');
  assert.equal(bfloat.dtype, 'float32');
  assert.deepEqual(valuesOf(bfloat), [1.5, -2]);
  const signed = decodeNpy(encodeNpy(tensorFromArray('int4', [3], Uint8Array.of(0x8f, 0x07))), 'a');
  assert.equal(signed.dtype, 'int8');
  assert.deepEqual(valuesOf(signed), [-1, -8, 7]);
  const unsigned = decodeNpy(encodeNpy(tensorFromArray('uint4', [3], Uint8Array.of(0x8f, 0x07))), 'a');
  assert.equal(unsigned.dtype, 'uint8');
  assert.deepEqual(valuesOf(unsigned), [15, 8, 7]);
});

test('encodeNpy refuses types without a number form', async () => {
  await assertFails(() => encodeNpy(tensorFromArray('float8e5m2', [1], Uint8Array.of(0))), 'data-invalid', /float8e5m2 cannot be written/);
});

function npyWithShape(shape: string): Buffer {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': ${shape}, }\n`;
  const header = Buffer.from('\x93NUMPY\x01\x00\x00\x00', 'latin1');
  header.writeUInt16LE(text.length, 8);
  return Buffer.concat([header, Buffer.from(text)]);
}
