import { messageOf, QdqError } from '../errors.js';
import type { Tensor } from '../tensor/tensor.js';
import { SideFiles } from './external-data.js';
import { readMessage } from './messages.js';
import { decodeTensor as decodeMessage } from './tensor-codec.js';

/** The tensor in a file that holds one TensorProto, as ONNX's test sets do. Throws QdqError('data-invalid'), naming `path`. */
export function decodeTensor(bytes: Uint8Array, path: string): { name: string; tensor: Tensor } {
  let problem = 'it has no element type';
  try {
    const message = readMessage('TensorProto', bytes);
    const name = message.name ?? '';
    const tensor = decodeMessage(message, name, new SideFiles(undefined, path));
    if (tensor.dtype !== 'unknown') return { name, tensor };
  } catch (error) {
    problem = messageOf(error);
  }
  throw new QdqError('data-invalid', `${path}: is not a tensor file: ${problem}`, 'Sequences and other values that are not tensors cannot be fed.');
}
