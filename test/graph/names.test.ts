import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Names } from '../../src/graph/names.js';
import { parseModel } from '../helpers/graph-text.js';

const TEXT = `
  input in float32[2]
  input c bool[]
  const const float32[2] 1 2
  sparse sparse
  info info float32[2]
  node: value = Neg(in)
  y = If(c)
    then_branch:
      const inner_const float32[2] 1 2
      inner_node: inner = Neg(value)
      output inner
    else_branch:
      e = Abs(in)
      output e
  output y`;

test('Names.unique: free names stay, names in use get a number', () => {
  const names = new Names(parseModel(TEXT).graph);
  assert.equal(names.unique('free'), 'free');
  assert.deepEqual([names.unique('free'), names.unique('free')], ['free_1', 'free_2']);
  assert.equal(names.unique('free_1'), 'free_1_1');
});

test('Names knows inputs, outputs, constants, declarations, values and nodes, those in bodies too', () => {
  for (const name of ['in', 'y', 'const', 'sparse', 'info', 'value', 'node', 'inner', 'inner_node', 'inner_const', 'e']) {
    assert.equal(new Names(parseModel(TEXT).graph).unique(name), `${name}_1`);
  }
});

test('Names knows what a body reads from outside', () => {
  const { graph } = parseModel('const k float32[1] 1\ny = Add(outer, k)\noutput other');
  assert.deepEqual(['outer', 'other'].map((name) => new Names(graph).unique(name)), ['outer_1', 'other_1']);
});

test('Names.unique: 20,000 times the same hint', () => {
  const names = new Names(parseModel('output y').graph);
  const given = Array.from({ length: 20_000 }, () => names.unique('n'));
  assert.equal(new Set(given).size, given.length);
  assert.equal(given.at(-1), 'n_19999');
});
