import { QdqError } from '../errors.js';
import type { Attribute, AttributeValue, Graph } from '../graph/model.js';
import type { SideFiles } from './external-data.js';
import { fromInt64, toInt64 } from './int64.js';
import { hasField, patch, type Message } from './messages.js';
import { keepMessages, keepScalars, keepText, Source } from './source.js';
import { decodeTensor, encodeTensor } from './tensor-codec.js';

type AttributeMessage = Message<'AttributeProto'>;
/** Kinds that nothing edits. */
type KeptKind = 'other' | 'reference';
type Kind = Exclude<AttributeValue['kind'], KeptKind>;

/** Field and `AttributeProto.AttributeType` of each kind. Source: onnx.proto, enum AttributeType. */
const KINDS = {
  float: ['f', 1],
  int: ['i', 2],
  string: ['s', 3],
  tensor: ['t', 4],
  graph: ['g', 5],
  floats: ['floats', 6],
  ints: ['ints', 7],
  strings: ['strings', 8],
  graphs: ['graphs', 10],
} as const satisfies Record<Kind, readonly [keyof AttributeMessage, number]>;

const OTHER_FIELDS = ['tensors', 'tp', 'type_protos', 'sparse_tensor', 'sparse_tensors', 'ref_attr_name'] as const;

/**
 * The attribute of a message; kinds that nothing edits (types, sparse tensors, lists of tensors) are `other`. `place` names the node in errors; `decodeBody` reads subgraphs. Throws as `decodeTensor` does.
 */
export function decodeAttribute(
  message: AttributeMessage,
  place: string,
  files: SideFiles,
  decodeBody: (graph: Message<'GraphProto'>) => Graph,
): Attribute {
  const value = decodeValue(message, `${message.name ?? ''} of ${place}`, files, decodeBody);
  return Source.attach<'AttributeProto', Attribute>(message, value);
}

/** The message of an attribute under a name. Throws QdqError('internal') for a new attribute of kind `other`. */
export function encodeAttribute(
  attribute: Attribute,
  name: string,
  encodeBody: (graph: Graph) => Message<'GraphProto'>,
): AttributeMessage {
  const { message, decoded } = Source.of<'AttributeProto', Attribute>(attribute);
  const named = patch(message, { name: keepText(name, message.name, message.name) });
  if (attribute === decoded) return named;
  if (attribute.kind === 'other' || attribute.kind === 'reference') {
    if (decoded?.kind === attribute.kind) return named;
    throw new QdqError('internal', `Cannot write attribute "${name}": it has no value.`);
  }
  const [field, type] = KINDS[attribute.kind];
  if (decoded?.kind === attribute.kind) {
    return patch(named, { [field]: encodeValue(attribute, decoded, message, encodeBody) });
  }
  const others = [...Object.values(KINDS).map(([other]) => other), ...OTHER_FIELDS];
  const cleared = patch(named, Object.fromEntries(others.map((other) => [other, undefined])));
  return patch(cleared, { type, [field]: encodeValue(attribute, undefined, {}, encodeBody) });
}

function decodeValue(
  message: AttributeMessage,
  place: string,
  files: SideFiles,
  decodeBody: (graph: Message<'GraphProto'>) => Graph,
): AttributeValue {
  if (message.ref_attr_name) return { kind: 'reference', value: message.ref_attr_name };
  const kind = kindOf(message);
  switch (kind) {
    case 'float':
      return { kind, value: message.f ?? 0 };
    case 'int':
      return { kind, value: fromInt64(message.i ?? 0) };
    case 'string':
      return { kind, value: textOf(message.s ?? new Uint8Array()) };
    case 'tensor':
      return message.t ? { kind, value: decodeTensor(message.t, message.t.name || place, files) } : { kind: 'other' };
    case 'graph':
      return message.g ? { kind, value: decodeBody(message.g) } : { kind: 'other' };
    case 'floats':
      return { kind, value: message.floats ?? [] };
    case 'ints':
      return { kind, value: (message.ints ?? []).map(fromInt64) };
    case 'strings':
      return { kind, value: (message.strings ?? []).map(textOf) };
    case 'graphs':
      return { kind, value: (message.graphs ?? []).map(decodeBody) };
    default:
      return { kind: 'other' };
  }
}

/** IR version 1 had no `type`: there the field that is present tells. */
function kindOf(message: AttributeMessage): Kind | undefined {
  const kinds = Object.keys(KINDS) as Kind[];
  if (message.type) return kinds.find((kind) => KINDS[kind][1] === message.type);
  if (OTHER_FIELDS.some((field) => hasField(message, field))) return undefined;
  return kinds.find((kind) => hasField(message, KINDS[kind][0]));
}

function encodeValue(
  attribute: Exclude<AttributeValue, { kind: KeptKind }>,
  decoded: AttributeValue | undefined,
  message: AttributeMessage,
  encodeBody: (graph: Graph) => Message<'GraphProto'>,
): AttributeMessage[(typeof KINDS)[Kind][0]] {
  switch (attribute.kind) {
    case 'float':
      return decoded?.kind === 'float' && Object.is(attribute.value, decoded.value) ? message.f : attribute.value;
    case 'int':
      return decoded?.kind === 'int' && attribute.value === decoded.value ? message.i : toInt64(attribute.value);
    case 'string':
      return decoded?.kind === 'string' && attribute.value === decoded.value ? message.s : Buffer.from(attribute.value);
    case 'tensor':
      return encodeTensor(attribute.value);
    case 'graph':
      return encodeBody(attribute.value);
    case 'floats':
      return keepScalars(attribute.value, decoded?.kind === 'floats' ? decoded.value : undefined, message.floats, (value) => value);
    case 'ints':
      return keepScalars(attribute.value, decoded?.kind === 'ints' ? decoded.value : undefined, message.ints, toInt64);
    case 'strings':
      return keepScalars(attribute.value, decoded?.kind === 'strings' ? decoded.value : undefined, message.strings, (text) => Buffer.from(text));
    case 'graphs':
      return keepMessages(attribute.value, decoded?.kind === 'graphs' ? decoded.value : undefined, message.graphs, encodeBody);
  }
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
}
