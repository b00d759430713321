import { QdqError } from '../errors.js';
import { elementCount, memoryStorage, type Tensor } from '../tensor/tensor.js';
import type { ArrayEntry } from './array-entry.js';
import { checkNpyLength, decodeElements } from './decode-npy.js';
import { freeInputs } from './frozen-inputs.js';
import { listInputs, type ModelInput } from './model-inputs.js';
import { NPY_HEADER_LIMIT, parseNpyHeader } from './npy-header.js';
import { listNpz } from './npz.js';
import type { OpenFile } from './open-file.js';

/** The arrays of a `.npz` file, or the one of a `.npy` file, which is for the model's only input. Throws QdqError `data-invalid`. */
export async function listArrays(file: OpenFile, inputs: readonly ModelInput[]): Promise<ArrayEntry[]> {
  return /\.npz$/i.test(file.path) ? listNpz(file) : [await openNpy(file, inputs)];
}

/** All of an array. */
export async function readArray(file: OpenFile, entry: ArrayEntry): Promise<Tensor> {
  return decodeElements(await entry.readAll(file), entry.header, entry.header.dims);
}

/** Rows `[row, row + 1)` along axis 0, read without the others where the file's layout allows; `all` gives the array otherwise. */
export async function readRow(
  file: OpenFile,
  entry: ArrayEntry,
  row: number,
  all: () => Promise<Tensor>,
): Promise<Tensor> {
  const { header, rawOffset } = entry;
  const dims = [1, ...header.dims.slice(1)];
  const rowBytes = elementCount(dims) * header.itemSize;
  if (rawOffset !== undefined && !header.fortranOrder) {
    return decodeElements(await file.read(rawOffset + row * rowBytes, rowBytes), header, dims);
  }
  const { dtype, storage, strings } = await all();
  const count = elementCount(dims);
  const bytes = strings ? storage.read() : storage.readRange(row * rowBytes, rowBytes);
  return { dtype, dims, storage: memoryStorage(bytes), ...(strings && { strings: strings.slice(row * count, (row + 1) * count) }) };
}

async function openNpy(file: OpenFile, inputs: readonly ModelInput[]): Promise<ArrayEntry> {
  const where = file.path;
  const free = freeInputs(inputs);
  const input = free[0];
  if (!input || free.length > 1) {
    throw new QdqError(
      'data-invalid',
      `${where} holds one array, but the model has ${free.length} inputs: ${listInputs(free)}`,
      'save them together: np.savez(path, **{name: array})',
    );
  }
  const header = parseNpyHeader(await file.read(0, Math.min(NPY_HEADER_LIMIT, file.size)), where);
  checkNpyLength(header, file.size, where);
  const { dataOffset, dataLength } = header;
  return { name: input.name, header, where, rawOffset: dataOffset, readAll: (target) => target.read(dataOffset, dataLength) };
}
