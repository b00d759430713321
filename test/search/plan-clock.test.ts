import assert from 'node:assert/strict';
import { test } from 'node:test';
import { timingOrder } from '../../src/search/plan-clock.js';

interface Plan {
  readonly name: string;
  readonly sqnrDb: number;
  readonly predicted: number;
}

const PLANS: readonly Plan[] = [
  { name: 'all static', sqnrDb: 15, predicted: 3 },
  { name: 'dynamic', sqnrDb: 40, predicted: 1.5 },
  { name: 'slow', sqnrDb: 42, predicted: 1.1 },
  { name: 'mixed', sqnrDb: 32, predicted: 2 },
  { name: 'bold', sqnrDb: 28, predicted: 2.4 },
  { name: 'bolder', sqnrDb: 27, predicted: 2.3 },
  { name: 'loud', sqnrDb: 12, predicted: 3.1 },
];

const order = (plans: readonly Plan[]) => timingOrder(plans, { good: ({ sqnrDb }) => sqnrDb >= 31, mayWin: ({ sqnrDb }) => sqnrDb >= 26 }, ({ predicted }) => predicted).map(({ name }) => name);

test('the most promising plans and the first are timed first, then those that may be as fast, then the rest', () => {
  assert.deepEqual(order(PLANS), ['mixed', 'bold', 'all static', 'bolder', 'slow', 'dynamic', 'loud']);
  assert.deepEqual(order(PLANS.map((plan) => (plan.name === 'dynamic' ? { ...plan, predicted: 1.8 } : plan))), ['mixed', 'bold', 'all static', 'dynamic', 'bolder', 'slow', 'loud']);
});

test('where none may be chosen, the first and then the quietest', () => {
  assert.deepEqual(order(PLANS.filter(({ sqnrDb }) => sqnrDb < 26)), ['all static', 'loud']);
  assert.deepEqual(order(PLANS.map((plan) => ({ ...plan, sqnrDb: plan.sqnrDb - 17 }))).slice(0, 3), ['all static', 'slow', 'dynamic']);
});
