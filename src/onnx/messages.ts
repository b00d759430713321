import protobuf from 'protobufjs/light.js';
import { MESSAGES } from './schema.js';
import { readLosslessText, writeLosslessText } from './text.js';

/** An int64 as the wire library reads it; numbers and `{ low, high }` halves can be written. */
export type Int64 = number | { readonly low: number; readonly high: number; readonly unsigned: boolean };

/** Name of a message of the schema. */
export type MessageName = keyof typeof MESSAGES;

interface Scalars {
  string: string;
  bytes: Uint8Array;
  float: number;
  double: number;
  int32: number;
  int64: Int64;
  uint64: Int64;
}

type FieldValue<T extends string> = T extends `packed ${infer R}`
  ? FieldValue<R>
  : T extends `${infer E}[]`
    ? readonly FieldValue<E>[]
    : T extends keyof Scalars
      ? Scalars[T]
      : T extends MessageName
        ? Message<T>
        : never;

/** A message, as decoded or as put together. Field names are those of onnx.proto. Never changed once made: see `patch`. */
export type Message<N extends MessageName> = {
  readonly [F in keyof (typeof MESSAGES)[N]]?:
    | ((typeof MESSAGES)[N][F] extends readonly [infer T extends string, number] ? FieldValue<T> : never)
    | undefined;
} & { readonly $unknowns?: readonly Uint8Array[] };

const FIELD = /^(packed )?([\w.]+)(\[\])?$/;
const types = new Map<MessageName, protobuf.Type>();
let root: protobuf.Root | undefined;

/**
 * Reads a message. Byte fields are views of `bytes`. Fields that the schema lacks are kept in `$unknowns`, at every level.
 * Throws the wire library's Error or RangeError where the bytes are not a message.
 */
export function readMessage<N extends MessageName>(name: N, bytes: Uint8Array): Message<N> {
  const reader = protobuf.Reader.create(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  reader.discardUnknown = false;
  reader.string = readLosslessText;
  return messageType(name).decode(reader);
}

/**
 * Writes a message in canonical form: fields in number order, unknown fields last in the order they were read, lists of numbers
 * packed where the schema says so, varints as short as they can be.
 */
export function writeMessage<N extends MessageName>(name: N, message: Message<N>): Uint8Array {
  const writer = protobuf.Writer.create();
  writer.string = writeLosslessText;
  return messageType(name).encode(message, writer).finish(true);
}

/**
 * The message with other values in some fields (without those where undefined is given), or the same message where that is what
 * it holds already: a field that is absent and one that holds its default stay apart.
 */
export function patch<M extends object>(message: M, changes: Partial<NoInfer<M>>): M {
  const changed = (Object.keys(changes) as (keyof M)[]).filter((field) =>
    changes[field] === undefined ? hasField(message, field) : changes[field] !== message[field],
  );
  if (changed.length === 0) return message;
  const copy = { ...message, ...unknownsOf(message) };
  for (const field of changed) {
    if (changes[field] === undefined) delete copy[field];
    else copy[field] = changes[field];
  }
  return copy;
}

/** Whether the file had the field, be it with its default value. An empty list is an absent one. */
export function hasField<M extends object>(message: M, field: keyof M): boolean {
  const value = message[field];
  return Object.hasOwn(message, field) && !(Array.isArray(value) && value.length === 0);
}

/** The wire library makes `$unknowns` not enumerable, so that spreading a message would lose it. */
function unknownsOf(message: { readonly $unknowns?: readonly Uint8Array[] }): object {
  return message.$unknowns ? { $unknowns: message.$unknowns } : {};
}

function messageType(name: MessageName): protobuf.Type {
  let type = types.get(name);
  if (!type) types.set(name, (type = (root ??= buildRoot()).lookupType(name)));
  return type;
}

function buildRoot(): protobuf.Root {
  const nested: Record<string, protobuf.IType> = {};
  for (const [name, fields] of Object.entries(MESSAGES)) {
    const [outer = name, inner] = name.split('.');
    const type: protobuf.IType = { edition: 'proto2', fields: Object.fromEntries(Object.entries(fields).map(fieldOf)) };
    if (inner) (nested[outer]!.nested ??= {})[inner] = type;
    else nested[name] = type;
  }
  const built = protobuf.Root.fromJSON({ nested });
  for (const name of Object.keys(MESSAGES)) built.lookupType(name).setup = setUpCodec;
  return built;
}

/** What the wire library makes of a type at its first use, except for conversions that nearly nobody needs: they take half of the time. */
function setUpCodec(this: protobuf.Type): protobuf.Type {
  const fieldTypes = this.fieldsArray.map((field) => field.resolve().resolvedType);
  this.encode = protobuf.encoder(this)({ Writer: protobuf.Writer, types: fieldTypes, util: protobuf.util }) as protobuf.Type['encode'];
  this.decode = protobuf.decoder(this)({ Reader: protobuf.Reader, types: fieldTypes, util: protobuf.util, C: this.ctor }) as protobuf.Type['decode'];
  // JSON.stringify of a message asks for it.
  this.toObject = (message, options) => {
    this.toObject = protobuf.converter.toObject(this)({ types: fieldTypes, util: protobuf.util }) as protobuf.Type['toObject'];
    return this.toObject(message, options);
  };
  return this;
}

function fieldOf([name, [type, id]]: [string, readonly [string, number]]): [string, protobuf.IField] {
  const [, packed, element = type, list] = FIELD.exec(type) ?? [];
  return [
    name,
    {
      id,
      type: element,
      ...(list ? { rule: 'repeated' } : {}),
      ...(packed ? { options: { packed: true } } : {}),
    },
  ];
}
