import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeBins, encodeBins } from '../../src/calibration/bins-text.js';

const BIN_COUNT = 131_072;

test('bins read back as they were written', () => {
  const cases = [
    { index: [], count: [] },
    { index: [0], count: [1] },
    { index: [0, 1, 130, 65_536, 131_071], count: [127, 128, 2 ** 32 + 5, 3, Number.MAX_SAFE_INTEGER] },
  ];
  for (const { index, count } of cases) {
    const bins = { index: Uint32Array.from(index), count: Float64Array.from(count) };
    assert.deepEqual(decodeBins(encodeBins(bins), BIN_COUNT), bins);
  }
});

test('text that is not of the form is refused', () => {
  const text = (...bytes: number[]) => Buffer.from(bytes).toString('base64');
  for (const wrong of ['*', 'AA', text(1), text(1, 0), text(1, 0x80), text(0xff, 0xff, 0xff, 1, 1), `${text(1, 1)}\n`]) {
    assert.equal(decodeBins(wrong, BIN_COUNT), undefined, wrong);
  }
});
