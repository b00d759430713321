import { writeMessage, type Message } from './messages.js';
import { MESSAGES } from './schema.js';

/** A message on the wire, in pieces to be written one after the other. */
export interface MessageParts {
  readonly parts: readonly Uint8Array[];
  readonly sizeBytes: number;
}

/** Weights from this size on stay pieces of their own. */
const LARGE_BYTES = 16384;
const LENGTH_DELIMITED = 2;

/**
 * What `writeMessage` gives, without copying the large weights: they stay views of the memory they are in. So a model is copied
 * once into memory, and not at all on its way to a file.
 */
export function modelParts(model: Message<'ModelProto'>): MessageParts {
  const parts = new Parts();
  const { graph } = model;
  if (!graph) return parts.add(writeMessage('ModelProto', model));
  parts.add(writeMessage('ModelProto', before('ModelProto', 'graph', model)));
  parts.addField(MESSAGES.ModelProto.graph[1], graphParts(graph));
  return parts.add(writeMessage('ModelProto', after('ModelProto', 'graph', model)));
}

function graphParts(graph: Message<'GraphProto'>): MessageParts {
  const parts = new Parts();
  parts.add(writeMessage('GraphProto', before('GraphProto', 'initializer', graph)));
  let small: Message<'TensorProto'>[] = [];
  // Messages join by being written one after the other.
  const flush = () => parts.add(writeMessage('GraphProto', { initializer: small }));
  for (const tensor of graph.initializer ?? []) {
    if ((tensor.raw_data?.length ?? 0) < LARGE_BYTES) {
      small.push(tensor);
      continue;
    }
    flush();
    small = [];
    parts.addField(MESSAGES.GraphProto.initializer[1], tensorParts(tensor));
  }
  flush();
  return parts.add(writeMessage('GraphProto', after('GraphProto', 'initializer', graph)));
}

function tensorParts(tensor: Message<'TensorProto'>): MessageParts {
  const bytes = tensor.raw_data ?? new Uint8Array();
  const parts = new Parts();
  parts.add(writeMessage('TensorProto', before('TensorProto', 'raw_data', tensor)));
  parts.addField(MESSAGES.TensorProto.raw_data[1], { parts: [bytes], sizeBytes: bytes.length });
  return parts.add(writeMessage('TensorProto', after('TensorProto', 'raw_data', tensor)));
}

class Parts implements MessageParts {
  readonly parts: Uint8Array[] = [];
  sizeBytes = 0;

  add(bytes: Uint8Array): this {
    if (bytes.length > 0) this.parts.push(bytes);
    this.sizeBytes += bytes.length;
    return this;
  }

  addField(number: number, content: MessageParts): void {
    this.add(Uint8Array.from([...varint((number << 3) | LENGTH_DELIMITED), ...varint(content.sizeBytes)]));
    for (const part of content.parts) this.add(part);
  }
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return [...bytes, value];
}

type SplitMessage = 'ModelProto' | 'GraphProto' | 'TensorProto';

function before<N extends SplitMessage>(name: N, split: keyof (typeof MESSAGES)[N], message: Message<N>): Message<N> {
  return pick(name, message, (number) => number < numberOf(name, split));
}

function after<N extends SplitMessage>(name: N, split: keyof (typeof MESSAGES)[N], message: Message<N>): Message<N> {
  const rest = pick(name, message, (number) => number > numberOf(name, split));
  return message.$unknowns ? { ...rest, $unknowns: message.$unknowns } : rest;
}

function pick<N extends SplitMessage>(name: N, message: Message<N>, isWanted: (number: number) => boolean): Message<N> {
  const fields = Object.keys(MESSAGES[name]) as (keyof (typeof MESSAGES)[N] & keyof Message<N>)[];
  const wanted = fields.filter((field) => isWanted(numberOf(name, field)) && Object.hasOwn(message, field));
  return Object.fromEntries(wanted.map((field) => [field, message[field]])) as Message<N>;
}

function numberOf<N extends SplitMessage>(name: N, field: keyof (typeof MESSAGES)[N]): number {
  return (MESSAGES[name][field] as readonly [string, number])[1];
}
