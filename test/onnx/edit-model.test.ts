import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withAttributes } from '../../src/graph/attributes.js';
import { createNode, GraphEditor } from '../../src/graph/graph-editor.js';
import type { Attribute, Model, Node } from '../../src/graph/model.js';
import { readMessage, writeMessage, type Message } from '../../src/onnx/messages.js';
import { decodeModel, encodeModel } from '../../src/onnx/model-codec.js';
import { float32Tensor, int64Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';

const unknown = Buffer.from([0xf8, 0x7f, 0x2a]);

/** A model with something in every corner that the graph in memory does not show. */
const BODY: Message<'GraphProto'> = {
  name: 'body',
  doc_string: 'inner',
  node: [{ op_type: 'Neg', input: ['x'], output: ['n'], doc_string: 'n', $unknowns: [unknown] }],
  output: [{ name: 'n' }],
};
const MODEL: Message<'ModelProto'> = {
  ir_version: 10,
  producer_name: 'pytorch',
  producer_version: '2.1',
  domain: 'org.example',
  model_version: 3,
  doc_string: 'whole',
  graph: {
    name: 'main',
    doc_string: 'graph',
    node: [
      {
        input: ['x', 'w', 'b'],
        output: ['c'],
        name: 'conv',
        op_type: 'Conv',
        doc_string: 'a convolution',
        attribute: [
          { name: 'kernel_shape', ints: [3, 3], type: 7, doc_string: 'kernel' },
          { name: 'alpha', f: 0.1, type: 1 },
          { name: 'note', s: Buffer.from('ff00', 'hex'), type: 3 },
        ],
        metadata_props: [{ key: 'pkg.torch', value: 'conv1' }],
        $unknowns: [unknown],
      },
      {
        input: ['x'],
        output: ['y'],
        op_type: 'If',
        domain: 'ai.onnx',
        attribute: [
          { name: 'then_branch', g: BODY, type: 5 },
          { name: 'else_branch', g: BODY, type: 5, $unknowns: [unknown] },
        ],
      },
      { input: ['c'], output: ['z'], op_type: 'Mine', domain: 'local', overload: 'a' },
    ],
    initializer: [
      { dims: [2], data_type: 1, name: 'w', float_data: [1, 2], doc_string: 'weights' },
      { dims: [2], data_type: 1, name: 'b', raw_data: new Uint8Array(8), $unknowns: [unknown] },
    ],
    input: [
      {
        name: 'x',
        type: {
          tensor_type: { elem_type: 1, shape: { dim: [{ dim_param: 'N', denotation: 'DATA_BATCH' }, { dim_value: 3 }, {}] } },
          denotation: 'IMAGE',
        },
        doc_string: 'the image',
      },
    ],
    output: [{ name: 'y' }, { name: 'z', type: { sequence_type: { elem_type: { tensor_type: { elem_type: 1 } } } } }],
    quantization_annotation: [{ tensor_name: 'w', quant_parameter_tensor_names: [{ key: 'SCALE_TENSOR', value: 's' }] }],
    sparse_initializer: [{ values: { name: 'sp', dims: [1], data_type: 1, float_data: [1] }, dims: [4] }],
    metadata_props: [{ key: 'g', value: '1' }],
    $unknowns: [unknown],
  },
  opset_import: [{ domain: 'ai.onnx', version: 13 }, { domain: 'local', version: 1, $unknowns: [unknown] }],
  metadata_props: [{ key: 'a', value: '1' }, { key: 'b', value: '2', $unknowns: [unknown] }],
  functions: [{ name: 'Mine', domain: 'local', overload: 'a', node: [{ op_type: 'Neg', input: ['i'], output: ['o'] }] }],
};

const bytes = writeMessage('ModelProto', MODEL);
const original = decodeModel(bytes);

/** What encoding an edited model gives, and what the same edit of the message gives: they must be the same bytes. */
function assertEdit(edited: Model, expected: Message<'ModelProto'>): void {
  assert.equal(textOf(encodeModel(edited)), textOf(writeMessage('ModelProto', expected)));
}

function textOf(modelBytes: Uint8Array): string {
  return JSON.stringify(readMessage('ModelProto', modelBytes), undefined, 1) + Buffer.from(modelBytes).toString('hex');
}

function withGraph(changes: Partial<Model['graph']>): Model {
  return { ...original, graph: { ...original.graph, ...changes } };
}

function withNode(index: number, change: (node: Node) => Node): Model {
  return withGraph({ nodes: original.graph.nodes.map((node, i) => (i === index ? change(node) : node)) });
}

function messageWithGraph(changes: Message<'GraphProto'>): Message<'ModelProto'> {
  return { ...MODEL, graph: { ...MODEL.graph, ...changes } };
}

function messageWithNode(index: number, changes: Message<'NodeProto'>): Message<'ModelProto'> {
  return messageWithGraph({ node: MODEL.graph!.node!.map((node, i) => (i === index ? { ...node, ...changes } : node)) });
}

test('what the model in memory shows', () => {
  assert.equal(original.irVersion, 10);
  assert.equal(original.producer, 'pytorch 2.1');
  assert.deepEqual([...original.opsets], [['', 13], ['local', 1]]);
  assert.deepEqual([...original.metadata], [['a', '1'], ['b', '2']]);
  assert.deepEqual(original.graph.sparseInitializers, ['sp']);
  assert.deepEqual(original.functions.map(({ name, domain, overload }) => [name, domain, overload]), [['Mine', 'local', 'a']]);
  const [conv, branch] = original.graph.nodes;
  assert.equal(branch!.domain, '');
  assert.deepEqual(plainAttribute(conv!.attributes.get('kernel_shape')), { kind: 'ints', value: [3, 3] });
  assert.deepEqual(plainAttribute(conv!.attributes.get('alpha')), { kind: 'float', value: Math.fround(0.1) });
  assert.deepEqual(original.graph.inputs[0]!.type, { kind: 'tensor', dtype: 'float32', shape: ['N', 3, null] });
  assert.deepEqual(original.graph.outputs.map((value) => value.type), [{ kind: 'none' }, { kind: 'sequence' }]);
  assert.deepEqual([...numbersOf(original.graph.initializers.get('w')!)], [1, 2]);
});

test('an attribute: only it changes, its own doc string stays', () => {
  const [kernel, alpha, note] = MODEL.graph!.node![0]!.attribute!;
  assertEdit(
    withNode(0, (node) => {
      const shape = node.attributes.get('kernel_shape')!;
      assert.equal(shape.kind, 'ints');
      return withAttributes(node, { kernel_shape: { ...shape, value: [5, 5] }, group: { kind: 'int', value: 4 } });
    }),
    messageWithNode(0, { attribute: [{ ...kernel, ints: [5, 5] }, alpha!, note!, { name: 'group', i: 4, type: 2 }] }),
  );
});

test('an attribute of another kind loses its old value', () => {
  const [kernel, alpha, note] = MODEL.graph!.node![0]!.attribute!;
  const { ints: _, ...rest } = kernel!;
  assertEdit(
    withNode(0, (node) =>
      withAttributes(node, { kernel_shape: { ...node.attributes.get('kernel_shape')!, kind: 'string', value: 'same' } }),
    ),
    messageWithNode(0, { attribute: [{ ...rest, s: Buffer.from('same'), type: 3 }, alpha!, note!] }),
  );
});

test('a removed attribute, inputs, outputs and a name', () => {
  const [, alpha, note] = MODEL.graph!.node![0]!.attribute!;
  assertEdit(
    withNode(0, (node) => ({
      ...withAttributes(node, { kernel_shape: undefined }),
      name: 'renamed',
      inputs: ['x', 'w'],
      outputs: ['c', 'd'],
    })),
    messageWithNode(0, { attribute: [alpha!, note!], name: 'renamed', input: ['x', 'w'], output: ['c', 'd'] }),
  );
});

test('a node inside a body', () => {
  const inner = { ...BODY, node: [{ ...BODY.node![0]!, op_type: 'Abs' }] };
  const [, otherwise] = MODEL.graph!.node![1]!.attribute!;
  assertEdit(
    withNode(1, (node) => {
      const branch = node.attributes.get('then_branch')!;
      assert.equal(branch.kind, 'graph');
      const body = (branch).value;
      const value = { ...body, nodes: body.nodes.map((item) => ({ ...item, opType: 'Abs' })) };
      return withAttributes(node, { then_branch: { ...branch, value } });
    }),
    messageWithNode(1, { attribute: [{ name: 'then_branch', g: inner, type: 5 }, otherwise!] }),
  );
});

test('a node that becomes another operator drops the overload that named a function', () => {
  const { overload: _, ...mine } = MODEL.graph!.node![2]!;
  assertEdit(
    withNode(2, (node) => ({ ...node, opType: 'Relu', domain: '' })),
    messageWithGraph({ node: [MODEL.graph!.node![0]!, MODEL.graph!.node![1]!, { ...mine, op_type: 'Relu', domain: '' }] }),
  );
});

test('initializers: new, replaced, renamed, removed; sparse ones removed', () => {
  const { initializers } = original.graph;
  assertEdit(
    withGraph({
      initializers: new Map([
        ['b', initializers.get('b')!],
        ['w_copy', initializers.get('w')!],
        ['steps', int64Tensor([1, -1])],
        ['scale', float32Tensor(0.5)],
      ]),
      sparseInitializers: [],
    }),
    messageWithGraph({
      initializer: [
        MODEL.graph!.initializer![1]!,
        { ...MODEL.graph!.initializer![0]!, name: 'w_copy' },
        { dims: [2], data_type: 7, name: 'steps', raw_data: Buffer.from('0100000000000000ffffffffffffffff', 'hex') },
        { data_type: 1, name: 'scale', raw_data: Buffer.from('0000003f', 'hex') },
      ],
      sparse_initializer: [],
    }),
  );
});

test('types: dimensions that stay keep their denotation, a tensor type takes the place of another', () => {
  const [input] = MODEL.graph!.input!;
  const shape = { dim: [{ dim_param: 'N', denotation: 'DATA_BATCH' }, { dim_value: 4 }, { dim_param: 'W' }] };
  assertEdit(
    withGraph({
      inputs: original.graph.inputs.map((value) => ({ ...value, type: { kind: 'tensor', dtype: 'uint8', shape: ['N', 4, 'W'] } })),
      outputs: [
        original.graph.outputs[0]!,
        { ...original.graph.outputs[1]!, type: { kind: 'tensor', dtype: 'int64', shape: [] } },
        { name: 'new', type: { kind: 'tensor', dtype: 'float32' } },
      ],
    }),
    messageWithGraph({
      input: [{ ...input, type: { tensor_type: { elem_type: 2, shape }, denotation: 'IMAGE' } }],
      output: [
        { name: 'y' },
        { name: 'z', type: { tensor_type: { elem_type: 7, shape: {} } } },
        { name: 'new', type: { tensor_type: { elem_type: 1 } } },
      ],
    }),
  );
});

test('operator sets keep their order and spelling; new domains follow', () => {
  assertEdit(
    { ...original, opsets: new Map([['com.microsoft', 1], ['', 21], ['local', 1]]), irVersion: 11, producer: 'qdq 0.1.0' },
    {
      ...MODEL,
      ir_version: 11,
      producer_name: 'qdq',
      producer_version: '0.1.0',
      opset_import: [
        { domain: 'ai.onnx', version: 21 },
        MODEL.opset_import![1]!,
        { domain: 'com.microsoft', version: 1 },
      ],
    },
  );
});

test('metadata: changed, removed, added; functions removed', () => {
  assertEdit(
    { ...original, metadata: new Map([['b', '3'], ['c', '4']]), functions: [] },
    { ...MODEL, metadata_props: [{ ...MODEL.metadata_props![1]!, value: '3' }, { key: 'c', value: '4' }], functions: [] },
  );
});

test('an edit by the graph editor leaves the bytes of every other node as they were', () => {
  const editor = new GraphEditor(original.graph);
  const conv = original.graph.nodes[0]!;
  const scale = editor.addInitializer('scale', float32Tensor(0.5));
  editor.replace(conv, conv, createNode({ name: 'q', opType: 'QuantizeLinear', inputs: ['c', scale], outputs: ['cq'] }));
  const edited = readMessage('ModelProto', encodeModel({ ...original, graph: editor.finish() }));
  const hexOf = (node: Message<'NodeProto'>) => Buffer.from(writeMessage('NodeProto', node)).toString('hex');
  const before = readMessage('ModelProto', bytes).graph!.node!.map(hexOf);
  const after = edited.graph!.node!;
  assert.equal(after.length, 4);
  assert.deepEqual(after.filter((node) => node.name !== 'q').map(hexOf), before);
  assert.equal(
    hexOf(after.find((node) => node.name === 'q')!),
    hexOf({ input: ['c', 'scale'], output: ['cq'], name: 'q', op_type: 'QuantizeLinear' }),
  );
});

test('attribute values of every kind: integers beyond 2^53, numbers, text, tensors, graphs', () => {
  const values: Record<string, Attribute> = {
    big: { kind: 'int', value: 2n ** 63n - 1n },
    low: { kind: 'int', value: -(2n ** 63n) },
    safe: { kind: 'int', value: -(2 ** 53) + 1 },
    nan: { kind: 'float', value: NaN },
    minusZero: { kind: 'float', value: -0 },
    text: { kind: 'string', value: 'größe' },
    ints: { kind: 'ints', value: [1, -1, 2n ** 60n + 1n] },
    floats: { kind: 'floats', value: [0.5, Infinity] },
    strings: { kind: 'strings', value: ['a', ''] },
    none: { kind: 'ints', value: [] },
    tensor: { kind: 'tensor', value: float32Tensor([1, 2]) },
    graph: { kind: 'graph', value: { ...original.graph, nodes: [] } },
    graphs: { kind: 'graphs', value: [original.graph, { ...original.graph, name: 'other' }] },
  };
  const node = createNode({ name: 'n', opType: 'Any', inputs: [], outputs: ['o'], attributes: values });
  const written = encodeModel({ ...original, graph: { ...original.graph, nodes: [node] } });
  const back = decodeModel(written).graph.nodes[0]!.attributes;
  for (const name of Object.keys(values)) {
    const attribute = values[name]!;
    if (attribute.kind === 'tensor' || attribute.kind === 'graph' || attribute.kind === 'graphs') continue;
    assert.deepEqual(plainAttribute(back.get(name)), attribute, name);
  }
  const types = readMessage('ModelProto', written).graph!.node![0]!.attribute!.map((attribute) => attribute.type);
  assert.deepEqual(types, [2, 2, 2, 1, 1, 3, 7, 6, 8, 7, 4, 5, 10]);
  const tensor = back.get('tensor');
  assert.deepEqual(tensor?.kind === 'tensor' && [...numbersOf(tensor.value)], [1, 2]);
  const graphs = back.get('graphs');
  assert.deepEqual(graphs?.kind === 'graphs' && graphs.value.map((graph) => graph.name), ['main', 'other']);
});

test('what cannot be written says so', () => {
  const other: Attribute = { kind: 'other' };
  assert.throws(() => encodeModel(withNode(0, (node) => withAttributes(node, { mystery: other }))), {
    code: 'internal',
    message: /attribute "mystery"/,
  });
  assert.throws(() => encodeModel({ ...original, functions: [{ name: 'f', domain: 'd', overload: '', inputs: [], outputs: [], defaults: new Map(), opsets: new Map(), nodes: [] }] }), { code: 'internal' });
  assert.throws(() => encodeModel(withGraph({ outputs: [{ name: 'o', type: { kind: 'map' } }] })), { code: 'internal' });
  assert.throws(
    () => encodeModel(withNode(0, (node) => withAttributes(node, { huge: { kind: 'int', value: 2n ** 63n } }))),
    RangeError,
  );
});

test('IR version 1 attributes without a type are told by the field that is present', () => {
  const node = { op_type: 'Old', output: ['o'], attribute: [{ name: 'i', i: 0 }, { name: 'l', ints: [1] }, { name: 'tp', tp: {} }] };
  const old = decodeModel(writeMessage('ModelProto', { ir_version: 1, graph: { node: [node] } }));
  assert.deepEqual([...old.opsets], [['', 1]]);
  const kinds = [...old.graph.nodes[0]!.attributes].map(([name, attribute]) => [name, attribute.kind]);
  assert.deepEqual(kinds, [['i', 'int'], ['l', 'ints'], ['tp', 'other']]);
});

function plainAttribute(attribute: Attribute | undefined): object {
  assert.ok(attribute);
  const { origin: _, ...rest } = attribute;
  return rest;
}
