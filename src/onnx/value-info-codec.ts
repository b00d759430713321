import { QdqError } from '../errors.js';
import type { Dim, ValueInfo, ValueType } from '../graph/model.js';
import { dtypeFromCode, dtypeInfo } from '../tensor/dtype.js';
import { int64ToNumber, toInt64 } from './int64.js';
import { hasField, patch, type Message } from './messages.js';
import { keepText, Source } from './source.js';

type TypeMessage = Message<'TypeProto'>;
type TensorTypeMessage = Message<'TypeProto.Tensor'>;
type DimMessage = Message<'TensorShapeProto.Dimension'>;
type TensorType = Extract<ValueType, { kind: 'tensor' }>;

/** The declared value of a message. Negative sizes, which some tools write for "any", read as undeclared. */
export function decodeValueInfo(message: Message<'ValueInfoProto'>): ValueInfo {
  return Source.attach<'ValueInfoProto', ValueInfo>(message, { name: message.name ?? '', type: decodeType(message.type) });
}

/** The message of a declared value. Throws QdqError('internal') for a new type that is neither a tensor nor none. */
export function encodeValueInfo(value: ValueInfo): Message<'ValueInfoProto'> {
  const { message, decoded } = Source.of<'ValueInfoProto', ValueInfo>(value);
  return patch(message, {
    name: keepText(value.name, decoded?.name, message.name),
    type: value.type === decoded?.type ? message.type : encodeType(value, decoded?.type, message.type ?? {}),
  });
}

function decodeType(message: TypeMessage | undefined): ValueType {
  if (message?.tensor_type) return decodeTensorType(message.tensor_type);
  if (message?.sequence_type) return { kind: 'sequence' };
  if (message?.map_type) return { kind: 'map' };
  if (message?.optional_type) return { kind: 'optional' };
  if (message?.sparse_tensor_type) return { kind: 'sparse-tensor' };
  if (message?.opaque_type) return { kind: 'opaque' };
  return { kind: 'none' };
}

function decodeTensorType(message: TensorTypeMessage): TensorType {
  const dtype = dtypeFromCode(message.elem_type ?? 0);
  return message.shape
    ? { kind: 'tensor', dtype, shape: (message.shape.dim ?? []).map(decodeDim) }
    : { kind: 'tensor', dtype };
}

function decodeDim(message: DimMessage): Dim {
  if (message.dim_param) return message.dim_param;
  if (!hasField(message, 'dim_value')) return null;
  const size = int64ToNumber(message.dim_value);
  return size < 0 ? null : size;
}

function encodeType(value: ValueInfo, decoded: ValueType | undefined, message: TypeMessage): TypeMessage | undefined {
  const { type } = value;
  if (type.kind === 'tensor') {
    const before = decoded?.kind === 'tensor' ? decoded : undefined;
    const cleared = before ? message : patch<TypeMessage>({}, { denotation: message.denotation || undefined });
    return patch(cleared, { tensor_type: encodeTensorType(type, before, cleared.tensor_type ?? {}) });
  }
  if (type.kind === decoded?.kind) return message;
  if (type.kind === 'none') return undefined;
  throw new QdqError('internal', `Cannot write value "${value.name}": a ${type.kind} type cannot be made, only kept.`);
}

function encodeTensorType(type: TensorType, decoded: TensorType | undefined, message: TensorTypeMessage): TensorTypeMessage {
  const elem_type = type.dtype === decoded?.dtype ? message.elem_type : dtypeInfo(type.dtype).code;
  if (!type.shape) return patch(message, { elem_type, shape: undefined });
  const dims = message.shape?.dim ?? [];
  const before = decoded?.shape ?? [];
  const encoded = type.shape.map((dim, i) => (i < before.length && dim === before[i] ? dims[i]! : encodeDim(dim)));
  const isSame = message.shape && encoded.length === dims.length && encoded.every((dim, i) => dim === dims[i]);
  return patch(message, { elem_type, shape: isSame ? message.shape : patch(message.shape ?? {}, { dim: encoded }) });
}

function encodeDim(dim: Dim): DimMessage {
  if (dim === null) return {};
  return typeof dim === 'string' ? { dim_param: dim } : { dim_value: toInt64(dim) };
}
