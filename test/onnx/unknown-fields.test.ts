import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readMessage, writeMessage, type Message, type MessageName } from '../../src/onnx/messages.js';
import { decodeModel, encodeModel } from '../../src/onnx/model-codec.js';
import { MESSAGES } from '../../src/onnx/schema.js';
import { rebuild } from './rebuild.js';

type AnyMessage = Record<string, unknown>;

const names = Object.keys(MESSAGES) as MessageName[];
/** Field 2000 as a string that names the message it is in: no version of ONNX has such a field. */
const markOf = (name: string) => Buffer.concat([Buffer.from([0x82, 0x7d, name.length]), Buffer.from(name)]);

for (const name of names) {
  test(`${name}: an unknown field survives reading and writing`, () => {
    const bytes = Buffer.concat([writeMessage(name, sampleOf(name, []) as Message<typeof name>), markOf(name)]);
    assert.ok(bytes.equals(writeMessage(name, readMessage(name, bytes))));
  });
}

test('unknown fields at every level survive edits elsewhere', () => {
  const bytes = writeMessage('ModelProto', sampleOf('ModelProto', []) as Message<'ModelProto'>);
  const before = marksIn(bytes);
  for (const name of names) assert.ok(before.get(name)! > 0, `the sample model has no ${name}`);

  const model = decodeModel(bytes);
  const node = model.graph.nodes[0]!;
  const edited = rebuild({
    ...model,
    producer: 'qdq 1.0',
    opsets: new Map([...model.opsets, ['com.microsoft', 1]]),
    metadata: new Map([...model.metadata, ['edited', 'yes']]),
    graph: {
      ...model.graph,
      name: 'edited',
      nodes: [{ ...node, inputs: [...node.inputs, 'more'] }],
      inputs: model.graph.inputs.map((value) => ({ ...value, name: `${value.name}_new` })),
    },
  });
  assert.deepEqual(marksIn(encodeModel(edited)), before);
});

/** How often the mark of each message occurs. */
function marksIn(bytes: Uint8Array): Map<string, number> {
  const text = Buffer.from(bytes).toString('latin1');
  return new Map(names.map((name) => [name, text.split(markOf(name).toString('latin1')).length - 1]));
}

/** A message with every field set once, all the way down, and an unknown field at each level. Graphs are not nested twice. */
function sampleOf(name: MessageName, outer: readonly MessageName[]): AnyMessage {
  const message: AnyMessage = {};
  for (const [field, [type]] of Object.entries(MESSAGES[name]) as [string, readonly [string, number]][]) {
    const element = type.replace('packed ', '').replace('[]', '');
    if (element in MESSAGES && outer.filter((other) => other === element).length > 0) continue;
    const value = element in MESSAGES ? sampleOf(element as MessageName, [...outer, name]) : scalarOf(element, field);
    message[field] = type.endsWith('[]') ? [value] : value;
  }
  return { ...message, ...consistent(name), $unknowns: [markOf(name)] };
}

function scalarOf(type: string, field: string): unknown {
  if (type === 'string') return `some ${field}`;
  return type === 'bytes' ? Uint8Array.of(1) : 1;
}

/** Fields that must agree for the model to be decoded at all. */
function consistent(name: MessageName): AnyMessage {
  if (name === 'TensorProto') return { dims: [1], data_type: 2, data_location: 0 };
  if (name === 'ModelProto') return { ir_version: 10 };
  return {};
}
