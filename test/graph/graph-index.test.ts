import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { allNodes } from '../../src/graph/traversal.js';
import { capturedValues, indexOf } from '../../src/graph/graph-index.js';
import { subgraphsOf } from '../../src/graph/attributes.js';
import { parseModel } from '../helpers/graph-text.js';

const NESTED = parseModel(`
  input x float32[2]
  input c bool[]
  input open float32[2]
  const open float32[2] 1 2
  const w float32[2] 1 2
  sparse s
  info a float32[2]
  neg: a = Neg(x)
  if: y = If(c)
    then_branch:
      const k float32[2] 3 4
      inner: t = If(c)
        then_branch:
          u = Add(a, k)
          output u
        else_branch:
          v = Add(s, w)
          output v
      output t
    else_branch:
      e = Add(a, x)
      output e
  add: z = Add(a, a)
  cut: p, = Split(open)
  output y
  output z`);

describe('indexOf', () => {
  const { graph } = NESTED;
  const index = indexOf(graph);
  const uses = (value: string) => index.uses(value).map(({ node, input }) => `${node.name} ${input}`);

  test('is built once for a graph', () => assert.equal(indexOf(graph), index));

  test('producer', () => {
    assert.equal(index.producer('a'), graph.nodes[0]);
    assert.equal(index.producer('y'), graph.nodes[1]);
    for (const value of ['x', 'w', 'k', 't', '', 'gone']) assert.equal(index.producer(value), undefined, value);
  });

  test('uses: each input of a node, and −1 for each body that reads the value', () => {
    assert.deepEqual(uses('a'), ['if -1', 'if -1', 'add 0', 'add 1']);
    assert.deepEqual(uses('c'), ['if 0', 'if -1']);
    assert.deepEqual(uses('x'), ['neg 0', 'if -1']);
    assert.deepEqual(uses('w'), ['if -1']);
    assert.deepEqual(uses('s'), ['if -1']);
    for (const value of ['k', 't', 'u', '', 'y']) assert.deepEqual(uses(value), [], value);
  });

  test('constant: dense ones that callers cannot override', () => {
    assert.equal(index.constant('w'), graph.initializers.get('w'));
    for (const value of ['open', 's', 'k', 'x', '']) assert.equal(index.constant(value), undefined, value);
  });

  test('isInput, isOutput, isRead, info', () => {
    assert.deepEqual(['x', 'open', 'w', 'y'].map(index.isInput), [true, true, false, false]);
    assert.deepEqual(['y', 'z', 'a', 't'].map(index.isOutput), [true, true, false, false]);
    assert.deepEqual(['a', 's', 'y', 'p', 'k', ''].map(index.isRead), [true, true, true, false, false, false]);
    assert.deepEqual([index.info('a')?.name, index.info('x')?.name, index.info('y')?.name, index.info('p')], ['a', 'x', 'y', undefined]);
  });
});

test('capturedValues: what bodies read from outside, those of bodies inside included', () => {
  const [, conditional] = NESTED.graph.nodes;
  const [then, otherwise] = subgraphsOf(conditional!);
  assert.deepEqual([...capturedValues(then!)].sort(), ['a', 'c', 's', 'w']);
  assert.deepEqual([...capturedValues(otherwise!)].sort(), ['a', 'x']);
  assert.deepEqual([...capturedValues(NESTED.graph)], []);
  assert.deepEqual([...capturedValues(parseModel('output y').graph)], ['y'], 'a body may hand out a value of the graph around');
});

test('allNodes: those of bodies too, outer ones first', () => {
  assert.deepEqual(Array.from(allNodes(NESTED.graph), (node) => node.name || node.outputs[0]), ['neg', 'if', 'inner', 'u', 'v', 'e', 'add', 'cut']);
});
