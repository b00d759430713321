import { QdqError } from '../errors.js';
import { DeferredStorage } from '../tensor/deferred-storage.js';
import { dtypeFromCode, dtypeInfo } from '../tensor/dtype.js';
import { elementCount, memoryStorage, type Tensor } from '../tensor/tensor.js';
import { ExternalStorage, externalStorage, rememberStorage, type SideFiles } from './external-data.js';
import { int64ToNumber, toInt64 } from './int64.js';
import { patch, type Message } from './messages.js';
import { keepScalars, keepText, Source } from './source.js';
import { DATA_FIELDS, EXTERNAL, expectedByteLength, isRaw, storageInMessage } from './tensor-data.js';

type TensorMessage = Message<'TensorProto'>;

/**
 * The tensor of a message; `place` names it in errors. Throws QdqError('model-invalid') where the shape is absurd or does not
 * fit the bytes stored, QdqError('external-data') where a side file is badly named.
 */
export function decodeTensor(message: TensorMessage, place: string, files: SideFiles): Tensor {
  const dtype = dtypeFromCode(message.data_type ?? 0);
  const dims = (message.dims ?? []).map(int64ToNumber);
  const count = checkedCount(dims, place, files);
  const expected = expectedByteLength(dtype, count);
  if (dtype === 'string') return decodeStrings(message, dims, count, place, files);
  const storage =
    message.data_location === EXTERNAL ? externalStorage(message, expected, place, files) : storageInMessage(message, dtype);
  if (expected !== undefined && storage.byteLength !== expected) {
    throw invalid(files, place, `${dtype}[${dims.join(',')}] takes ${expected} bytes, but ${storage.byteLength} are stored`);
  }
  rememberStorage(message, storage);
  return Source.attach<'TensorProto', Tensor>(message, { dtype, dims, storage });
}

/**
 * The message of a tensor under a name (undefined leaves the name as it was). What is as it was decoded keeps its form; new
 * elements go into `raw_data`, or name the side file they are in (none yet, where they are deferred).
 */
export function encodeTensor(tensor: Tensor, name?: string): TensorMessage {
  const { message, decoded } = Source.of<'TensorProto', Tensor>(tensor);
  const isSameData =
    decoded !== undefined &&
    tensor.storage === decoded.storage &&
    tensor.strings === decoded.strings &&
    (tensor.dtype === decoded.dtype || isRaw(message));
  const encoded = patch(message, {
    dims: keepScalars(tensor.dims, decoded?.dims, message.dims, toInt64),
    data_type: tensor.dtype === decoded?.dtype ? message.data_type : dtypeInfo(tensor.dtype).code,
    name: name === undefined ? message.name : keepText(name, message.name, message.name),
    ...(isSameData ? {} : dataFields(tensor, name ?? message.name ?? '')),
  });
  rememberStorage(encoded, tensor.storage);
  return encoded;
}

function dataFields(tensor: Tensor, name: string): Partial<TensorMessage> {
  const fields: Partial<TensorMessage> = Object.fromEntries(DATA_FIELDS.map((field) => [field, undefined]));
  const { dtype, dims, storage } = tensor;
  if (dtype === 'string') return { ...fields, string_data: (tensor.strings ?? []).map((text) => Buffer.from(text)) };
  const expected = expectedByteLength(dtype, elementCount(dims));
  if (storage.byteLength !== expected) {
    throw new QdqError(
      'internal',
      `Cannot write tensor "${name}": ${dtype}[${dims.join(',')}] takes ${expected} bytes, received ${storage.byteLength}.`,
    );
  }
  if (storage instanceof ExternalStorage) return { ...fields, ...externalFields(storage, storage.location, storage.offset) };
  // Whoever writes the message gives it a place, or puts the bytes in.
  if (storage instanceof DeferredStorage) return { ...fields, ...externalFields(storage, '', 0) };
  return { ...fields, raw_data: storage.read() };
}

/** The fields that say that a tensor's bytes are in a side file. */
export function externalFields(
  storage: { readonly byteLength: number },
  location: string,
  offset: number,
): Pick<TensorMessage, 'external_data' | 'data_location'> {
  return {
    external_data: [
      { key: 'location', value: location },
      { key: 'offset', value: String(offset) },
      { key: 'length', value: String(storage.byteLength) },
    ],
    data_location: EXTERNAL,
  };
}

function decodeStrings(message: TensorMessage, dims: readonly number[], count: number, place: string, files: SideFiles): Tensor {
  const strings = (message.string_data ?? []).map((bytes) => Buffer.from(bytes).toString());
  if (strings.length !== count) {
    throw invalid(files, place, `string[${dims.join(',')}] has ${count} elements, but ${strings.length} are stored`);
  }
  return Source.attach<'TensorProto', Tensor>(message, {
    dtype: 'string',
    dims,
    storage: memoryStorage(new Uint8Array()),
    strings,
  });
}

function checkedCount(dims: readonly number[], place: string, files: SideFiles): number {
  const count = elementCount(dims);
  if (dims.some((dim) => dim < 0)) throw invalid(files, place, `its shape [${dims.join(',')}] has a negative dimension`);
  if (!Number.isSafeInteger(count)) throw invalid(files, place, `its shape [${dims.join(',')}] has more than 2^53 elements`);
  return count;
}

function invalid(files: SideFiles, place: string, problem: string): QdqError {
  return new QdqError(
    'model-invalid',
    `${files.modelName}: tensor "${place}" is invalid: ${problem}.`,
    'The file is damaged or was written by a faulty tool; export the model again.',
  );
}
