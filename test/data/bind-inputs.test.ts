import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bindInputs } from '../../src/data/bind-inputs.js';
import type { ModelInput } from '../../src/data/model-inputs.js';
import { int64Tensor, tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { assertFails, floats, valuesOf } from './support.js';

const IMAGE: ModelInput = { name: 'x', dtype: 'float32', shape: ['N', 3, 2, 2] };
const bytes = (dims: number[]): Tensor => tensorFromArray('uint8', dims, new Uint8Array(dims.reduce((a, b) => a * b)));
const zeros = (dims: number[]): Tensor => floats(dims, new Array(dims.reduce((a, b) => a * b)).fill(0));

/** Binds one tensor as "x". */
function bind(tensor: Tensor, input: ModelInput): Tensor {
  return bindInputs(new Map([['x', tensor]]), [input], 'a.npz').get('x')!;
}

test('bindInputs gives the tensors in the order of the inputs', () => {
  const [a, b] = [floats([1], [1]), floats([1], [2])];
  const inputs = [
    { name: 'b', dtype: 'float32' },
    { name: 'a', dtype: 'float32' },
  ] as const;
  const bound = bindInputs(new Map([['a', a], ['b', b]]), inputs, 'a.npz');
  assert.deepEqual([...bound.keys()], ['b', 'a']);
  assert.equal(bound.get('a'), a);
});

test('bindInputs rounds float64 to float32', () => {
  const bound = bind(tensorFromArray('float64', [2], Float64Array.of(0.1, NaN)), { name: 'x', dtype: 'float32', shape: [2] });
  assert.equal(bound.dtype, 'float32');
  assert.deepEqual(valuesOf(bound), [Math.fround(0.1), NaN]);
});

test('bindInputs turns int32 and int64 into each other where the values fit', async () => {
  const wide = bind(tensorFromArray('int32', [2], Int32Array.of(-5, 7)), { name: 'x', dtype: 'int64' });
  assert.equal(wide.dtype, 'int64');
  assert.deepEqual(valuesOf(wide), [-5, 7]);
  const narrow = bind(int64Tensor([-(2 ** 31), 2 ** 31 - 1]), { name: 'x', dtype: 'int32' });
  assert.equal(narrow.dtype, 'int32');
  assert.deepEqual(valuesOf(narrow), [-(2 ** 31), 2 ** 31 - 1]);
  await assertFails(
    () => bind(int64Tensor([2 ** 31]), { name: 'x', dtype: 'int32' }),
    'data-invalid',
    /^a\.npz: input "x" expects int32, any shape, received int64\[1\]$/,
    /do not fit int32/,
  );
});

test('bindInputs converts nothing else', async () => {
  await assertFails(() => bind(bytes([1, 3, 2, 2]), IMAGE), 'data-invalid', /received uint8\[1,3,2,2\]/, /scale the pixels/);
  await assertFails(() => bind(zeros([1]), { name: 'x', dtype: 'float16' }), 'data-invalid', /expects float16/, /astype\(np\.float16\)/);
  await assertFails(() => bind(bytes([1]), { name: 'x', dtype: 'bool' }), 'data-invalid', /expects bool/, /astype\(np\.bool_\)/);
});

test('bindInputs names expected and received inputs', async () => {
  const inputs: ModelInput[] = [IMAGE, { name: 'mask', dtype: 'bool' }];
  await assertFails(
    () => bindInputs(new Map([['x', zeros([1, 3, 2, 2])]]), inputs, 'a.npz'),
    'data-invalid',
    /^a\.npz: no array for input "mask"; expected "x", "mask", received "x"$/,
    /np\.savez/,
  );
  await assertFails(
    () => bindInputs(new Map([['x', zeros([1, 3, 2, 2])], ['y', bytes([1])]]), [IMAGE], 'a.npz'),
    'data-invalid',
    /^a\.npz: the model has no input "y"; expected "x", received "x", "y"$/,
  );
  await assertFails(() => bindInputs(new Map([['data', zeros([1])]]), [IMAGE], 'a.npz'), 'data-invalid', /no array for input "x".*received "data"$/);
});

test('bindInputs checks rank and fixed dimensions, and says what may help', async () => {
  assert.deepEqual(bind(zeros([7, 3, 2, 2]), IMAGE).dims, [7, 3, 2, 2]);
  for (const [dims, hint] of [
    [[3, 2, 2], /batch axis is missing/],
    [[5, 1, 3, 2, 2], /--stacked/],
    [[1, 2, 2, 3], /transpose\(0, 3, 1, 2\)/],
    [[1, 3, 4, 4], /the model fixes these dimensions/],
  ] as const) {
    await assertFails(
      () => bind(zeros([...dims]), IMAGE),
      'data-invalid',
      new RegExp(`^a\\.npz: input "x" expects float32\\[N,3,2,2\\], received float32\\[${dims.join(',')}\\]$`),
      hint,
    );
  }
  await assertFails(() => bind(zeros([9, 3]), { name: 'x', dtype: 'float32', shape: [1, 3] }), 'data-invalid', /expects float32\[1,3\]/, /--stacked/);
});

test('bindInputs does not advise --stacked where a run takes several rows', async () => {
  await assertFails(() => bind(zeros([1, 3]), { name: 'x', dtype: 'float32', shape: [8, 3] }), 'data-invalid', /expects float32\[8,3\]/, /exactly 8 rows/);
});
