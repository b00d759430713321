import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DEFAULT_TARGET, targetOf, TARGETS, type TargetName } from '../../src/quantization/target.js';

describe('targets', () => {
  test('the default is x64 with VNNI on every machine', () => assert.equal(DEFAULT_TARGET, 'ort-x64-vnni'));

  const rows: readonly [TargetName, string, string, boolean][] = [
    ['ort-x64-vnni', 'uint8', 'int8', false],
    ['ort-x64', 'uint8', 'int8', true],
    ['ort-arm64', 'int8', 'int8', false],
  ];
  for (const [name, activationType, weightType, reduceRange] of rows) {
    test(name, () => {
      const target = targetOf(name);
      assert.deepEqual([target.name, target.activationType, target.weightType, target.reduceRange], [name, activationType, weightType, reduceRange]);
    });
  }

  test('there are no others', () => assert.deepEqual(Object.keys(TARGETS).sort(), rows.map(([name]) => name).sort()));
});
