import assert from 'node:assert/strict';
import { test } from 'node:test';
import { thresholdText } from '../../src/report/threshold-text.js';

test('thresholdText: units, outputs and directions', () => {
  assert.equal(
    thresholdText({ name: 'min-agreement', limit: 0.99, value: 0.98125, met: false, output: 'y' }),
    'min-agreement is not met: 0.98125 at output "y", expected at least 0.99',
  );
  assert.equal(thresholdText({ name: 'min-speedup', limit: 1.5, value: 2.345678, met: true, output: null }), 'min-speedup is met: 2.34568×, expected at least 1.5×');
  assert.equal(
    thresholdText({ name: 'min-sqnr', limit: 20, value: null, met: false, output: 'y' }),
    'min-sqnr is not met: the figure could not be had at output "y", expected at least 20 dB',
  );
});

test('thresholdText: a value just beside its limit does not look equal to it', () => {
  assert.equal(
    thresholdText({ name: 'max-drop', limit: 0.01, value: 0.010000000000000009, met: false, output: null }),
    'max-drop is not met: 0.010000000000000009, expected at most 0.01',
  );
});
