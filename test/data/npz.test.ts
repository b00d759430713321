import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import { crc32, crc32InScript } from '../../src/data/crc32.js';
import { QdqError } from '../../src/errors.js';
import { encodeNpy } from '../../src/data/encode-npy.js';
import { encodeNpz, writeNpz } from '../../src/data/npz.js';
import { memoryStorage, type Tensor } from '../../src/tensor/tensor.js';
import { assertFails, fixture, floats, folderWith, readArrays, row, valuesOf } from './support.js';

const NAMES = {
  f2: 'float16',
  f4: 'float32',
  f8: 'float64',
  i1: 'int8',
  i2: 'int16',
  i4: 'int32',
  i8: 'int64',
  u1: 'uint8',
  u2: 'uint16',
  u4: 'uint32',
  u8: 'uint64',
  b1: 'bool',
} as const;

for (const file of ['types.npz', 'types-compressed.npz']) {
  test(`listNpz reads every type that NumPy shares with ONNX from ${file}`, async () => {
    const arrays = await readArrays(fixture(file));
    assert.deepEqual([...arrays.keys()].sort(), Object.keys(NAMES).sort());
    for (const [letters, dtype] of Object.entries(NAMES)) {
      const tensor = arrays.get(letters)!;
      assert.equal(tensor.dtype, dtype);
      assert.deepEqual(tensor.dims, [2, 3]);
      assert.deepEqual(valuesOf(tensor), letters === 'b1' ? [0, 1, 1, 1, 1, 1] : [0, 1, 2, 3, 4, 100], letters);
    }
  });
}

test('listNpz reads the 64-bit records of large archives', async () => {
  assert.deepEqual(valuesOf((await readArrays(fixture('zip64.npz'))).get('x')), [1, 2, 3]);
});

test('encodeNpz round trips every type, with names of any form', async (t) => {
  const arrays = await readArrays(fixture('types.npz'));
  const named = new Map([...arrays].map(([name, tensor]) => [`scope/${name}:0 é`, tensor]));
  const again = await readArrays(join(folderWith(t, { 'a.npz': named }), 'a.npz'));
  assert.deepEqual([...again.keys()], [...named.keys()]);
  for (const [name, tensor] of named) {
    const copy = again.get(name)!;
    assert.equal(copy.dtype, tensor.dtype);
    assert.deepEqual(copy.dims, tensor.dims);
    assert.deepEqual(Buffer.from(copy.storage.read()), Buffer.from(tensor.storage.read()));
  }
});

test('encodeNpz gives the same bytes for the same tensors', () => {
  assert.deepEqual(encodeNpz(row(1)), encodeNpz(row(1)));
});

test('writeNpz leaves nothing behind where it cannot write', async (t) => {
  const folder = folderWith(t, {});
  await writeNpz(join(folder, 'a.npz'), row(1));
  assert.deepEqual([...(await readArrays(join(folder, 'a.npz'))).keys()], ['x']);
  const unencodable: Tensor = { dtype: 'float8e5m2', dims: [1], storage: memoryStorage(Uint8Array.of(0)) };
  await assertFails(() => writeNpz(join(folder, 'b.npz'), new Map([['y', unencodable]])), 'data-invalid', /float8e5m2/);
  await assertFails(() => writeNpz(join(folder, 'none', 'b.npz'), row(1)), 'file-unwritable', /none/);
  assert.deepEqual(readdirSync(folder), ['a.npz']);
});

test('listNpz refuses files that are cut off at any place', async (t) => {
  const folder = folderWith(t, {});
  const path = join(folder, 'a.npz');
  for (const source of ['types.npz', 'types-compressed.npz']) {
    const whole = readFileSync(fixture(source));
    for (let length = 0; length < whole.length; length += 97) {
      writeFileSync(path, whole.subarray(0, length));
      await assertFails(() => readArrays(path), 'data-invalid', /a\.npz/);
    }
  }
});

test('listNpz survives damage of any byte: the right arrays or a clear error', async (t) => {
  const path = join(folderWith(t, {}), 'a.npz');
  const good = await readArrays(fixture('types-compressed.npz'));
  const whole = readFileSync(fixture('types-compressed.npz'));
  let refused = 0;
  for (let at = 0; at < whole.length; at += 3) {
    const damaged = Buffer.from(whole);
    damaged[at]! ^= 0x41;
    writeFileSync(path, damaged);
    const arrays = await readArrays(path).catch((error: unknown) => {
      assert.ok(error instanceof QdqError && error.code === 'data-invalid', `byte ${at}`);
      refused++;
      return new Map<string, Tensor>();
    });
    for (const [name, tensor] of arrays) if (good.has(name)) assert.deepEqual(valuesOf(tensor), valuesOf(good.get(name)), `byte ${at}`);
  }
  assert.ok(refused > whole.length / 9, `only ${refused} damaged files were refused`);
});

test('listNpz tells damage by the checksum', async (t) => {
  const bytes = Buffer.from(encodeNpz(row(1)));
  bytes[bytes.indexOf(encodeNpy(row(1).get('x')!).subarray(-12))]! ^= 1;
  const path = join(folderWith(t, { 'a.npz': bytes }), 'a.npz');
  await assertFails(() => readArrays(path), 'data-invalid', /a\.npz: x\.npy is damaged: its checksum is wrong/);
});

test('listNpz does not inflate more than an array needs', async (t) => {
  const array = encodeNpy(floats([2], [1, 2]));
  const bomb = zipOf(Buffer.concat([array, Buffer.alloc(50e6)]));
  const folder = folderWith(t, { 'honest.npz': bomb(array.length + 50e6), 'lying.npz': bomb(array.length) });
  await assertFails(() => readArrays(join(folder, 'honest.npz')), 'data-invalid', /expected 8 bytes of data, received 50000008/);
  await assertFails(() => readArrays(join(folder, 'lying.npz')), 'data-invalid', /x\.npy is damaged/);
});

test('listNpz refuses what is not a zip file', async (t) => {
  const path = join(folderWith(t, { 'a.npz': 'hello' }), 'a.npz');
  await assertFails(() => readArrays(path), 'data-invalid', /a\.npz: is not a complete npz/, /np\.savez/);
  await assertFails(() => readArrays(`${path}.gone.npz`), 'file-not-found', /gone\.npz: no such file/);
});

test('crc32 is the same with and without the help of the runtime', () => {
  const bytes = Buffer.from('123456789');
  assert.equal(crc32(bytes), 0xcbf43926);
  assert.equal(crc32InScript(bytes), 0xcbf43926);
});

/** A zip archive with one deflated entry "x.npy" that declares any size. */
function zipOf(content: Buffer): (declaredSize: number) => Buffer {
  const packed = deflateRawSync(content);
  return (declaredSize) => {
    const name = Buffer.from('x.npy');
    const fields = Buffer.alloc(26);
    fields.writeUInt16LE(20, 0);
    fields.writeUInt16LE(8, 4);
    fields.writeUInt32LE(crc32(content), 10);
    fields.writeUInt32LE(packed.length, 14);
    fields.writeUInt32LE(declaredSize, 18);
    fields.writeUInt16LE(name.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), fields, name, packed]);
    const directory = Buffer.concat([Buffer.from('PK\x01\x02\x14\x00'), fields, Buffer.alloc(14), name]);
    const end = Buffer.alloc(22);
    end.write('PK\x05\x06');
    end.writeUInt16LE(1, 8);
    end.writeUInt16LE(1, 10);
    end.writeUInt32LE(directory.length, 12);
    end.writeUInt32LE(local.length, 16);
    return Buffer.concat([local, directory, end]);
  };
}
