import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OutputError } from '../../src/metrics/output-error.js';
import { checkThresholds, type ThresholdFigures } from '../../src/metrics/thresholds.js';

function output(name: string, fields: Partial<OutputError>): OutputError {
  return {
    name,
    sqnrDb: 30,
    cosine: 1,
    maxAbsError: 0,
    meanAbsError: 0,
    agreement: 1,
    equalShare: null, allZero: false,
    samples: 4,
    elements: 40,
    nonFinite: 0,
    nonFiniteMismatches: 0,
    nonFiniteSample: null,
    shapeMismatches: 0,
    collapsed: false,
    ...fields,
  };
}

const figures: ThresholdFigures = {
  outputs: [output('a', { sqnrDb: 30, agreement: 0.5 }), output('b', { sqnrDb: 20, agreement: 0.75 })],
  drop: 0.01,
  speedup: { median: 2 },
  integer: { computeNodes: 4, integerNodes: 3 },
  sizeRatio: 0.25,
};

const nothing: ThresholdFigures = { outputs: [], drop: null, speedup: null, integer: null, sizeRatio: null };

const valueOf = (outputs: readonly OutputError[], limits: Parameters<typeof checkThresholds>[0]) =>
  checkThresholds(limits, { ...nothing, outputs })[0]?.value;

test('checkThresholds: every limit with its figure; equal meets', () => {
  const limits = { minSqnr: 20, minAgreement: 0.5, maxDrop: 0.01, minSpeedup: 2, minInteger: 0.75, maxSize: 0.25 };
  assert.deepEqual(checkThresholds(limits, figures), [
    { name: 'min-sqnr', limit: 20, value: 20, met: true, output: 'b' },
    { name: 'min-agreement', limit: 0.5, value: 0.5, met: true, output: 'a' },
    { name: 'max-drop', limit: 0.01, value: 0.01, met: true, output: null },
    { name: 'min-speedup', limit: 2, value: 2, met: true, output: null },
    { name: 'min-integer', limit: 0.75, value: 0.75, met: true, output: null },
    { name: 'max-size', limit: 0.25, value: 0.25, met: true, output: null },
  ]);
});

test('checkThresholds: just beyond each limit is not met', () => {
  const limits = { minSqnr: 20.1, minAgreement: 0.51, maxDrop: 0.009, minSpeedup: 2.1, minInteger: 0.76, maxSize: 0.24 };
  assert.deepEqual(checkThresholds(limits, figures).map(({ met }) => met), [false, false, false, false, false, false]);
});

test('checkThresholds: only what was asked, zero included', () => {
  assert.deepEqual(checkThresholds({}, figures), []);
  assert.deepEqual(checkThresholds({ maxDrop: 0, minSqnr: undefined }, figures), [
    { name: 'max-drop', limit: 0, value: 0.01, met: false, output: null },
  ]);
});

test('checkThresholds: a figure that could not be had meets nothing', () => {
  const limits = { minSqnr: 0, minAgreement: 0, maxDrop: 1, minSpeedup: 0, minInteger: 0, maxSize: 9 };
  for (const { value, met } of checkThresholds(limits, nothing)) assert.deepEqual([value, met], [null, false]);
  assert.equal(checkThresholds({ minInteger: 0 }, { ...nothing, integer: { computeNodes: 0, integerNodes: 0 } })[0]?.met, false);
});

test('checkThresholds: an output without the figure is worse than any other', () => {
  assert.deepEqual(checkThresholds({ minSqnr: 10 }, { ...nothing, outputs: [output('a', {}), output('b', { sqnrDb: null })] }), [
    { name: 'min-sqnr', limit: 10, value: null, met: false, output: 'b' },
  ]);
  assert.equal(valueOf([output('a', { shapeMismatches: 1 })], { minSqnr: 10 }), null);
  assert.equal(valueOf([output('a', {}), output('b', { agreement: null, shapeMismatches: 1 })], { minAgreement: 0.5 }), null);
});

test('checkThresholds: outputs that a limit does not apply to are passed over', () => {
  assert.equal(valueOf([output('scores', {}), output('label', { equalShare: 0.5, sqnrDb: 1 })], { minSqnr: 10 }), 30);
  assert.equal(valueOf([output('label', { equalShare: 0.5, sqnrDb: 1 })], { minSqnr: 10 }), 1);
  assert.equal(valueOf([output('loss', { agreement: null }), output('scores', { agreement: 0.9 })], { minAgreement: 0.5 }), 0.9);
  assert.equal(valueOf([output('cache', { elements: 0, sqnrDb: null }), output('scores', {})], { minSqnr: 10 }), 30);
  assert.equal(valueOf([output('loss', { agreement: null })], { minAgreement: 0.5 }), null);
});
