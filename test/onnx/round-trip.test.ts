import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { modelParts } from '../../src/onnx/message-parts.js';
import { readMessage, writeMessage, type Message } from '../../src/onnx/messages.js';
import { decodeModel, encodeModel } from '../../src/onnx/model-codec.js';
import { noSharedModels, sampleModels, sharedModels, type TestModel } from '../helpers/shared-models.js';
import { rebuild } from './rebuild.js';

function assertRoundTrip({ path, name }: TestModel): void {
  const bytes = readFileSync(path);
  const model = decodeModel(bytes, { file: path });
  assert.equal(encodeModel(model), bytes, `${name}: an unedited model gives its own bytes`);
  assert.ok(bytes.equals(encodeModel({ ...model })), `${name}: encoded anew`);
  assert.ok(bytes.equals(encodeModel(rebuild(model))), `${name}: encoded anew, every object copied`);
}

test('shared models: decode and encode give the same bytes', { skip: noSharedModels }, async (t) => {
  const models = sharedModels();
  assert.ok(models.length > 0, 'the folder holds no .onnx file');
  for (const model of models) await t.test(model.name, () => assertRoundTrip(model));
});

const samples = sampleModels();

test('sample models: decode and encode give the same bytes', { skip: samples.length === 0 && 'samples/ has no models' }, async (t) => {
  for (const model of samples) await t.test(model.name, () => assertRoundTrip(model));
});

test('an unedited file that is not canonical comes back as it is, and equal in meaning when encoded anew', () => {
  const graph = Buffer.from(writeMessage('GraphProto', { name: 'g' }));
  // opset_import (8) and ir_version (1) after the graph (7), the version as an overlong varint.
  const bytes = Buffer.concat([
    Buffer.from([0x3a, graph.length]),
    graph,
    Buffer.from([0x42, 0x03, 0x10, 0x8d, 0x00]),
    Buffer.from([0x08, 0x08]),
  ]);
  const model = decodeModel(bytes);
  assert.ok(bytes.equals(encodeModel(model)));
  const canonical = encodeModel({ ...model });
  assert.deepEqual([...canonical], [0x08, 0x08, 0x3a, graph.length, ...graph, 0x42, 0x02, 0x10, 0x0d]);
  assert.deepEqual(decodeModel(canonical), model);
});

test('an absent field and one that holds its default stay apart', () => {
  const operatorSets: Message<'OperatorSetIdProto'>[] = [{ version: 13 }, { domain: '', version: 13 }];
  for (const opset of operatorSets) {
    const bytes = writeMessage('ModelProto', { ir_version: 7, graph: { name: '' }, opset_import: [opset] });
    const copy = encodeModel(rebuild(decodeModel(bytes)));
    assert.deepEqual([...copy], [...bytes]);
  }
});

test('modelParts join to what writeMessage gives, and hold large weights without a copy', () => {
  const large = new Uint8Array(20_000).fill(7);
  const unknown = Buffer.from([0xf8, 0x7f, 0x2a]);
  const tensor = { dims: [20_000], data_type: 2, name: 'w', raw_data: large, doc_string: 'weights', $unknowns: [unknown] };
  const small = { dims: [1], data_type: 2, name: 's', raw_data: Uint8Array.of(1) };
  const model: Message<'ModelProto'> = {
    ir_version: 8,
    producer_name: 'p',
    graph: {
      node: [{ op_type: 'Identity', input: ['w'], output: ['y'] }],
      name: 'g',
      initializer: [small, tensor, small, small, tensor],
      doc_string: 'd',
      $unknowns: [unknown],
    },
    opset_import: [{ domain: '', version: 13 }],
    $unknowns: [unknown, unknown],
  };
  for (const message of [model, { ...model, graph: { name: 'empty' } }, { ir_version: 3 }]) {
    const { parts, sizeBytes } = modelParts(message);
    const joined = Buffer.concat(parts);
    assert.equal(joined.length, sizeBytes);
    assert.ok(joined.equals(writeMessage('ModelProto', message)));
    assert.deepEqual(readMessage('ModelProto', joined).graph?.$unknowns, message.graph?.$unknowns);
  }
  assert.equal(modelParts(model).parts.filter((part) => part === large).length, 2);
});
