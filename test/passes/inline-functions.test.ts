import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import type { Model } from '../../src/graph/model.js';
import { allNodes } from '../../src/graph/traversal.js';
import { readMessage, writeMessage, type Message } from '../../src/onnx/messages.js';
import { decodeModel, encodeModel } from '../../src/onnx/model-codec.js';
import { inlineFunctions } from '../../src/passes/inline-functions.js';
import { isComputeNode } from '../../src/runtime/kernels.js';
import { parseModel, printModel } from '../helpers/graph-text.js';
import { assertSameOutputs, feedsFor, outputsOf } from '../helpers/same-outputs.js';

type Attribute = Message<'AttributeProto'>;

interface FunctionText {
  readonly name: string;
  /** Inputs, nodes and outputs, in the notation of `helpers/graph-text.ts`. */
  readonly text: string;
  readonly opsets?: Readonly<Record<string, number>>;
  /** Attributes of nodes that refer to one of the call's: [node index, name of the attribute, name in the call]. */
  readonly references?: readonly (readonly [number, string, string])[];
  readonly parameters?: readonly string[];
  readonly defaults?: readonly Attribute[];
}

const messageOf = (text: string) => readMessage('ModelProto', encodeModel(parseModel(text)));
const FLOAT = 1;

function withFunctions(main: string, functions: readonly FunctionText[]): Model {
  const message = messageOf(main);
  const protos = functions.map(({ name, text, opsets = { '': 17, my: 1 }, references = [], parameters = [], defaults = [] }): Message<'FunctionProto'> => {
    const { node = [], input = [], output = [] } = messageOf(text).graph!;
    return {
      name,
      domain: 'my',
      input: input.map((value) => value.name!),
      output: output.map((value) => value.name!),
      attribute: parameters,
      attribute_proto: defaults,
      opset_import: Object.entries(opsets).map(([domain, version]) => ({ domain, version })),
      node: node.map((each, i) => {
        const referring = references.filter(([at]) => at === i).map(([, own, ref]): Attribute => ({ name: own, ref_attr_name: ref, type: FLOAT }));
        return { ...each, attribute: [...(each.attribute ?? []), ...referring] };
      }),
    };
  });
  return decodeModel(writeMessage('ModelProto', { ...message, functions: protos }));
}

const BLOCK: FunctionText = { name: 'Block', text: 'input X float32\ninput W float32\noutput Y\nm = MatMul(X, W)\nY = Relu(m)' };

const inline = (model: Model) => inlineFunctions(model, isComputeNode);

/** The inlined model: valid, without calls, and equal to the given one in onnxruntime, bit by bit. */
async function assertInlined(model: Model): Promise<Model> {
  const { model: result, changes } = inline(model);
  assert.equal(changes.length, 1);
  assert.deepEqual(checkGraph(result.graph), []);
  assert.deepEqual([...allNodes(result.graph)].filter(({ domain }) => domain === 'my'), []);
  assert.equal(inline(result).model, result);
  const feeds = feedsFor(model);
  assertSameOutputs(await outputsOf(result, feeds), await outputsOf(model, feeds));
  return result;
}

const TWICE = `
  ir 8
  opset 17
  opset my 1
  input x float32[2,4]
  const w float32[4,4] ~1
  a = my::Block(x, w)
  y = my::Block(a, w)
  output y float32[2,4]`;

