import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plansInTime, timeLeft } from '../../src/search/time-plan.js';

test('what follows a search is taken off the time that is left, the more the longer a run takes', () => {
  const goal = { begunAt: 1_000, endRuns: 40, budget: { totalMs: 60_000 } };
  assert.equal(timeLeft(goal, 100, 11_000), 46_000);
  assert.equal(timeLeft(goal, 1_500, 11_000), -10_000);
});

test('plans are tried as long as there is time, and one however late where none is known that will do', () => {
  assert.equal(plansInTime(10_000, 3_000, true), 3);
  assert.equal(plansInTime(10_000, 0, true) > 1_000, true);
  assert.deepEqual([plansInTime(2_000, 3_000, true), plansInTime(2_000, 3_000, false)], [0, 1]);
  assert.deepEqual([plansInTime(-5_000, 3_000, true), plansInTime(-5_000, 3_000, false)], [0, 1]);
});
