import assert from 'node:assert/strict';
import { test } from 'node:test';
import { holdOut, limitNames, splitNames, spreadNames } from '../../src/data/split.js';
import { assertFails } from './support.js';

const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `${String(i).padStart(4, '0')}.npz`);

test('splitNames keeps even and odd positions, which share nothing', () => {
  assert.deepEqual(splitNames(names(5), 'even'), ['0000.npz', '0002.npz', '0004.npz']);
  assert.deepEqual(splitNames(names(5), 'odd'), ['0001.npz', '0003.npz']);
});

test('splitNames draws a percentage exactly, in order, and the same each time', () => {
  const drawn = splitNames(names(200), '20%');
  assert.equal(drawn.length, 40);
  assert.deepEqual(drawn, [...drawn].sort());
  assert.deepEqual(splitNames(names(200), '20%'), drawn);
  assert.equal(splitNames(names(3), '1%').length, 1);
  assert.equal(splitNames(names(3), '100%').length, 3);
  assert.equal(splitNames(names(1000), '0.5%').length, 5);
});

test('splitNames draws a smaller percentage from a larger one', () => {
  const larger = new Set(splitNames(names(100), '50%'));
  assert.ok(splitNames(names(100), '10%').every((name) => larger.has(name)));
});

test('splitNames spreads a percentage over the names', () => {
  const halves = splitNames(names(400), '25%').filter((name) => name < '0200');
  assert.ok(halves.length > 30 && halves.length < 70, `${halves.length} of 100 in the first half`);
});

test('splitNames refuses other words', async () => {
  for (const split of ['', 'first', '0%', '101%', '-5%', '20', '%', '1e1%']) {
    await assertFails(() => splitNames(names(4), split), 'usage', /--split .*: expected even, odd or a percentage/);
  }
});

test('holdOut takes a quarter, and none of fewer than eight', () => {
  assert.equal(holdOut(names(7)).size, 0);
  assert.equal(holdOut(names(8)).size, 2);
  assert.equal(holdOut(names(11)).size, 2);
  assert.equal(holdOut(names(100)).size, 25);
});

test('holdOut does not depend on the order of the names', () => {
  assert.deepEqual([...holdOut(names(40).reverse())].sort(), [...holdOut(names(40))]);
});

test('limitNames takes names evenly', async () => {
  assert.deepEqual(limitNames(names(10), 4), ['0000.npz', '0002.npz', '0005.npz', '0007.npz']);
  assert.deepEqual(limitNames(names(3), 8), names(3));
  await assertFails(() => limitNames(names(3), 0), 'usage', /--limit 0: expected a positive integer/);
});

test('spreadNames keeps all names, and its first four are of both halves and of both even and odd places', () => {
  for (const count of [0, 1, 2, 3, 4, 5, 8, 13, 16, 21, 64]) {
    const spread = spreadNames(names(count));
    assert.deepEqual([...spread].sort(), names(count));
    if (count < 8) continue;
    const places = spread.slice(0, 4).map((name) => parseInt(name, 10));
    assert.equal(new Set(places.map((place) => place % 2)).size, 2, String(places));
    assert.equal(new Set(places.map((place) => place < count / 2)).size, 2, String(places));
  }
});
