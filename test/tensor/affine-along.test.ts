import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { affineAlong } from '../../src/tensor/affine-along.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';

const tensor = (dims: readonly number[], ...values: number[]) => tensorFromArray('float32', dims, Float32Array.from(values));
const result = (...args: Parameters<typeof affineAlong>) => [...numbersOf(affineAlong(...args))];

describe('affineAlong', () => {
  const matrix = tensor([2, 3], 1, 2, 3, 4, 5, 6);

  test('scales and shifts by the place on any axis', () => {
    assert.deepEqual(result(matrix, 0, [10, 100]), [10, 20, 30, 400, 500, 600]);
    assert.deepEqual(result(matrix, 1, [1, 10, 100]), [1, 20, 300, 4, 50, 600]);
    assert.deepEqual(result(matrix, -1, [1, 10, 100], [1, 2, 3]), [2, 22, 303, 5, 52, 603]);
  });

  test('one factor holds for all, also of a scalar', () => {
    assert.deepEqual(result(matrix, 0, [2]), [2, 4, 6, 8, 10, 12]);
    assert.deepEqual(result(tensor([], 3), -1, [2], [1]), [7]);
  });

  test('keeps −0, and the tensor given', () => {
    const zeros = tensor([2], -0, 1);
    assert.deepEqual(result(zeros, 0, [1, 2]), [-0, 2]);
    assert.deepEqual([...numbersOf(zeros)], [-0, 1]);
  });
});
