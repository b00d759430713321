import type { Message, MessageName } from './messages.js';
import { patch } from './messages.js';
import { MESSAGES } from './schema.js';

type AnyMessage = Readonly<Record<string, unknown>>;

/** What is made of a tensor; `field` is the field of the schema that holds it, such as `initializer` or `t`. */
export type ChangeTensor = (tensor: Message<'TensorProto'>, field: string) => Message<'TensorProto'>;

/** Fields through which tensors are reached, for each message that holds any. */
const ROUTES = findRoutes();

/**
 * The message with every tensor in it replaced by what `change` makes of it, in file order, also where the graph in memory does not
 * show them: sparse constants, functions, training graphs. What holds no changed tensor stays the same object.
 */
export function mapTensors(message: Message<'ModelProto'>, change: ChangeTensor): Message<'ModelProto'> {
  return mapMessage('ModelProto', message, change);
}

function mapMessage(name: MessageName, message: AnyMessage, change: ChangeTensor): AnyMessage {
  const changes: Record<string, unknown> = {};
  for (const [field, type] of ROUTES.get(name) ?? []) {
    const mapOne = (value: AnyMessage): AnyMessage =>
      type === 'TensorProto' ? change(value, field) : mapMessage(type, value, change);
    const value = message[field] as AnyMessage | readonly AnyMessage[] | null | undefined;
    if (!value) continue;
    if (!Array.isArray(value)) {
      changes[field] = mapOne(value as AnyMessage);
      continue;
    }
    const list = value.map(mapOne);
    changes[field] = list.every((item, i) => item === value[i]) ? value : list;
  }
  return patch(message, changes);
}

function findRoutes(): Map<MessageName, [string, MessageName][]> {
  const fields = Object.entries(MESSAGES).flatMap(([name, message]) =>
    Object.entries(message as Record<string, readonly [string, ...unknown[]]>).map(([field, [type]]) => ({ name, field, type: type.replace('[]', '') })),
  );
  const reaching = new Set<string>(['TensorProto']);
  for (let before = 0; before < reaching.size; ) {
    before = reaching.size;
    for (const { name, type } of fields) if (reaching.has(type)) reaching.add(name);
  }
  const routes = new Map<MessageName, [string, MessageName][]>();
  for (const { name, field, type } of fields) {
    if (!reaching.has(type)) continue;
    const list = routes.get(name as MessageName) ?? [];
    list.push([field, type as MessageName]);
    routes.set(name as MessageName, list);
  }
  return routes;
}
