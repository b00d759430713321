import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gridStep } from '../../src/calibration/grids.js';
import { nonNegativeValues } from '../../src/calibration/non-negative.js';
import { sampledTap } from '../../src/calibration/sampled-tap.js';
import { tapValues } from '../../src/calibration/tap.js';
import { createNode } from '../../src/graph/graph-editor.js';
import { indexOf } from '../../src/graph/graph-index.js';
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
      ['s', { dtype: 'int64', dims: [1, 16, 300, 300] }],
      ['f', { dtype: 'float32', dims: [1000, 1000] }],
      ['c2', { dtype: 'float32', dims: [2, 5, 10, 15] }],
      ['r1', { dtype: 'float32', dims: [2, 64, 30, 44] }],
      ['c1', { dtype: 'float32', dims: [2, 64, 30, 44] }],
    ]),
  )!;
  assert.deepEqual(Object.fromEntries(tap.steps), { c1: [3, 3], r1: [3, 3] });
  assert.deepEqual(
    [...tap.joined.values()].map((blocks) => blocks.map(({ images, places, parts }) => [images, places, parts.map(({ value, kind }) => `${value} ${kind}`)])),
    [
      [[2, 150, ['c1 grid', 'r1 grid', 'c2 grid']]],
      [[2, 1, ['c1 maxima', 'c1 negatedMinima', 'c1 maxima', 'r1 maxima', 'r1 maxima']]],
    ],
  );
  assert.deepEqual(tap.model.graph.outputs.map(({ name }) => name), ['f', 's', ...tap.joined.keys()]);
});

test('a sampled tap has one last node, so that the runtime reduces each activation as soon as it is there', () => {
  const tap = sampledTap(
    convModel(),
    new Map([
      ['y', { dtype: 'float32', dims: [1, 4] }],
      ['r1', { dtype: 'float32', dims: [1, 64, 64, 64] }],
      ['c2', { dtype: 'float32', dims: [1, 64, 32, 32] }],
    ]),
  )!;
  const { graph } = tap.model;
  const index = indexOf(graph);
  const last = graph.nodes.filter(({ outputs }) => index.uses(outputs[0]!).length === 0);
  assert.equal(last.length, 1);
  // Of its inputs, the extremes were added last.
  const producers = last[0]!.inputs.map((input) => graph.nodes.findIndex(({ outputs }) => outputs.includes(input)));
  assert.equal(Math.max(...producers), producers[0]);
});

test('nothing is sampled where nothing is large', () => {
  assert.equal(sampledTap(convModel(), new Map([['c1', { dtype: 'float32', dims: [1, 16, 14, 14] }]])), undefined);
});

test('grids have at least four elements along an edge and some thousands in all', () => {
  assert.deepEqual(gridStep([1, 10_000, 112, 112]), [37, 37]);
  assert.deepEqual(gridStep([1, 32, 112, 112]), [7, 7]);
  assert.equal(gridStep([1, 2, 112, 112]), undefined);
  assert.deepEqual(gridStep([1, 512, 5, 34]), [1, 3]);
  assert.deepEqual(gridStep([1, 960, 7, 7]), [2, 2]);
  assert.equal(gridStep([1, 512, 7, 7]), undefined);
  assert.equal(gridStep([8, 16, 14, 14]), undefined);
  assert.deepEqual(gridStep([8, 256, 14, 14]), [2, 2]);
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
