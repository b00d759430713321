import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { choosePlan, type ChoiceRules, type Standing } from '../../src/search/choose-plan.js';

const RULES: ChoiceRules = { minSqnrDb: 20, marginDb: 10, maxDrop: undefined, prefer: 'speed', leastDb: 20, isConfirmed: false };

interface Named extends Standing {
  readonly name: string;
}

function plan(name: string, sqnrDb: number, speed: number | null, more: Partial<Standing> = {}): Named {
  const speedup = speed === null ? null : { median: speed, low: speed - 0.02, high: speed + 0.02 };
  return { name, sqnrDb, drop: null, speedup, integerNodes: 4, weightBytes: 100, ...more };
}

const FLOAT = { integerNodes: 0, weightBytes: 101 };

const chosen = (plans: readonly Named[], rules: Partial<ChoiceRules> = {}) => choosePlan(plans, { ...RULES, ...rules }).name;

describe('choosePlan', () => {
  test('the fastest that keeps the margin, and of those as fast the one with more integers', () => {
    assert.equal(chosen([plan('loud', 29, 3), plan('slow', 50, 1.5), plan('fast', 31, 2)]), 'fast');
    assert.equal(chosen([plan('fast', 31, 2, { integerNodes: 3 }), plan('as fast', 31, 1.985, { integerNodes: 9 }), plan('slower', 31, 1.9, { integerNodes: 20 })]), 'as fast');
  });

  test('more integers only where the clock cannot tell which is faster, and of those alike the smaller', () => {
    const narrow = (one: Named): Named => ({ ...one, speedup: { median: one.speedup!.median, low: one.speedup!.median - 0.005, high: one.speedup!.median + 0.005 } });
    assert.equal(chosen([plan('fast', 31, 2, { integerNodes: 3 }), narrow(plan('more', 31, 1.97, { integerNodes: 9 }))]), 'fast');
    assert.equal(chosen([plan('fast', 31, 2, { weightBytes: 110 }), plan('smaller', 31, 1.99)]), 'smaller');
  });

  test('less of the margin where that is clearly faster, if samples will confirm it', () => {
    const plans = [plan('quiet', 31, 1.1), plan('bold', 27, 1.4), plan('bolder', 25, 2), plan('float', 200, 1, FLOAT)];
    assert.equal(chosen(plans), 'quiet');
    assert.equal(chosen(plans, { isConfirmed: true }), 'bold');
    assert.equal(chosen([plan('quiet', 31, 1.3), plan('bold', 27, 1.39)], { isConfirmed: true }), 'quiet');
    assert.equal(chosen(plans, { isConfirmed: true, leastDb: 29 }), 'quiet');
  });

  test('the less of the margin is lacking, the less faster it must be', () => {
    const nearly = (speed: number) => chosen([plan('quiet', 31, 1.5), plan('nearly', 29, speed)], { isConfirmed: true });
    assert.equal(nearly(1.53), 'quiet');
    assert.equal(nearly(1.56), 'nearly');
    assert.equal(chosen([plan('quiet', 31, 1.5), plan('bold', 26.1, 1.6)], { isConfirmed: true }), 'quiet');
  });

  test('float only where it is faster beyond doubt', () => {
    assert.equal(chosen([plan('integers', 35, 1.2), plan('float', 200, 1.25, FLOAT)]), 'integers');
    assert.equal(chosen([plan('integers', 35, 1.2), plan('float', 200, 1.5, FLOAT)]), 'float');
    const wide = { median: 1.5, low: 1.1, high: 1.9 };
    assert.equal(chosen([plan('integers', 35, 1.2), { ...plan('float', 200, 1.5, FLOAT), speedup: wide }]), 'integers');
  });

  test('a part of the margin, or the least, where nothing faster keeps all of it', () => {
    const float = plan('float', 200, 1, FLOAT);
    assert.equal(chosen([plan('slow', 40, 0.9), plan('nearly', 27, 1.5), plan('least', 21, 2), float]), 'nearly');
    assert.equal(chosen([plan('slow', 40, 0.9), plan('least', 21, 2), plan('loud', 19, 3), float]), 'least');
    assert.equal(chosen([plan('slow', 40, 0.9), plan('least', 21, 2), float], { leastDb: 22 }), 'float');
  });

  test('what is faster beyond doubt goes before what may be', () => {
    const unsure = { median: 1.3, low: 0.6, high: 2 };
    assert.equal(chosen([{ ...plan('unsure', 40, 1.3), speedup: unsure }, plan('nearly', 27, 1.4)]), 'nearly');
    assert.equal(chosen([{ ...plan('unsure', 40, 1.3), speedup: unsure }, plan('float', 200, 1, FLOAT)]), 'unsure');
  });

  test('after a plan that failed, what is asked holds for all', () => {
    assert.equal(chosen([plan('before', 33, 3), plan('quieter', 37, 1.5)], { leastDb: 36 }), 'quieter');
  });

  test('where nothing wins, the smallest that is not slower; integers where they are about as small', () => {
    const float = plan('float', 200, 1, { ...FLOAT, weightBytes: 400 });
    const stored = plan('stored', 44, 1, FLOAT);
    assert.equal(chosen([plan('slower', 35, 0.97, { weightBytes: 90 }), float, stored]), 'stored');
    assert.equal(chosen([plan('no slower', 35, 1.01, { weightBytes: 110 }), float, stored]), 'no slower');
    assert.equal(chosen([plan('no slower', 35, 1.01, { weightBytes: 300 }), float, stored]), 'stored');
  });

  test('where nothing wins, integers that are no smaller than float bring nothing', () => {
    assert.equal(chosen([plan('integers', 40, 1.01, { weightBytes: 102 }), plan('float', 200, 1, FLOAT)]), 'float');
    assert.equal(chosen([plan('integers', 40, 1.01, { weightBytes: 99 }), plan('float', 200, 1, FLOAT)]), 'integers');
    assert.equal(chosen([plan('integers', 40, 1.01, { weightBytes: 102 })]), 'integers');
  });

  test('where nothing keeps the budget, the quietest that is faster, or the quietest', () => {
    assert.equal(chosen([plan('quiet', 15, 0.9), plan('faster', 12, 1.4), plan('fastest', 8, 2)]), 'faster');
    assert.equal(chosen([plan('quiet', 15, 0.9), plan('louder', 12, 1.01)]), 'quiet');
    assert.equal(chosen([plan('untimed', 15, null), plan('louder', 12, null)]), 'untimed');
  });

  test('other preferences', () => {
    const plans = [plan('fast', 35, 2, { weightBytes: 300 }), plan('all', 33, 0.8, { integerNodes: 9 }), plan('small', 32, 1.1, { weightBytes: 50, integerNodes: 1 }), plan('float', 200, 1, FLOAT)];
    assert.equal(chosen(plans, { prefer: 'integer' }), 'all');
    assert.equal(chosen(plans, { prefer: 'size' }), 'small');
  });

  test('a drop of the task metric instead of dB', () => {
    const plans = [plan('dropping', 40, 3, { drop: 0.2 }), plan('unknown', 40, 3), plan('kept', 12, 1.5, { drop: 0.01 }), plan('float', 200, 1, { ...FLOAT, drop: 0 })];
    assert.equal(chosen(plans, { maxDrop: 0.05 }), 'kept');
  });
});
