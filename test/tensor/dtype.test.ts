import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { describe, test } from 'node:test';
import { dtypeFromCode, dtypeInfo, isFloat, isQuantizedType, packedByteLength, type DType } from '../../src/tensor/dtype.js';

/** Name, code and bits as onnx.proto3 has them, typed in anew; the names are ONNX's own in lower case, except for FLOAT and DOUBLE. */
const OFFICIAL = `
  FLOAT 1 32, UINT8 2 8, INT8 3 8, UINT16 4 16, INT16 5 16, INT32 6 32, INT64 7 64, STRING 8 0, BOOL 9 8, FLOAT16 10 16, DOUBLE 11 64, UINT32 12 32,
  UINT64 13 64, COMPLEX64 14 64, COMPLEX128 15 128, BFLOAT16 16 16, FLOAT8E4M3FN 17 8, FLOAT8E4M3FNUZ 18 8, FLOAT8E5M2 19 8, FLOAT8E5M2FNUZ 20 8,
  UINT4 21 4, INT4 22 4, FLOAT4E2M1 23 4, FLOAT8E8M0 24 8, UINT2 25 2, INT2 26 2`
  .split(',')
  .map((row) => row.trim().split(' ') as [string, string, string]);

describe('dtype table', () => {
  for (const [official, code, bits] of OFFICIAL) {
    test(official, () => {
      const name = dtypeFromCode(Number(code));
      assert.equal(name, { FLOAT: 'float32', DOUBLE: 'float64' }[official] ?? official.toLowerCase());
      assert.deepEqual({ ...dtypeInfo(name), short: '' }, { name, code: Number(code), bits: Number(bits), short: '' });
    });
  }

  test('short forms differ', () => {
    assert.equal(new Set(OFFICIAL.map(([, code]) => dtypeInfo(dtypeFromCode(Number(code))).short)).size, OFFICIAL.length);
  });

  test('agrees with the enumeration of the npm package onnx-proto, which ends at 16', () => {
    const { onnx } = createRequire(import.meta.url)('onnx-proto') as { onnx: { TensorProto: { DataType: Record<string, number> } } };
    const { DataType } = onnx.TensorProto;
    const ours = OFFICIAL.filter(([name]) => DataType[name] !== undefined);
    assert.ok(ours.length >= 16);
    for (const [name, code] of ours) assert.equal(DataType[name], Number(code));
  });

  test('codes outside the table are unknown', () => {
    for (const code of [0, 27, -1, 1000]) assert.equal(dtypeFromCode(code), 'unknown');
    assert.deepEqual(dtypeInfo('unknown'), { name: 'unknown', code: 0, bits: 0, short: '?' });
  });
});

test('packedByteLength: elements below a byte share bytes', () => {
  const cases: [DType, number, number][] = [
    ['float32', 3, 12],
    ['uint4', 0, 0],
    ['uint4', 1, 1],
    ['int4', 2, 1],
    ['int4', 3, 2],
    ['uint2', 4, 1],
    ['int2', 5, 2],
    ['float4e2m1', 3, 2],
    ['complex128', 2, 32],
    ['bool', 5, 5],
    ['string', 5, 0],
    ['unknown', 5, 0],
  ];
  for (const [dtype, count, expected] of cases) assert.equal(packedByteLength(dtype, count), expected, `${count} × ${dtype}`);
});

test('isFloat, isQuantizedType', () => {
  const all = OFFICIAL.map(([, code]) => dtypeFromCode(Number(code)));
  assert.deepEqual(all.filter(isFloat), ['float32', 'float16', 'float64', 'bfloat16']);
  assert.deepEqual(all.filter(isQuantizedType), ['uint8', 'int8', 'uint16', 'int16', 'uint4', 'int4', 'uint2', 'int2']);
});
