import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ModelInput } from '../../src/data/model-inputs.js';
import { openData } from '../../src/data/open-data.js';
import { assertFails, collect, valuesOf } from './support.js';

const INPUTS: readonly ModelInput[] = [
  { name: 'x', dtype: 'float32', shape: ['N', 3, 40, 'W'] },
  { name: 'half', dtype: 'float16', shape: [500] },
  { name: 'brain', dtype: 'bfloat16', shape: [500] },
  { name: 'wide', dtype: 'float64', shape: [500] },
  { name: 'ids', dtype: 'int64', shape: [1, 64] },
  { name: 'attention_mask', dtype: 'int64', shape: [1, 64] },
  { name: 'flag', dtype: 'bool', shape: [64] },
  { name: 'pixels', dtype: 'uint8', shape: [500] },
];

test('random samples are the same on each run and differ from each other', async () => {
  const first = await collect(await openData({ paths: ['random:3'] }, INPUTS));
  const second = await collect(await openData({ paths: ['random:3'] }, INPUTS));
  assert.deepEqual(first.map(({ name }) => name), ['random#0', 'random#1', 'random#2']);
  assert.deepEqual(first.map(({ digest }) => digest), second.map(({ digest }) => digest));
  assert.equal(new Set(first.map(({ digest }) => digest)).size, 3);
});

test('random samples do not change from one version to the next', async () => {
  const [sample] = await collect(await openData({ paths: ['random:1'] }, [{ name: 'x', dtype: 'float32', shape: [3] }]));
  assert.deepEqual(valuesOf(sample!.inputs.get('x')), [0.6230265498161316, 0.8665497303009033, 0.23190288245677948]);
});

test('random floats are standard normal, in every float type', async () => {
  const samples = await collect(await openData({ paths: ['random:8'] }, INPUTS));
  for (const name of ['x', 'half', 'brain', 'wide']) {
    const values = samples.flatMap(({ inputs }) => valuesOf(inputs.get(name)));
    const mean = values.reduce((a, b) => a + b) / values.length;
    const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
    assert.ok(Math.abs(mean) < 0.15 && Math.abs(variance - 1) < 0.15, `${name}: mean ${mean}, variance ${variance}`);
  }
});

test('random integers are valid as ids, and masks are 1', async () => {
  const [sample] = await collect(await openData({ paths: ['random:1'] }, INPUTS));
  const distinct = (name: string) => [...new Set(valuesOf(sample!.inputs.get(name)))].sort();
  assert.deepEqual(distinct('ids'), [0, 1]);
  assert.deepEqual(distinct('flag'), [0, 1]);
  assert.deepEqual(distinct('attention_mask'), [1]);
  assert.ok(distinct('pixels').length > 100);
});

test('open dimensions of random samples are 1 unless a shape is given', async () => {
  const [one] = await collect(await openData({ paths: ['random:1'] }, INPUTS));
  assert.deepEqual(one!.inputs.get('x')!.dims, [1, 3, 40, 1]);
  const [other] = await collect(await openData({ paths: ['random:1'], shapes: { x: [2, 3, 40, 5] } }, INPUTS));
  assert.deepEqual(other!.inputs.get('x')!.dims, [2, 3, 40, 5]);
});

test('random samples come with a warning and advice', async () => {
  const { warnings, total } = await openData({ paths: ['random:12'] }, INPUTS);
  assert.equal(total, 12);
  assert.deepEqual(warnings.map(({ code }) => code), ['random-data']);
  assert.match(warnings[0]!.advice, /real samples/);
});

test('random samples need a rank, a number type and a count', async () => {
  await assertFails(() => openData({ paths: ['random:1'] }, [{ name: 'x', dtype: 'float32' }]), 'data-invalid', /input "x" float32, any shape/, /--shape x=/);
  await assertFails(() => openData({ paths: ['random:1'] }, [{ name: 'x', dtype: 'string', shape: [1] }]), 'data-invalid', /cannot be made up/);
  for (const path of ['random:', 'random:0', 'random:x', 'random:1.5']) {
    await assertFails(() => openData({ paths: [path] }, INPUTS), 'usage', /expected random:N/);
  }
});
