import { QdqError } from '../errors.js';
import type { DType } from '../tensor/dtype.js';
import { elementCount, tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';

const DESCR: Partial<Record<DType, string>> = {
  float16: '<f2',
  float32: '<f4',
  float64: '<f8',
  bool: '|b1',
  int8: '|i1',
  int16: '<i2',
  int32: '<i4',
  int64: '<i8',
  uint8: '|u1',
  uint16: '<u2',
  uint32: '<u4',
  uint64: '<u8',
};

/** NumPy leaves room for the first dimension to grow to this many digits. */
const GROWTH_DIGITS = 21;

/**
 * The tensor as a `.npy` file, with the bytes that `numpy.save` writes. Types that NumPy lacks are widened: bfloat16 to
 * float32, 4-bit integers to 8 bits. Throws QdqError `data-invalid` for types without a number form.
 */
export function encodeNpy(tensor: Tensor): Buffer {
  const { dtype, dims } = tensor;
  if (tensor.strings) return encodeStrings(tensor.strings, dims);
  if (dtype === 'bfloat16') return encodeNpy(tensorFromArray('float32', dims, numbersOf(tensor)));
  if (dtype === 'int4') return encodeNpy(tensorFromArray('int8', dims, Int8Array.from(numbersOf(tensor))));
  if (dtype === 'uint4') return encodeNpy(tensorFromArray('uint8', dims, Uint8Array.from(numbersOf(tensor))));
  const descr = DESCR[dtype];
  if (!descr) throw new QdqError('data-invalid', `a tensor of type ${dtype} cannot be written as a NumPy array`);
  return withHeader(descr, dims, tensor.storage.read());
}

function encodeStrings(strings: readonly string[], dims: readonly number[]): Buffer {
  const points = strings.map((text) => Array.from(text, (char) => char.codePointAt(0)!));
  const width = Math.max(1, ...points.map((text) => text.length));
  const data = new Uint32Array(elementCount(dims) * width);
  points.forEach((text, i) => data.set(text, i * width));
  return withHeader(`<U${width}`, dims, new Uint8Array(data.buffer));
}

function withHeader(descr: string, dims: readonly number[], data: Uint8Array): Buffer {
  const shape = dims.length === 1 ? `${dims[0]},` : dims.join(', ');
  const growth = dims.length ? ' '.repeat(Math.max(0, GROWTH_DIGITS - String(dims[0]).length)) : '';
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape}), }${growth}`;
  const padding = 64 - ((10 + text.length + 1) % 64);
  const header = Buffer.alloc(10 + text.length + padding + 1, ' ');
  header.write('\x93NUMPY\x01\x00', 'latin1');
  header.writeUInt16LE(header.length - 10, 8);
  header.write(text, 10, 'latin1');
  header.write('\n', header.length - 1);
  return Buffer.concat([header, data]);
}
