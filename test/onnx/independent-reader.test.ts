import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { createNode, GraphEditor } from '../../src/graph/graph-editor.js';
import type { Attribute, Graph, Model } from '../../src/graph/model.js';
import { ExternalStorage } from '../../src/onnx/external-data.js';
import { decodeModel, encodeModel } from '../../src/onnx/model-codec.js';
import { dtypeInfo } from '../../src/tensor/dtype.js';
import { float32Tensor, int64Tensor, type Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { noSharedModels, sampleModels, sharedModels } from '../helpers/shared-models.js';

/** The parts of onnx-proto's objects that are compared; longs come as numbers or Long. */
interface OtherTensor {
  readonly name: string;
  readonly dims: readonly unknown[];
  readonly dataType: number;
  readonly rawData: Uint8Array;
  readonly floatData: readonly number[];
  readonly int32Data: readonly number[];
  readonly int64Data: readonly unknown[];
  readonly externalData: readonly { readonly key: string; readonly value: string }[];
}
interface OtherAttribute {
  readonly name: string;
  readonly type: number;
  readonly f: number;
  readonly i: unknown;
  readonly s: Uint8Array;
  readonly t: OtherTensor;
  readonly g: OtherGraph;
  readonly ints: readonly unknown[];
  readonly floats: readonly number[];
  readonly strings: readonly Uint8Array[];
}
interface OtherNode {
  readonly name: string;
  readonly opType: string;
  readonly domain: string;
  readonly input: readonly string[];
  readonly output: readonly string[];
  readonly attribute: readonly OtherAttribute[];
}
interface OtherGraph {
  readonly name: string;
  readonly node: readonly OtherNode[];
  readonly initializer: readonly OtherTensor[];
  readonly input: readonly { readonly name: string }[];
  readonly output: readonly { readonly name: string }[];
}
interface OtherModel {
  readonly irVersion: unknown;
  readonly graph: OtherGraph;
  readonly opsetImport: readonly { readonly domain: string; readonly version: unknown }[];
  readonly metadataProps: readonly { readonly key: string; readonly value: string }[];
}

const { onnx } = createRequire(import.meta.url)('onnx-proto') as {
  onnx: { ModelProto: { decode(bytes: Uint8Array): OtherModel; verify(message: OtherModel): string | null } };
};

test('onnx-proto reads what we write of edited shared models', { skip: noSharedModels }, async (t) => {
  for (const { name, path } of sharedModels()) await t.test(name, () => assertReadable(edit(decodeModel(readFileSync(path), { file: path }))));
});

test('onnx-proto reads what we write of edited samples', async (t) => {
  for (const { name, path } of sampleModels()) await t.test(name, () => assertReadable(edit(decodeModel(readFileSync(path), { file: path }))));
});

/** Every first input of a node is quantized and dequantized, as `quantize` would. */
function edit(model: Model): Model {
  const editor = new GraphEditor(model.graph);
  const scale = editor.addInitializer('scale', float32Tensor(0.25));
  const axes = editor.addInitializer('axes', int64Tensor([-1, 2 ** 40]));
  model.graph.nodes.forEach((node, i) => {
    const attributes = { axis: { kind: 'int', value: -1 }, list: { kind: 'ints', value: [1, i] }, text: { kind: 'string', value: 'ö' } } as const;
    const quantize = { name: editor.names.unique(`q${i}`), opType: 'QuantizeLinear', outputs: [editor.names.unique(`v${i}`)] };
    editor.add(createNode({ ...quantize, inputs: [node.outputs[0]!, scale, axes], attributes }));
  });
  return { ...model, graph: editor.finish(), metadata: new Map([...model.metadata, ['tool', 'qdq']]) };
}

function assertReadable(model: Model): void {
  const other = onnx.ModelProto.decode(encodeModel(model));
  assert.equal(onnx.ModelProto.verify(other), null);
  assert.equal(Number(other.irVersion), model.irVersion);
  const opsets = other.opsetImport.map(({ domain, version }) => [domain === 'ai.onnx' ? '' : domain, Number(version)]);
  assert.deepEqual(opsets, [...model.opsets]);
  assert.deepEqual(other.metadataProps.map(({ key, value }) => [key, value]), [...model.metadata]);
  assertGraph(other.graph, model.graph);
}

function assertGraph(other: OtherGraph, graph: Graph): void {
  assert.equal(other.name, graph.name);
  assert.deepEqual(other.input.map((value) => value.name), graph.inputs.map((value) => value.name));
  assert.deepEqual(other.output.map((value) => value.name), graph.outputs.map((value) => value.name));
  assert.deepEqual(other.initializer.map((tensor) => tensor.name), [...graph.initializers.keys()]);
  for (const tensor of other.initializer) assertTensor(tensor, graph.initializers.get(tensor.name)!);
  assert.equal(other.node.length, graph.nodes.length);
  other.node.forEach((node, i) => {
    const expected = graph.nodes[i]!;
    assert.deepEqual([node.name, node.opType, node.input, node.output], [expected.name, expected.opType, expected.inputs, expected.outputs]);
    assert.equal(node.domain === 'ai.onnx' ? '' : node.domain, expected.domain);
    assert.deepEqual(node.attribute.map((attribute) => attribute.name), [...expected.attributes.keys()]);
    for (const attribute of node.attribute) assertAttribute(attribute, expected.attributes.get(attribute.name)!);
  });
}

function assertAttribute(other: OtherAttribute, attribute: Attribute): void {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
  switch (attribute.kind) {
    case 'int':
      return assert.deepEqual([other.type, Number(other.i)], [2, attribute.value]);
    case 'float':
      return assert.deepEqual([other.type, other.f], [1, attribute.value]);
    case 'string':
      return assert.deepEqual([other.type, text(other.s)], [3, attribute.value]);
    case 'ints':
      return assert.deepEqual([other.type, ...other.ints.map(Number)], [7, ...attribute.value.map(Number)]);
    case 'floats':
      return assert.deepEqual([other.type, ...other.floats], [6, ...attribute.value]);
    case 'strings':
      return assert.deepEqual([other.type, ...other.strings.map(text)], [8, ...attribute.value]);
    case 'tensor':
      return assertTensor(other.t, attribute.value);
    case 'graph':
      return assertGraph(other.g, attribute.value);
    default:
      return assert.fail(`attribute ${other.name} of kind ${attribute.kind} is not compared`);
  }
}

function assertTensor(other: OtherTensor, tensor: Tensor): void {
  assert.deepEqual([other.dataType, ...other.dims.map(Number)], [dtypeInfo(tensor.dtype).code, ...tensor.dims], other.name);
  if (tensor.storage instanceof ExternalStorage) {
    const entries = new Map(other.externalData.map(({ key, value }) => [key, value]));
    assert.equal(entries.get('location'), tensor.storage.location);
    return assert.equal(Number(entries.get('offset') ?? 0), tensor.storage.offset);
  }
  const list = other.floatData.length + other.int32Data.length + other.int64Data.length;
  if (list === 0) assert.ok(Buffer.from(other.rawData).equals(tensor.storage.read()), other.name);
  else assert.deepEqual([...other.floatData, ...other.int32Data, ...other.int64Data.map(Number)], [...numbersOf(tensor)], other.name);
}
