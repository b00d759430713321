import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProgressLog, progressText } from '../../commands/terminal.js';

test('progressText: a rate and the time left, once they mean something', () => {
  assert.equal(progressText({ stage: 'calibrating', done: 12, total: 1200, unit: 'samples' }, 100), 'calibrating: 12 of 1,200 samples');
  assert.equal(progressText({ stage: 'calibrating', done: 12, total: 64, unit: 'samples' }, 2000), 'calibrating: 12 of 64 samples, 6.00/s, 8.67 s left');
  assert.equal(progressText({ stage: 'calibrating', done: 64, total: 64, unit: 'samples' }, 2000), 'calibrating: 64 of 64 samples, 32.0/s');
});

test('progressText: where the total is not known', () => {
  assert.equal(progressText({ stage: 'reading', done: 3 }, 1000), 'reading: 3, 3.00/s');
  assert.equal(progressText({ stage: 'reading', done: 0, unit: 'samples' }, 1000), 'reading: 0 samples');
});

test('progressText: bytes in units that people read', () => {
  const event = { stage: 'writing', done: 201e6, total: 805e6, unit: 'bytes' };
  assert.equal(progressText(event, 100), 'writing: 201 MB of 805 MB');
  assert.equal(progressText(event, 500), 'writing: 201 MB of 805 MB, 402 MB/s, 1.50 s left');
});

test('ProgressLog: the latest step again and again, until it is stopped', async () => {
  const lines: string[] = [];
  const log = new ProgressLog((line) => lines.push(line), 5);
  await until(() => lines.length > 0);
  assert.match(lines[0]!, /^progress: working, after \d/);
  log.update({ stage: 'judging', done: 3, total: 8, unit: 'samples' });
  await until(() => lines.filter((line) => /^progress: judging: 3 of 8 samples, after \d/.test(line)).length > 1);
  log.stop();
  const { length } = lines;
  await new Promise((resolve) => setTimeout(resolve, 25));
  assert.equal(lines.length, length);
});

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 5));
}
