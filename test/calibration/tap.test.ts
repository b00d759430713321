import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nonNegativeValues } from '../../src/calibration/non-negative.js';
import { gridStep, sampledTap } from '../../src/calibration/sampled-tap.js';
import { tapValues } from '../../src/calibration/tap.js';
import { createNode } from '../../src/graph/graph-editor.js';
import { float32Tensor } from '../../src/tensor/tensor.js';
import { convModel, floatInfo, modelOf } from './models.js';

test('a tap has the values as outputs, and only the nodes that they need', () => {
  const { model, computed, fed } = tapValues(convModel(), ['r1', 'x', 'c1', 'r1']);
  assert.deepEqual(computed, ['r1', 'c1']);
  assert.deepEqual(fed, ['x']);
  assert.deepEqual(model.graph.outputs.map(({ name }) => name), ['r1', 'c1']);
  assert.deepEqual(model.graph.nodes.map(({ name }) => name), ['conv1', 'relu1']);
  assert.deepEqual([...model.graph.initializers.keys()], ['w1']);
});

test('a value that the graph does not have is refused', () => {
  assert.throws(() => tapValues(convModel(), ['nowhere']), { code: 'internal', message: /"nowhere"/ });
});

test('a sampled tap reduces large float activations and leaves the others', () => {
  const tap = sampledTap(
    convModel(),
    new Map([
      ['c1', { dtype: 'float32', dims: [2, 16, 30, 44] }],
      ['r1', { dtype: 'float32', dims: [2, 16, 30, 44] }],
      ['c2', { dtype: 'float32', dims: [1, 16, 14, 14] }],
      ['s', { dtype: 'int64', dims: [1, 16, 300, 300] }],
      ['f', { dtype: 'float32', dims: [1000, 1000] }],
    ]),
  )!;
  assert.deepEqual(tap.whole, ['c2', 's', 'f']);
  assert.deepEqual(Object.fromEntries(tap.steps), { c1: [4, 6], r1: [4, 6] });
  assert.deepEqual([...tap.joined.values()].map((parts) => parts.map(({ value, kind }) => `${value} ${kind}`)), [
    ['c1 grid', 'c1 maxima', 'c1 negatedMinima', 'r1 grid', 'r1 maxima'],
  ]);
});

test('nothing is sampled where nothing is large', () => {
  assert.equal(sampledTap(convModel(), new Map([['c1', { dtype: 'float32', dims: [1, 16, 14, 14] }]])), undefined);
});

test('grids have at least seven elements along an edge', () => {
  assert.deepEqual(gridStep([1, 32, 112, 112]), [16, 16]);
  assert.deepEqual(gridStep([1, 512, 13, 27]), undefined);
  assert.deepEqual(gridStep([1, 512, 13, 34]), [1, 4]);
  assert.equal(gridStep([1, 512, 7, 7]), undefined);
  assert.equal(gridStep([1, 8, 14, 14]), undefined);
  assert.equal(gridStep([1000, 1000]), undefined);
});

test('values are known to be non-negative by how they are made', () => {
  const one = (opType: string, input: string, output: string, more: readonly string[] = []) =>
    createNode({ name: output, opType, inputs: [input, ...more], outputs: [output] });
  const model = modelOf(
    [
      one('Relu', 'x', 'relu'),
      one('Sigmoid', 'x', 'sigmoid'),
      one('MaxPool', 'relu', 'pool'),
      one('Concat', 'relu', 'joined', ['sigmoid']),
      one('Concat', 'relu', 'mixed', ['x']),
      one('Add', 'relu', 'raised', ['two']),
      one('Add', 'relu', 'lowered', ['minus']),
      one('Clip', 'x', 'clipped', ['two', 'six']),
      one('Clip', 'x', 'clippedBelow', ['minus', 'six']),
      one('Clip', 'x', 'clippedAbove', ['', 'six']),
      one('HardSwish', 'relu', 'swish'),
    ],
    [floatInfo('x', [1])],
    [],
    { two: float32Tensor(2), six: float32Tensor(6), minus: float32Tensor(-1) },
  );
  const isNonNegative = nonNegativeValues(model.graph);
  const found = model.graph.nodes.flatMap(({ outputs }) => outputs).filter(isNonNegative);
  assert.deepEqual(found, ['relu', 'sigmoid', 'pool', 'joined', 'raised', 'clipped']);
  assert.equal(isNonNegative('x'), false);
});
