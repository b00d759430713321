import type { Model } from '../graph/model.js';
import type { TensorStorage } from '../tensor/tensor.js';
import { ExternalStorage, rememberedStorage, type SideFiles } from './external-data.js';
import type { Message } from './messages.js';
import { encodeModelMessage, sideFilesOf } from './model-codec.js';
import { decodeTensor } from './tensor-codec.js';
import { EXTERNAL } from './tensor-data.js';
import { mapTensors } from './tensor-walk.js';

/** A tensor of a model's message. */
export interface StoredTensor {
  readonly message: Message<'TensorProto'>;
  /** Field that holds it: `initializer`, `t`, `values`, … */
  readonly field: string;
  readonly storage: TensorStorage;
}

/** Every tensor of a message, in file order, those included that the graph in memory does not show. Throws as `decodeTensor` does. */
export function storedTensors(message: Message<'ModelProto'>, files: SideFiles): StoredTensor[] {
  const found: StoredTensor[] = [];
  mapTensors(message, (tensor, field) => {
    const storage = rememberedStorage(tensor) ?? decodeTensor(tensor, tensor.name || field, files).storage;
    found.push({ message: tensor, field, storage });
    return tensor;
  });
  return found;
}

/** The tensors of a model that are in side files. Throws as `decodeTensor` does. */
export function externalStorages(model: Model): ExternalStorage[] {
  const tensors = storedTensors(encodeModelMessage(model), sideFilesOf(model));
  return tensors.map(({ storage }) => storage).filter((storage) => storage instanceof ExternalStorage);
}

/** Whether a tensor message says that its bytes are in a side file. */
export function isExternal(message: Message<'TensorProto'>): boolean {
  return message.data_location === EXTERNAL;
}
