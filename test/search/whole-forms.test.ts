import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Choices, Planner } from '../../src/search/planner.js';
import { proposalsOf, wholeForms } from '../../src/search/whole-forms.js';
import { GraphBuilder } from '../helpers/graph-builder.js';

const g = new GraphBuilder();
g.output(g.op('product', 'MatMul', [g.input('x', [4, 32]), g.weight('w', [32, 32])]));
const nodes = g.model().graph.nodes;
const planner = { select: () => ({ nodes: new Map(nodes.map((node) => [node, {}])) }), fixed: new Map(), nodesFor: () => nodes } as unknown as Planner;
const choices = { others: new Map(), float: new Map() } as unknown as Choices;
const times = (productMs: number) => [
  { names: ['product'], opType: 'MatMul', timeMs: productMs, elements: 1 },
  { names: ['rest'], opType: 'Conv', timeMs: 100 - productMs, elements: 1 },
];
const labels = (productMs: number | undefined, isQuiet: boolean, cleanSpeedup = 1) =>
  proposalsOf(wholeForms(planner, choices, productMs === undefined ? undefined : times(productMs), isQuiet), choices, isQuiet, cleanSpeedup).map(({ label }) => label);

const STATIC = ['products dynamic, the rest static', 'products in 8-bit blocks, the rest static'];
const FLOAT = ['products dynamic, the rest float', 'products in 8-bit blocks, the rest float'];

test('products take other forms where they have time to win, or where static ones are too loud', () => {
  assert.deepEqual(labels(1, true), []);
  assert.deepEqual(labels(4, true), STATIC);
  assert.deepEqual(labels(4, true, 1.2), [...STATIC, ...FLOAT]);
  assert.deepEqual(labels(30, true), [...STATIC, ...FLOAT]);
  assert.deepEqual(labels(1, false), [...STATIC, ...FLOAT]);
  assert.deepEqual(labels(undefined, true), [...STATIC, ...FLOAT]);
});