describe('functions that compute are put in the place of their calls', () => {
  test('two calls, each with names of its own', async () => {
    const result = await assertInlined(withFunctions(TWICE, [BLOCK]));
    assert.deepEqual(result.functions, []);
    assert.deepEqual([...allNodes(result.graph)].map(({ opType, inputs, outputs }) => `${outputs.join()} = ${opType}(${inputs.join()})`), [
      'a_m = MatMul(x,w)',
      'a = Relu(a_m)',
      'y_m = MatMul(a,w)',
      'y = Relu(y_m)',
    ]);
  });

  test('attributes of the call, of the function, and absent ones', async () => {
    const leaky: FunctionText = {
      name: 'Leaky',
      text: 'input X float32\noutput Y\nm = MatMul(X, X)\nl = LeakyRelu(m)\nY = Elu(l)',
      references: [[1, 'alpha', 'slope'], [2, 'alpha', 'bend']],
      parameters: ['bend'],
      defaults: [{ name: 'slope', type: FLOAT, f: 0.5 }],
    };
    const call = (attributes: string) => `ir 8\nopset 17\nopset my 1\ninput x float32[4,4]\ny = my::Leaky(x)${attributes}\noutput y float32[4,4]`;
    for (const attributes of ['', ' slope=0.25', ' slope=0.25 bend=2.0']) await assertInlined(withFunctions(call(attributes), [leaky]));
  });

  test('calls in calls and in bodies', async () => {
    const outer: FunctionText = {
      name: 'Outer',
      text: `
        input X float32
        input W float32
        input C bool
        output Y
        output U
        h = my::Block(X, W)
        U = Neg(h)
        Y = If(C)
          then_branch:
            t = my::Block(h, W)
            output t
          else_branch:
            e = Neg(h)
            output e`,
    };
    const main = `
      ir 8
      opset 17
      opset my 1
      input x float32[2,4]
      input c bool[]
      const w float32[4,4] ~1
      a, v = my::Outer(x, w, c)
      y, u = my::Outer(a, w, c)
      output v float32[2,4]
      output y float32[2,4]
      output u float32[2,4]`;
    await assertInlined(withFunctions(main, [outer, BLOCK]));
  });

  test('an input passed on, and an output that the call leaves out', () => {
    const both: FunctionText = { name: 'Both', text: 'input X float32\noutput X\noutput M\noutput U\nM = MatMul(X, X)\nU = Neg(M)' };
    const { model } = inline(withFunctions('ir 8\nopset 17\nopset my 1\ninput x float32[4,4]\ny, , u = my::Both(x)\noutput y float32[4,4]\noutput u float32[4,4]', [both]));
    assert.deepEqual(checkGraph(model.graph), []);
    assert.deepEqual(model.graph.nodes.map(({ opType, inputs, outputs }) => `${outputs.join()} = ${opType}(${inputs.join()})`), [
      'y_M = MatMul(x,x)',
      'u = Neg(y_M)',
      'y = Identity(x)',
    ]);
  });

  test('a function in an older operator set is raised to that of the model', async () => {
    const old: FunctionText = { name: 'Old', text: 'input X float32\noutput Y\nm = MatMul(X, X)\ns = Unsqueeze(m) axes=[0]\nY = Softmax(s) axis=-1', opsets: { '': 11 } };
    const main = 'ir 8\nopset 17\nopset my 1\ninput x float32[4,4]\ny = my::Old(x)\noutput y float32[1,4,4]';
    const { model } = inline(withFunctions(main, [old]));
    assert.deepEqual(checkGraph(model.graph), []);
    const by = parseModel('ir 8\nopset 17\ninput x float32[4,4]\nconst axes int64[1] 0\nm = MatMul(x, x)\ns = Unsqueeze(m, axes)\ny = Softmax(s) axis=-1\noutput y float32[1,4,4]');
    const feeds = feedsFor(by);
    assertSameOutputs(await outputsOf(model, feeds), await outputsOf(by, feeds));
  });
});

describe('functions that are left alone', () => {
  test('those that compute nothing', () => {
    const model = withFunctions(TWICE, [{ name: 'Block', text: 'input X float32\ninput W float32\noutput Y\nY = Add(X, W)' }]);
    assert.equal(inline(model).model, model);
  });

  test('those written in a newer operator set', () => {
    const model = withFunctions(TWICE, [{ ...BLOCK, opsets: { '': 18 } }]);
    assert.equal(inline(model).model, model);
  });

  test('a function that another one calls that stays', () => {
    const idle: FunctionText = { name: 'Idle', text: 'input X float32\noutput Y\nY = my::Half(X)' };
    const half: FunctionText = { name: 'Half', text: 'input X float32\noutput Y\nY = Neg(X)' };
    const main = 'ir 8\nopset 17\nopset my 1\ninput x float32[4,4]\nconst w float32[4,4] ~1\na = my::Block(x, w)\ny = my::Idle(a)\noutput y float32[4,4]';
    const { model } = inline(withFunctions(main, [idle, half, BLOCK]));
    assert.deepEqual(model.functions.map(({ name }) => name), ['Idle', 'Half']);
    assert.match(printModel(model), /my::Idle/);
  });
});

test('functions that call themselves, or each other without end, are an error', () => {
  const self: FunctionText = { name: 'Block', text: 'input X float32\ninput W float32\noutput Y\nm = MatMul(X, W)\nY = my::Block(m, W)' };
  assert.throws(() => inline(withFunctions(TWICE, [self])), { code: 'model-invalid', message: /Block.*calls itself/ });
  const doubling = Array.from({ length: 30 }, (_, i): FunctionText => {
    const inner = i === 0 ? 'MatMul(X, W)' : `my::F${i - 1}(X, W)`;
    return { name: i === 29 ? 'Block' : `F${i}`, text: `input X float32\ninput W float32\noutput Y\na = ${inner}\nb = ${inner}\nY = Add(a, b)` };
  });
  assert.throws(() => inline(withFunctions(TWICE, doubling)), { code: 'model-invalid', message: /more than 500000 nodes/ });
});
