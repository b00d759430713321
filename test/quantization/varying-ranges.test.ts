import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rangeVariation, varyingNodes, VARYING_RANGE, type SampleExtremes } from '../../src/quantization/varying-ranges.js';
import { parseModel } from '../helpers/graph-text.js';

const extremes = (min: number | null, sampleMinHigh: number | null, sampleMaxLow: number | null, max: number | null): SampleExtremes => ({ min, sampleMinHigh, sampleMaxLow, max });

test('rangeVariation: all samples over the narrowest one, zero included', () => {
  assert.equal(rangeVariation(extremes(-1, -1, 3, 3)), 1);
  assert.equal(rangeVariation(extremes(-8, -1, 1, 4)), 6);
  assert.equal(rangeVariation(extremes(1, 5, 2, 10)), 5, 'zero is in every range');
  assert.equal(rangeVariation(extremes(0, 0, 0, 7)), Infinity, 'a sample of zeros only');
  assert.equal(rangeVariation(extremes(0, 0, 0, 0)), 1);
  assert.equal(rangeVariation(extremes(null, null, null, null)), null);
});

test('varyingNodes: products with a constant whose input varies much, with the reason, and no others', () => {
  const { graph } = parseModel(`
    opset 13
    input x float32[2,4]
    input z float32[4,4]
    const w float32[4,4] ~1
    const k float32[4,4,1,1] ~2
    first: a = MatMul(x, w)
    second: b = Gemm(a, w)
    forced: c = MatMul(a, w)
    both: d = MatMul(a, z)
    unseen: e = MatMul(z, w)
    added: f = Add(a, w)
    output b
    output c
    output d
    output e
    output f
  `);
  const records: Record<string, SampleExtremes> = { x: extremes(-1, -0.4, 0.4, 1), a: extremes(-10, -2, 2, 10) };
  const found = varyingNodes(graph, (value) => records[value], ({ name }) => name === 'forced');
  assert.deepEqual([...found], [['second', `${VARYING_RANGE} (5.0 times between samples; below 4 it stays static)`]]);
  records['x'] = extremes(-1, 0, 0, 1);
  assert.match(varyingNodes(graph, (value) => records[value], () => false).get('first')!, /down to nothing in some samples/);
});
