import { QdqError } from '../errors.js';
import { elementCount, memoryStorage, type Tensor } from '../tensor/tensor.js';
import { parseNpyHeader, type NpyHeader } from './npy-header.js';

/** The tensor in the bytes of a `.npy` file. Throws QdqError `data-invalid`, naming `where`. */
export function decodeNpy(bytes: Buffer, where: string): Tensor {
  const header = parseNpyHeader(bytes, where);
  checkNpyLength(header, bytes.length, where);
  return decodeElements(bytes.subarray(header.dataOffset), header, header.dims);
}

/** Throws QdqError `data-invalid` unless a file of this length holds exactly the elements that its header declares. */
export function checkNpyLength({ dataOffset, dataLength }: NpyHeader, length: number, where: string): void {
  if (length === dataOffset + dataLength) return;
  const received = `expected ${dataLength} bytes of data, received ${length - dataOffset}`;
  throw new QdqError('data-invalid', `${where} is cut off or damaged: ${received}`);
}

/**
 * A tensor of shape `dims` over elements as they are in the file: byte order and Fortran order are undone. The bytes are
 * taken over and may be changed.
 */
export function decodeElements(bytes: Buffer, header: NpyHeader, dims: readonly number[]): Tensor {
  const { dtype, itemSize, text } = header;
  const swapWidth = text ? (text === 'utf32' ? 4 : 1) : itemSize;
  if (header.bigEndian) swapBytes(bytes, swapWidth);
  const ordered = header.fortranOrder && dims.length > 1 ? fromFortranOrder(bytes, dims, itemSize) : bytes;
  if (!text) return { dtype, dims, storage: memoryStorage(ordered) };
  const strings = Array.from({ length: elementCount(dims) }, (_, i) =>
    decodeText(ordered.subarray(i * itemSize, (i + 1) * itemSize), text),
  );
  return { dtype, dims, storage: memoryStorage(new Uint8Array()), strings };
}

function swapBytes(bytes: Buffer, width: number): void {
  if (width === 2) bytes.swap16();
  else if (width === 4) bytes.swap32();
  else if (width === 8) bytes.swap64();
}

function fromFortranOrder(bytes: Buffer, dims: readonly number[], itemSize: number): Buffer {
  const strides = dims.map((_, axis) => elementCount(dims.slice(0, axis)));
  const result = Buffer.allocUnsafeSlow(bytes.length);
  const index = dims.map(() => 0);
  for (let target = 0, source = 0; target < bytes.length; target += itemSize) {
    for (let i = 0; i < itemSize; i++) result[target + i] = bytes[source * itemSize + i]!;
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      source += strides[axis]!;
      if (++index[axis]! < dims[axis]!) break;
      source -= strides[axis]! * dims[axis]!;
      index[axis] = 0;
    }
  }
  return result;
}

/** NumPy pads text with zeros at the end. */
function decodeText(bytes: Buffer, text: 'utf32' | 'bytes'): string {
  if (text === 'bytes') return bytes.toString('utf8').replace(/\0+$/, '');
  let result = '';
  for (let i = 0; i < bytes.length; i += 4) result += String.fromCodePoint(bytes.readUInt32LE(i));
  return result.replace(/\0+$/, '');
}
