import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reasonOfNoGain, type NoGainEvidence } from '../../src/search/no-gain.js';
import { GraphBuilder, SAME_PADS } from '../helpers/graph-builder.js';

function graphOf(group: number) {
  const g = new GraphBuilder();
  const conv = g.op('conv', 'Conv', [g.input('x', [1, 8, 8, 8]), g.weight('w', [8, 8 / group, 3, 3])], { attributes: { ...SAME_PADS, group } });
  g.output(g.op('y', 'Tanh', [conv]));
  return g.model().graph;
}

function reason(more: Partial<NoGainEvidence>, convMs: number, tanhMs: number, group = 1): string {
  const times = [
    { names: ['conv'], opType: 'Conv', timeMs: convMs, elements: 1 },
    { names: ['y'], opType: 'Tanh', timeMs: tanhMs, elements: 1 },
  ];
  return reasonOfNoGain({ plans: [], wantedDb: 31, maxDrop: undefined, floatMs: 1, graph: graphOf(group), times, ...more });
}

test('why integers win nothing: budget, dispatch, time elsewhere, depthwise, or the kernels', () => {
  const loud = { sqnrDb: 12, drop: 0.3, speedup: { median: 2, low: 2, high: 2 }, integerNodes: 3, weightBytes: 1 };
  assert.match(reason({ plans: [loud] }, 0.9, 0), /^the error budget: .* 12\.0 dB, and 31\.0 dB are asked for/);
  assert.match(reason({ plans: [loud], maxDrop: 0.1 }, 0.9, 0), /a drop of 0\.300, and at most 0\.1 is allowed/);
  assert.match(reason({}, 0.1, 0.1), /^dispatch: a run takes 1\.00 ms, of which only 0\.200 ms/);
  assert.match(reason({}, 0.2, 0.7), /^time outside the nodes that multiply: they take only 22 % of it/);
  assert.match(reason({}, 0.9, 0, 8), /^depthwise convolutions, which take 100 %/);
  assert.match(reason({}, 0.9, 0), /^the nodes that multiply are no faster/);
});
