import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes, countOf, decibels, duration, figure, orNotAvailable, percent, printable, shape, someOf, times } from '../../src/report/format.js';

test('figure: three digits, and an exponent only where zeros would hide them', () => {
  assert.deepEqual([0, 1234.5, 12.345, 0.5, 0.0012345, 0.00001234, 5e9, -1234.6].map((value) => figure(value)), ['0', '1,235', '12.3', '0.500', '0.00123', '1.23e-5', '5.00e+9', '-1,235']);
});

test('countOf: one is singular', () => {
  assert.equal(countOf(1, 'sample'), '1 sample');
  assert.equal(countOf(0, 'sample'), '0 samples');
  assert.equal(countOf(1_234_567, 'sample'), '1,234,567 samples');
});

test('bytes: decimal units, never 1000 of the smaller one', () => {
  assert.deepEqual([0, 999, 1000, 999_499, 999_500, 2_412_345, 1.5e9, 2e12].map(bytes), ['0 B', '999 B', '1.00 kB', '999 kB', '1.00 MB', '2.41 MB', '1.50 GB', '2,000 GB']);
});

test('duration: from microseconds to minutes', () => {
  assert.deepEqual([0.0123, 0.5, 12.345, 999.4, 999.6, 61_000, 125_000].map(duration), ['12.3 µs', '0.500 ms', '12.3 ms', '999 ms', '1.00 s', '61.0 s', '2 min 5 s']);
});

test('percent: 0 % and 100 % only where exact', () => {
  assert.deepEqual([0, 0.0001, 0.264, 0.9999, 1].map(percent), ['0 %', '< 0.1 %', '26.4 %', '> 99.9 %', '100 %']);
});

test('times, decibels, and what could not be had', () => {
  assert.equal(times(2.314), '2.31×');
  assert.equal(decibels(38.24), '38.2 dB');
  assert.equal(orNotAvailable(null, decibels), 'n/a');
});

test('shape: open dimensions are shown as they are declared', () => {
  assert.equal(shape([1, 'batch', null]), '[1, batch, ?]');
  assert.equal(shape([]), '[]');
  assert.equal(shape(null), 'of any shape');
});

test('someOf: the first names and how many more', () => {
  assert.equal(someOf(['a', 'b'], 2), 'a, b');
  assert.equal(someOf(['a', 'b', 'c', 'd'], 2), 'a, b and 2 more');
});

test('printable: names cannot move the cursor', () => {
  assert.equal(printable('a\u001b[2Jb\nc é'), 'a\\x1b[2Jb\\x0ac é');
});
