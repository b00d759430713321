import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quietNodes } from '../../src/search/quiet-nodes.js';

const quiet = (powers: Readonly<Record<string, number>>) => quietNodes(new Map(Object.entries(powers))).sort();

test('sets the nodes aside that make nine tenths of the noise', () => {
  assert.deepEqual(quiet({ a: 1, loud: 100, b: 2, c: 3 }), ['a', 'b', 'c']);
  assert.deepEqual(quiet({ a: 1, loud: 60, b: 2, louder: 80, c: 3, d: 1 }), ['a', 'b', 'c', 'd']);
});

test('sets no more than half of them aside where they are alike', () => {
  assert.deepEqual(quiet({ a: 1, b: 1.1, c: 1.2, d: 1.3 }), ['a', 'b']);
  assert.deepEqual(quiet({ a: 1, b: 1.1, c: 1.2 }), ['a']);
  assert.deepEqual(quiet({ only: 1 }), []);
});

test('nodes without noise are quiet', () => {
  assert.deepEqual(quiet({ a: 0, b: 0, loud: 1 }), ['a', 'b']);
  assert.deepEqual(quiet({}), []);
});
