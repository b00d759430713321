import assert from 'node:assert/strict';
import { test } from 'node:test';
import { modelInputs } from '../../src/data/model-inputs.js';
import type { Graph, ValueInfo } from '../../src/graph/model.js';
import { float32Tensor } from '../../src/tensor/tensor.js';
import { assertFails } from './support.js';

function graphWith(inputs: ValueInfo[]): Graph {
  return { name: 'g', nodes: [], initializers: new Map([['w', float32Tensor([1])]]), sparseInitializers: ['s'], inputs, outputs: [], valueInfo: [] };
}

test('modelInputs leaves out inputs that have an initializer', () => {
  const tensor = (name: string): ValueInfo => ({ name, type: { kind: 'tensor', dtype: 'float32', shape: ['N', 3, null] } });
  assert.deepEqual(modelInputs(graphWith([tensor('w'), tensor('x'), tensor('s')])), [{ name: 'x', dtype: 'float32', shape: ['N', 3, null] }]);
});

test('modelInputs keeps an undeclared shape undeclared', () => {
  assert.deepEqual(modelInputs(graphWith([{ name: 'x', type: { kind: 'tensor', dtype: 'int64' } }])), [{ name: 'x', dtype: 'int64' }]);
});

test('modelInputs refuses inputs that are not tensors', async () => {
  await assertFails(() => modelInputs(graphWith([{ name: 'x', type: { kind: 'sequence' } }])), 'model-invalid', /input "x" takes a sequence/);
});
