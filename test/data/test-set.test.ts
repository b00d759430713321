import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ModelInput } from '../../src/data/model-inputs.js';
import { openData } from '../../src/data/open-data.js';
import { assertFails, collect, folderWith, valuesOf } from './support.js';

const INPUTS: readonly ModelInput[] = [
  { name: 'b', dtype: 'float32', shape: [2] },
  { name: 'a', dtype: 'int8', shape: ['N'] },
];

/** A TensorProto of one dimension, put together by hand: dims (1), data_type (2), name (8), raw_data (9). */
function tensorProto(dtypeCode: number, length: number, raw: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from([0x08, length, 0x10, dtypeCode, 0x42, 1, 0x74, 0x4a, raw.length]), raw]);
}

const floatsProto = (first: number) => tensorProto(1, 2, new Uint8Array(Float32Array.of(first, first + 1).buffer));
const bytesProto = tensorProto(3, 3, Uint8Array.of(255, 0, 1));

test('a test set gives one sample a folder, its files bound to the inputs by number', async (t) => {
  const folder = folderWith(t, {
    'model.onnx': 'not data',
    'test_data_set_0/input_0.pb': floatsProto(1),
    'test_data_set_0/input_1.pb': bytesProto,
    'test_data_set_0/output_0.pb': floatsProto(9),
    'test_data_set_1/input_0.pb': floatsProto(5),
    'test_data_set_1/input_1.pb': bytesProto,
  });
  const samples = await collect(await openData({ paths: [folder] }, INPUTS));
  assert.deepEqual(samples.map(({ name }) => name), ['test_data_set_0', 'test_data_set_1']);
  assert.deepEqual(samples.map(({ inputs }) => valuesOf(inputs.get('b'))), [[1, 2], [5, 6]]);
  assert.deepEqual(valuesOf(samples[0]!.inputs.get('a')), [-1, 0, 1]);
  const alone = await collect(await openData({ paths: [join(folder, 'test_data_set_1')] }, INPUTS));
  assert.deepEqual(alone.map(({ name, inputs }) => [name, valuesOf(inputs.get('b'))]), [['test_data_set_1', [5, 6]]]);
});

test('a test set with missing, superfluous or damaged files is refused', async (t) => {
  const folder = folderWith(t, {
    'few/input_0.pb': floatsProto(1),
    'gap/input_0.pb': floatsProto(1),
    'gap/input_2.pb': bytesProto,
    'damaged/input_0.pb': floatsProto(1).subarray(0, -3),
    'damaged/input_1.pb': bytesProto,
  });
  const read = (name: string) => async () => collect(await openData({ paths: [join(folder, name)] }, INPUTS));
  await assertFails(read('few'), 'data-invalid', /few: expected input_0\.pb to input_1\.pb for "b", "a", received input_0\.pb/);
  await assertFails(read('gap'), 'data-invalid', /gap: expected .* received input_0\.pb, input_2\.pb/);
  await assertFails(read('damaged'), 'data-invalid', /input_0\.pb: is not a tensor file/);
});
