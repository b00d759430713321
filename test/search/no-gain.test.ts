import assert from 'node:assert/strict';
import { test } from 'node:test';
import { afterSecondLook, reasonOfNoGain, type NoGainEvidence } from '../../src/search/no-gain.js';
import { GraphBuilder, SAME_PADS } from '../helpers/graph-builder.js';

function graphOf(group: number) {
  const g = new GraphBuilder();
  const conv = g.op('conv', 'Conv', [g.input('x', [1, 8, 8, 8]), g.weight('w', [8, 8 / group, 3, 3])], { attributes: { ...SAME_PADS, group } });
  g.output(g.op('y', 'Tanh', [conv]));
  return g.model().graph;
}

const FLOAT = { label: 'float', sqnrDb: 137, drop: 0, speedup: { median: 1, low: 1, high: 1 }, integerNodes: 0, weightBytes: 4 };

function reason(more: Partial<NoGainEvidence>, convMs: number, tanhMs: number, group = 1): string {
  const times = [
    { names: ['conv'], opType: 'Conv', timeMs: convMs, elements: 1 },
    { names: ['y'], opType: 'Tanh', timeMs: tanhMs, elements: 1 },
  ];
  return reasonOfNoGain({ plans: [], best: FLOAT, prefer: 'speed', wantedDb: 31, maxDrop: undefined, floatMs: 1, graph: graphOf(group), times, ...more }).text;
}

test('why integers win nothing: budget, dispatch, time elsewhere, depthwise, or the kernels', () => {
  const loud = { label: 'loud', sqnrDb: 12, drop: 0.3, speedup: { median: 2, low: 2, high: 2 }, integerNodes: 3, weightBytes: 1 };
  assert.match(reason({ plans: [loud] }, 0.9, 0), /^the error budget: .* 12\.0 dB, and 31\.0 dB are asked for/);
  assert.match(reason({ plans: [loud], maxDrop: 0.1 }, 0.9, 0), /a drop of 0\.300, and at most 0\.1 is allowed/);
  assert.match(reason({ plans: [{ ...loud, sqnrDb: 35 }] }, 0.9, 0), /^the error budget: .* missed it on the samples that confirm$/);
  assert.match(reason({}, 0.1, 0.1), /^dispatch: a run takes 1\.00 ms, of which only 0\.200 ms/);
  assert.match(reason({}, 0.2, 0.7), /^time outside the nodes that multiply: they take only 22 % of it/);
  assert.match(reason({}, 0.9, 0, 8), /^depthwise convolutions, which take 100 %/);
  assert.match(reason({}, 0.9, 0), /^the nodes that multiply are no faster/);
});

test('why integers win nothing: operators without a kernel, in bodies too', () => {
  const inner = new GraphBuilder();
  const body = inner.output(inner.op('rnn', 'GRU', ['x', inner.weight('w', [1, 96, 32]), inner.weight('r', [1, 96, 32])], { attributes: { hidden_size: { kind: 'int', value: 32 } } })).graph();
  const g = new GraphBuilder();
  g.input('x', [4, 1, 32]);
  g.output(g.op('chosen', 'If', [g.input('c', [], 'bool')], { attributes: { then_branch: { kind: 'graph', value: body }, else_branch: { kind: 'graph', value: body } } }));
  const times = [
    { names: ['rnn'], opType: 'GRU', timeMs: 0.7, elements: 1 },
    { names: ['chosen'], opType: 'If', timeMs: 0.1, elements: 1 },
  ];
  assert.match(reason({ graph: g.model().graph, times }, 0, 0), /^operators without an integer kernel \(GRU\), which take 100 % of the time/);
});

test('why a plan with integers shows no gain: what was preferred, or noise', () => {
  const best = { ...FLOAT, label: 'all static', integerNodes: 3, speedup: { median: 0.8, low: 0.7, high: 0.9 } };
  const fast = { ...best, label: 'mixed', speedup: { median: 1.4, low: 1.3, high: 1.5 } };
  assert.match(reason({ plans: [best, fast], best, prefer: 'integer' }, 0.9, 0), /chosen for its integers \(--prefer integer\), and others are faster: "mixed" has 1\.40 × \[1\.30, 1\.50\]$/);
  assert.match(reason({ plans: [FLOAT, fast], best: FLOAT, prefer: 'size' }, 0.9, 0), /chosen for its size/);
  assert.match(reason({ plans: [best, { ...fast, sqnrDb: 20 }], best, prefer: 'integer' }, 0.9, 0), /^the error budget: .* 20\.0 dB/);
  assert.match(reason({ plans: [best], best, prefer: 'integer' }, 0.9, 0), /^the nodes that multiply are no faster/);
  const open = { ...best, speedup: { median: 1.1, low: 0.9, high: 1.3 } };
  assert.match(reason({ plans: [open], best: open }, 0.9, 0), /^timing is too noisy to tell: 1\.10 × \[0\.90, 1\.30\]$/);
});

test('a second look repeats the reason, or says that it found another', () => {
  const [kernels, depthwise] = [{ kind: 'kernels', text: 'kernels: 2' }, { kind: 'depthwise', text: 'depthwise: 1' }] as const;
  const fastest = { label: 'all static', speedup: { median: 0.9, low: 0.8, high: 1 }, again: { median: 0.95, low: 0.9, high: 0.99 } };
  assert.equal(afterSecondLook(kernels, { ...kernels, text: 'kernels: 3' }, undefined), 'kernels: 3');
  assert.equal(
    afterSecondLook(depthwise, kernels, fastest),
    'depthwise: 1; measured again: kernels: 2 ("all static", the fastest on integers, has 0.90 × [0.80, 1.00] the speed of float, measured again 0.95 × [0.90, 0.99])',
  );
});
