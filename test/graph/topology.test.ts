import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createNode } from '../../src/graph/graph-editor.js';
import { topologicalOrder } from '../../src/graph/topology.js';
import { seeded } from '../metrics/seeded.js';
import { parseModel } from '../helpers/graph-text.js';

const order = (text: string) => topologicalOrder(parseModel(text).graph.nodes).map((node) => node.outputs.find(Boolean)).join(' ');
const neg = (input: string, output: string) => createNode({ name: output, opType: 'Neg', inputs: [input], outputs: [output] });

describe('topologicalOrder', () => {
  test('keeps an order that is one', () => {
    assert.equal(order('b = Neg(x)\na = Neg(x)\nd = Add(a, b)\nc = Neg(b)'), 'b a d c');
  });

  test('puts producers before their readers, as late as that allows', () => {
    assert.equal(order('d = Add(b, a)\na = Neg(x)\nc = Neg(x)\nb = Neg(a)'), 'a b d c');
  });

  test('counts what bodies read', () => {
    assert.equal(order('y = If(c)\n  then_branch:\n    t = Neg(a)\n    output t\n  else_branch:\n    e = Neg(x)\n    output e\na = Neg(x)'), 'a y');
  });

  test('absent inputs and outputs depend on nothing', () => {
    assert.equal(order(', y = LSTM(x, , z)\n, z = LSTM(x, , x)'), 'z y');
  });

  test('names a node and a value of a cycle', () => {
    const cycle = (text: string, expected: string) => assert.throws(() => order(text), new RangeError(expected));
    cycle('m: a = Add(x, b)\nn: b = Neg(a)', 'the graph has a cycle through Add "m" (value "a")');
    cycle('m: a = Neg(a)', 'the graph has a cycle through Neg "m" (value "a")');
    cycle('m: y = If(c)\n  then_branch:\n    t = Neg(y)\n    output t', 'the graph has a cycle through If "m" (value "y")');
  });

  test('a chain of 50,000 nodes, backwards', () => {
    const chain = Array.from({ length: 50_000 }, (_, i) => neg(i ? `v${i - 1}` : 'x', `v${i}`));
    assert.deepEqual(topologicalOrder(chain.toReversed()), chain);
    assert.throws(() => topologicalOrder([...chain, neg('v49999', 'x')]), /cycle/);
  });

  test('any order of a random graph becomes a valid one', () => {
    const next = seeded(11);
    const nodes = Array.from({ length: 300 }, (_, i) => {
      const inputs = Array.from({ length: 1 + Math.floor(3 * next()) }, () => (i ? `v${Math.floor(i * next())}` : 'x'));
      return createNode({ name: '', opType: 'Sum', inputs, outputs: [`v${i}`] });
    });
    for (let round = 0; round < 20; round++) {
      const shuffled = nodes.map((node) => ({ node, key: next() })).sort((a, b) => a.key - b.key).map(({ node }) => node);
      const made = new Set(['x']);
      for (const node of topologicalOrder(shuffled)) {
        assert.ok(node.inputs.every((input) => made.has(input)));
        node.outputs.forEach((output) => made.add(output));
      }
      assert.equal(made.size, 301);
    }
  });
});
