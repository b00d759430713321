import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withFrozen } from '../../src/data/frozen-inputs.js';
import type { ModelInput } from '../../src/data/model-inputs.js';
import { openData } from '../../src/data/open-data.js';
import { int64Tensor, tensorFromArray } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { assertFails, collect, floats, folderWith, ROW_INPUT, valuesOf } from './support.js';

const INPUTS: readonly ModelInput[] = [...ROW_INPUT, { name: 'rate', dtype: 'int64', shape: [] }];
const frozen = { rate: ['16000'] };

test('samples are completed with frozen inputs, and those that feed another value are an error that names them', async (t) => {
  const x = floats([1, 3], [1, 2, 3]);
  const folder = folderWith(t, { 'a.npz': new Map([['x', x]]), 'b.npz': new Map([['x', x], ['rate', int64Tensor(16000)]]), 'c.npy': x });
  for (const { inputs } of await collect(await openData({ paths: [folder], frozen }, INPUTS))) assert.deepEqual([valuesOf(inputs.get('x')), valuesOf(inputs.get('rate'))], [[1, 2, 3], [16000]]);
  await assertFails(async () => collect(await openData({ paths: [folder] }, INPUTS)), 'data-invalid', /rate/);
  const other = folderWith(t, { 'a.npz': new Map([['x', x]]), 'deep/b.npz': new Map([['x', x], ['rate', tensorFromArray('int32', [], Int32Array.of(8000))]]) });
  await assertFails(async () => collect(await openData({ paths: [other], frozen }, INPUTS)), 'data-invalid', /deep\/b\.npz: input "rate" is frozen at 16000, received 8000/);
  for (const { inputs } of await collect(await openData({ paths: ['random:3'], frozen }, INPUTS))) assert.deepEqual(valuesOf(inputs.get('rate')), [16000]);
});

test('values take the type and the shape of the input', () => {
  const value = (dtype: ModelInput['dtype'], shape: ModelInput['shape'], texts: string[]) => withFrozen([{ name: 'i', dtype, ...(shape && { shape }) }], { i: texts })[0]!.frozen!;
  assert.deepEqual([value('bool', ['N'], ['true']).dims, [...numbersOf(value('bool', [], ['false']))]], [[1], [0]]);
  assert.deepEqual([value('float32', ['N', 2], ['1', '-.5', '3e2', '4']).dims, [...numbersOf(value('float32', undefined, ['1', '-.5', '3e2']))]], [[2, 2], [1, -0.5, 300]]);
  assert.deepEqual([...new BigInt64Array(value('int64', [], ['-9223372036854775808']).storage.read().slice().buffer)], [-(2n ** 63n)]);
});

const WRONG: readonly (readonly [ModelInput['dtype'], ModelInput['shape'], string[], RegExp])[] = [
  ['int64', [], ['1.5'], /expected integers that fit int64/],
  ['uint8', [], ['256'], /expected integers that fit uint8/],
  ['int32', [], [''], /expected integers/],
  ['bool', [], ['2'], /expected true or false/],
  ['float32', [], ['loud'], /expected numbers/],
  ['float32', [], ['Infinity'], /expected numbers/],
  ['int64', [2], ['1'], /cannot be filled from one value/],
  ['int64', [], ['1', '2'], /cannot be filled from 2 values/],
  ['int64', ['N', 2], ['1', '2', '3'], /cannot be filled from 3 values/],
  ['int64', [0], ['1'], /cannot be filled/],
  ['string', [], ['a'], /cannot be frozen/],
];
for (const [dtype, shape, texts, message] of WRONG) {
  test(`${dtype}[${shape?.join()}] cannot be frozen at ${texts.join()}`, async () => {
    await assertFails(async () => withFrozen([{ name: 'i', dtype, ...(shape && { shape }) }], { i: texts }), 'usage', message);
  });
}

test('an input that the model lacks cannot be frozen', async () => {
  await assertFails(async () => withFrozen(INPUTS, { sr: ['1'] }), 'usage', /--freeze names "sr", expected "x", "rate"/);
});
