import { QdqError } from '../errors.js';
import { dtypeInfo, type DType } from '../tensor/dtype.js';
import { elementCount } from '../tensor/tensor.js';

/** What the header of a `.npy` file says. */
export interface NpyHeader {
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly fortranOrder: boolean;
  readonly bigEndian: boolean;
  /** Bytes of one element in the file; for strings their fixed width. */
  readonly itemSize: number;
  /** How elements of strings are written: UTF-32 or bytes. */
  readonly text?: 'utf32' | 'bytes';
  /** Where the elements start. */
  readonly dataOffset: number;
  /** Bytes of all elements. */
  readonly dataLength: number;
}

/** Bytes from the start of a file that hold any header that this reader accepts. */
export const NPY_HEADER_LIMIT = 64 * 1024;

/** Elements beyond this many bytes are refused, since a Buffer holds no more on Node.js 20. */
const MAX_DATA_BYTES = 2 ** 32 - 1;

/** NumPy's type letters and widths for the ONNX types that have one. */
const NUMPY_TYPES: Readonly<Record<string, DType>> = {
  f2: 'float16',
  f4: 'float32',
  f8: 'float64',
  b1: 'bool',
  i1: 'int8',
  i2: 'int16',
  i4: 'int32',
  i8: 'int64',
  u1: 'uint8',
  u2: 'uint16',
  u4: 'uint32',
  u8: 'uint64',
};

/**
 * Reads the header at the start of `bytes`, versions 1 to 3. Throws QdqError `data-invalid`, naming `where`.
 * Source: numpy.lib.format, "Format Version 1.0" to "3.0".
 */
export function parseNpyHeader(bytes: Buffer, where: string): NpyHeader {
  const major = bytes[6] ?? 0;
  const start = major === 1 ? 10 : 12;
  if (bytes.length < start || bytes.toString('latin1', 0, 6) !== '\x93NUMPY') throw invalid(where, 'is not a NumPy array');
  if (major < 1 || major > 3) throw invalid(where, `has NumPy format version ${major}, expected 1, 2 or 3`);
  const length = major === 1 ? bytes.readUInt16LE(8) : bytes.readUInt32LE(8);
  const dataOffset = start + length;
  if (dataOffset > Math.min(bytes.length, NPY_HEADER_LIMIT)) {
    throw invalid(where, `has a header of ${length} bytes that is cut off or too long`);
  }

  const text = bytes.toString(major === 3 ? 'utf8' : 'latin1', start, dataOffset);
  const type = parseType(text, where);
  const dims = parseShape(text, where);
  const fortran = /['"]fortran_order['"]\s*:\s*(True|False)/.exec(text)?.[1];
  if (!fortran) throw invalid(where, 'has a header without fortran_order');
  const dataLength = elementCount(dims) * type.itemSize;
  if (!(dataLength <= MAX_DATA_BYTES)) throw invalid(where, `declares ${dataLength} bytes, more than the ${MAX_DATA_BYTES} that qdq reads`);
  return { ...type, dims, fortranOrder: fortran === 'True', dataOffset, dataLength };
}

function parseType(header: string, where: string): Pick<NpyHeader, 'dtype' | 'bigEndian' | 'itemSize' | 'text'> {
  const descr = /['"]descr['"]\s*:\s*(?:'([^']*)'|"([^"]*)"|(\[.*?\]))/s.exec(header);
  const name = descr?.[1] ?? descr?.[2] ?? descr?.[3] ?? '';
  const [, order = '', kind = ''] = /^([<>|=]?)([a-zA-Z]\d*)$/.exec(name) ?? [];
  const bigEndian = order === '>';
  const dtype = NUMPY_TYPES[kind];
  if (dtype) return { dtype, bigEndian, itemSize: dtypeInfo(dtype).bits / 8 };
  const width = Number(kind.slice(1));
  if (/^U\d+$/.test(kind)) return { dtype: 'string', bigEndian, itemSize: 4 * width, text: 'utf32' };
  if (/^S\d+$/.test(kind)) return { dtype: 'string', bigEndian, itemSize: width, text: 'bytes' };
  throw new QdqError(
    'data-invalid',
    `${where} has elements of type ${name || 'unknown'}, expected numbers, booleans or text`,
    `${kind === 'O' ? 'arrays of Python objects are not read: ' : ''}convert the array with astype before saving it`,
  );
}

function parseShape(header: string, where: string): number[] {
  const shape = /['"]shape['"]\s*:\s*\(([^)]*)\)/.exec(header)?.[1];
  const dims = shape?.split(',').map((dim) => dim.trim().replace(/L$/, '')) ?? [];
  if (dims.at(-1) === '') dims.pop();
  if (shape === undefined || !dims.every((dim) => /^\d+$/.test(dim) && Number.isSafeInteger(Number(dim)))) {
    throw invalid(where, 'has a header without a valid shape');
  }
  return dims.map(Number);
}

function invalid(where: string, what: string): QdqError {
  return new QdqError('data-invalid', `${where} ${what}`);
}
