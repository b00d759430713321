import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { QuantizationPlan } from '../../src/quantization/plan.js';
import { isBestAsItCame } from '../../src/search/as-it-came.js';
import { replay, RECORD_SCHEMA, type PlanRecord } from '../../src/search/plan-record.js';
import { GraphBuilder } from '../helpers/graph-builder.js';

/** x + c, with c in `count` elements. */
function sum(count: number) {
  const g = new GraphBuilder();
  return g.output(g.op('y', 'Add', [g.input('x', [4, count]), g.weight('c', [count])])).model();
}

const interval = (median: number) => ({ median, low: median - 0.01, high: median + 0.01 });

describe('isBestAsItCame', () => {
  const [small, large] = [sum(8).graph, sum(64).graph];
  const lost = { integerNodes: 0, cleanSpeedup: interval(1.01) };
  const float = { others: new Map() };

  test('where nothing wins and clean-up only adds bytes', () => {
    assert.equal(isBestAsItCame(lost, float, small, large), true);
    assert.equal(isBestAsItCame({ ...lost, cleanSpeedup: null }, float, small, large), true);
  });

  test('but not where clean-up wins time or bytes, a weight is stored, integers win, or nothing was searched', () => {
    assert.equal(isBestAsItCame({ ...lost, cleanSpeedup: interval(1.2) }, float, small, large), false);
    assert.equal(isBestAsItCame(lost, float, large, small), false);
    assert.equal(isBestAsItCame(lost, { others: new Map([['y', { form: 'stored', reason: 'it is' }]]) }, small, large), false);
    assert.equal(isBestAsItCame({ ...lost, integerNodes: 2 }, float, small, large), false);
    assert.equal(isBestAsItCame(undefined, float, small, large), false);
  });
});

test('a record of a model that was written as it came gives it again', () => {
  const [original, cleaned] = [sum(8), sum(64)];
  const plan: QuantizationPlan = { schema: 'qdq.plan/1', mode: 'static', target: 'ort-x64', activationType: 'uint8', weightType: 'int8', method: 'minmax', domain: '', nodes: [{ name: 'y', opType: 'Add', decision: 'float', reason: 'it stays' }], tensors: {}, scales: {} };
  const dynamicOptions = { target: 'ort-x64', weightType: 'int8', perChannel: true, reduceRange: false, opset: 13 } as const;
  const record: PlanRecord = { schema: RECORD_SCHEMA, version: '1', model: { sha256: '' }, candidates: [], plan, biases: {}, others: {}, bodies: false, keptInBodies: {}, dynamicOptions, asItCame: true };
  const prepared = { model: cleaned, types: new Map() };
  assert.equal(replay(original, prepared, record).model, original);
  assert.equal(replay(original, prepared, { ...record, asItCame: false }).model.graph.initializers.get('c')!.dims[0], 64);
});
