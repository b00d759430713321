import assert from 'node:assert/strict';
import { test } from 'node:test';
import { QdqError } from '../../src/errors.js';
import { mapThroughPool, WorkPool } from '../../src/quantization/work-pool.js';
import { failWork, slowSquareWork, threadWork } from './pool-work.js';

test('results come in the order of the items, and only a few items are under way', async () => {
  const pool = new WorkPool(2);
  let asked = 0;
  let seen = 0;
  const items = function* () {
    for (let i = 0; i < 20; i++) {
      assert.ok(asked - seen <= pool.size + 2, `${asked} asked for, ${seen} seen`);
      yield i;
    }
  };
  const results: number[] = [];
  // Later items take less time, so that they are done first.
  const mapped = mapThroughPool(pool, items(), slowSquareWork, (value) => {
    asked++;
    return { value, ms: 20 - value };
  });
  for await (const [item, square] of mapped) {
    assert.equal(item, seen++);
    results.push(square);
  }
  assert.deepEqual(results, Array.from({ length: 20 }, (_, i) => i * i));
});

test('work is done in no more threads than the pool has, and not in this one', async () => {
  const pool = new WorkPool(2);
  const threads = await Promise.all(Array.from({ length: 12 }, () => pool.run(threadWork, 5)));
  assert.equal(new Set(threads).size, 2);
  assert.ok(!threads.includes(0), 'thread 0 is the main one');
});

test('what work throws arrives with its code and hint, and the pool goes on', async () => {
  const pool = new WorkPool(1);
  await assert.rejects(pool.run(failWork, 'QdqError'), (error) => error instanceof QdqError && error.code === 'external-data' && error.message === 'it is short' && error.hint === 'copy it again');
  await assert.rejects(pool.run(failWork, 'other'), (error) => error instanceof QdqError && error.code === 'internal' && error.message === 'broken');
  await assert.rejects(pool.run(failWork, 'exit'), /a worker thread ended with code 7/);
  assert.equal(await pool.run(slowSquareWork, { value: 3, ms: 0 }), 9);
});

test('a failure ends the mapping at its item', async () => {
  const seen: number[] = [];
  await assert.rejects(async () => {
    for await (const [item] of mapThroughPool(new WorkPool(2), [0, 1, 2, 3], slowSquareWork, (value) => ({ value, ms: value === 2 ? -1 : 0 }))) seen.push(item);
  }, /no such time/);
  assert.deepEqual(seen, [0, 1]);
});
