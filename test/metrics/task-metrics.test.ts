import assert from 'node:assert/strict';
import { test } from 'node:test';
import { builtInMetric, createMetric, METRIC_NAMES, metricDrop } from '../../src/metrics/task-metrics.js';
import { floats, longs } from './tensors.js';

test('createMetric top1: the share of samples whose label has the greatest score', () => {
  const metric = createMetric('top1');
  metric.add({ y: floats([1, 3], [0, 5, 1]) }, 1, 'a');
  metric.add({ y: floats([1, 3], [0, 5, 1]) }, 2, 'b');
  metric.add({ y: floats([1, 3], [5, 5, 1]) }, 1, 'tie');
  metric.add({ y: floats([1, 3], [NaN, 5, 1]) }, 1, 'nan');
  assert.deepEqual(metric.result(), { metric: 'top1', value: 0.5, samples: 4 });
});

test('createMetric top5: the first five of the sorted scores, all of them where there are fewer', () => {
  const metric = createMetric('top5');
  const scores = floats([1, 7], [7, 6, 5, 4, 3, 2, 1]);
  for (let label = 0; label < 7; label++) metric.add({ y: scores }, label, `${label}`);
  assert.deepEqual(metric.result(), { metric: 'top5', value: 5 / 7, samples: 7 });
  const small = createMetric('top5');
  small.add({ y: floats([1, 2], [9, 1]) }, 1, 'a');
  assert.equal(small.result().value, 1);
});

test('createMetric: a batch takes one label per row and counts each', () => {
  const metric = createMetric('top1');
  metric.add({ y: floats([2, 2], [1, 0, 1, 0]) }, [0, 1], 'batch');
  assert.deepEqual(metric.result(), { metric: 'top1', value: 0.5, samples: 2 });
});

test('createMetric: no samples, no value', () => {
  assert.deepEqual(createMetric('top1').result(), { metric: 'top1', value: null, samples: 0 });
});

test('createMetric: picks the float output with rows of scores, past labels and scalars', () => {
  const metric = createMetric('top1');
  metric.add({ label: longs([1, 2], [1, 0]), loss: floats([], [3]), wide: floats([2], [0, 1]), scores: floats([1, 2], [1, 0]) }, 0, 'a');
  metric.add({ scores: floats([1, 2, 1, 1], [1, 0]) }, 0, 'unsqueezed');
  metric.add({ scores: floats([2], [1, 0]) }, 0, 'one dimension');
  assert.deepEqual(metric.result(), { metric: 'top1', value: 1, samples: 3 });
});

test('createMetric: metrics share no state', () => {
  const one = createMetric('top1');
  one.add({ y: floats([1, 2], [1, 0]) }, 0, 'a');
  assert.equal(createMetric('top1').result().samples, 0);
});

test('createMetric: clear errors for unknown names, labels and outputs that do not fit', () => {
  assert.throws(() => createMetric('f1'), { name: 'QdqError', code: 'usage', message: /unknown metric "f1": expected top1 or top5/ });
  const metric = createMetric('top1');
  const y = floats([1, 3], [0, 1, 2]);
  const tooHigh = /"cat.png": expected a class index below 3.*"y", received 3/;
  assert.throws(() => metric.add({ y }, 3, 'cat.png'), { code: 'data-invalid', message: tooHigh });
  for (const label of [undefined, 'cat', -1, 1.5, null]) {
    const message = /label of sample "cat.png": expected a class index/;
    assert.throws(() => metric.add({ y }, label, 'cat.png'), { code: 'data-invalid', message });
  }
  assert.throws(() => metric.add({ y: floats([2, 2], [0, 1, 0, 1]) }, 1, 'a'), /expected 2 labels, one per row of output "y" \[2, 2\], received 1/);
  assert.throws(() => metric.add({ y: longs([1], [1]) }, 1, 'a'), /expected a float output .* received "y" int64\[1\]/);
  assert.throws(() => metric.add({}, 1, 'a'), /received no outputs/);
  assert.equal(metric.result().samples, 0);
});

test('builtInMetric: every listed name creates itself', () => {
  for (const name of METRIC_NAMES) assert.equal(builtInMetric(name).create().result().metric, name);
});

test('metricDrop: positive where the candidate is worse, in either direction; null without a value', () => {
  assert.equal(metricDrop({ higherIsBetter: true }, 0.75, 0.5), 0.25);
  assert.equal(metricDrop({ higherIsBetter: true }, 0.5, 0.75), -0.25);
  assert.equal(metricDrop({ higherIsBetter: false }, 2, 3), 1);
  assert.equal(metricDrop({ higherIsBetter: true }, null, 0.5), null);
  assert.equal(metricDrop({ higherIsBetter: true }, 0.5, null), null);
});
