import assert from 'node:assert/strict';
import { test } from 'node:test';
import { floatAttribute, intAttribute, intsAttribute, mapSubgraphs, stringAttribute, subgraphsOf, withAttributes } from '../../src/graph/attributes.js';
import { createNode } from '../../src/graph/graph-editor.js';
import { parseModel } from '../helpers/graph-text.js';

const node = createNode({
  name: 'n',
  opType: 'Op',
  inputs: [],
  outputs: [],
  attributes: {
    i: { kind: 'int', value: 3 },
    big: { kind: 'int', value: 2n ** 63n - 1n },
    f: { kind: 'float', value: 0.5 },
    s: { kind: 'string', value: 'text' },
    l: { kind: 'ints', value: [1, -(2n ** 63n)] },
  },
});

test('attributes are read by kind; others, and absent ones, give the fallback', () => {
  assert.deepEqual([intAttribute(node, 'i', 7), intAttribute(node, 'f', 7), intAttribute(node, 'gone', 7)], [3, 7, 7]);
  assert.deepEqual([floatAttribute(node, 'f', 7), floatAttribute(node, 'i', 7), floatAttribute(node, 'gone', 7)], [0.5, 7, 7]);
  assert.deepEqual([stringAttribute(node, 's', 'x'), stringAttribute(node, 'i', 'x')], ['text', 'x']);
  assert.deepEqual([intsAttribute(node, 'i'), intsAttribute(node, 'gone')], [undefined, undefined]);
});

test('integers beyond 2^53 are clamped', () => {
  assert.equal(intAttribute(node, 'big', 0), Number.MAX_SAFE_INTEGER);
  assert.deepEqual(intsAttribute(node, 'l'), [1, -Number.MAX_SAFE_INTEGER]);
});

test('withAttributes sets and removes, keeps order, and leaves the node given alone', () => {
  const changed = withAttributes(node, { f: undefined, i: { kind: 'int', value: 4 }, added: { kind: 'string', value: '' } });
  assert.deepEqual([...changed.attributes.keys()], ['i', 'big', 's', 'l', 'added']);
  assert.equal(intAttribute(changed, 'i', 0), 4);
  assert.equal(intAttribute(node, 'i', 0), 3);
});

test('mapSubgraphs: the same node where no body changed', () => {
  const { graph } = parseModel('input x float32[2]\ny = Neg(x)\noutput y');
  const holder = createNode({
    name: 'h',
    opType: 'If',
    inputs: [],
    outputs: [],
    attributes: { one: { kind: 'graph', value: graph }, axis: { kind: 'int', value: 1 }, more: { kind: 'graphs', value: [graph, { ...graph, name: 'second' }] } },
  });
  assert.equal(mapSubgraphs(holder, (body) => body), holder);
  assert.equal(mapSubgraphs(node, () => assert.fail()), node);
  const mapped = mapSubgraphs(holder, (body) => (body.name === 'second' ? { ...body, name: 'changed' } : body));
  assert.deepEqual(subgraphsOf(mapped).map((body) => body.name), ['main', 'main', 'changed']);
  assert.equal(subgraphsOf(mapped)[0], graph);
  assert.deepEqual(subgraphsOf(holder).map((body) => body.name), ['main', 'main', 'second']);
  assert.equal(mapped.attributes.get('axis'), holder.attributes.get('axis'));
});
