import assert from 'node:assert/strict';
import { test } from 'node:test';
import { integerSection, integerSentence } from '../../src/report/integer-section.js';
import { renderTerminal } from '../../src/report/terminal.js';
import { floatNode, integerNode, integerReport } from './results.js';

const many = (count: number, kernel: string) => Array.from({ length: count }, (_, i) => integerNode(`${kernel}-${i}`, { kernel }));

test('integerSentence: kernels counted, what stayed float named with its reason', () => {
  const head = floatNode('head/ConvTranspose', 'ConvTranspose has no integer kernel in onnxruntime');
  assert.equal(
    integerSentence(integerReport([...many(2, 'QGemm'), ...many(50, 'QLinearConv'), head])),
    '52 of 53 compute nodes run on integers (QLinearConv 50, QGemm 2); 1 stayed float: head/ConvTranspose (ConvTranspose has no integer kernel in onnxruntime)',
  );
});

test('integerSentence: all, none, and nothing to count', () => {
  assert.equal(integerSentence(integerReport(many(3, 'QLinearConv'))), '3 of 3 compute nodes run on integers (QLinearConv 3)');
  assert.equal(integerSentence(integerReport(many(1, 'QGemm'))), '1 of 1 compute node runs on integers (QGemm 1)');
  assert.equal(integerSentence(integerReport([floatNode('a', 'r'), floatNode('b', 'r')])), '0 of 2 compute nodes run on integers; 2 stayed float: a, b (r)');
  assert.equal(integerSentence(integerReport([])), 'the model has no compute nodes (Conv, MatMul, Gemm and their like)');
});

test('integerSentence: reasons are grouped, the most frequent first, and cut short', () => {
  const nodes = ['p', 'q', 'q', 'q', 'q', 'r', 's', 't'].map((reason, i) => floatNode(`n${i}`, reason));
  assert.equal(
    integerSentence(integerReport(nodes)),
    '0 of 8 compute nodes run on integers; 8 stayed float: n1, n2, n3 and 1 more (q), n0 (p), n5 (r), 2 for other reasons',
  );
});

test('integerSentence: nodes that do both', () => {
  assert.equal(
    integerSentence(integerReport([integerNode('a'), floatNode('b', 'only its weights are', { runsAs: 'mixed' })])),
    '1 of 2 compute nodes run on integers (QLinearConv 1); 1 in part on integers: b (only its weights are)',
  );
});

test('integerSection: figures that were not measured are left out', () => {
  const report = integerReport([integerNode('a'), floatNode('b', 'its input "x" is not quantized'), floatNode('c', 'excluded by --exclude')]);
  assert.equal(
    renderTerminal({ title: 'T', blocks: integerSection(report) }, { color: false }),
    `T

Integers
  1 of 3 compute nodes run on integers (QLinearConv 1); 2 stayed float: b (its input "x" is not quantized), c (excluded by --exclude)
  Q/DQ     no dangling Q/DQ
  weights  4.00 kB in the file, 3.00 kB (75.0 %) of them as integers; 2.50 kB of integers in the runtime's memory
  runtime  onnxruntime-node 1.30.0, cpu (Test CPU, avx512_vnni)

  node  operator  runs as  kernel       weights         why not integer
  b     Conv      float    Conv         f32             its input "x" is not quantized
  c     Conv      float    Conv         f32             excluded by --exclude
  a     Conv      integer  QLinearConv  s8 per channel
`,
  );
});

test('integerSection: figures of a run, dangling nodes, weights that are none', () => {
  const nodes = [integerNode('a', { macs: 1_048_576, timeMs: 0.0123, weights: null })];
  const time = { totalMs: 0.0246, computeMs: { integer: 0.0123, float: 0 }, otherIntegerMs: 0.00123, conversionMs: 0.00492, otherMs: { Softmax: 0.00246, Add: 0.00123, Erf: 0.00123, Sqrt: 0.000615, Pow: 0.000369, Exp: 0.000246 } };
  const report = integerReport(nodes, { macsShare: 1, timeShare: 0.55, time, danglingQdqNodes: 2, weightBytes: { total: 0, integer: 0, residentInteger: 0 } });
  assert.equal(
    renderTerminal({ title: 'T', blocks: integerSection(report, { title: 'Integers of b.onnx' }) }, { color: false }),
    `T

Integers of b.onnx
  1 of 1 compute node, 100 % of the multiply–accumulates and 55.0 % of the time of all nodes run on integers (QLinearConv 1)
  time     24.6 µs of all nodes in one run: compute nodes on integers 50.0 %, other nodes on integers 5.0 %, conversion (Q, DQ) 20.0 %, Softmax 10.0 %, Add 5.0 %, Erf 5.0 %, Sqrt 2.5 %, 2 other operators 2.5 %
  Q/DQ     2 dangling Q/DQ nodes: they convert for no integer kernel and cost time
  weights  0 B in the file, 0 B of them as integers; 0 B of integers in the runtime's memory
  runtime  onnxruntime-node 1.30.0, cpu (Test CPU, avx512_vnni)

  node  operator  runs as  kernel       weights       MACs  share of MACs        time  share of time
  a     Conv      integer  QLinearConv  none     1,048,576  ██████████ 100 %  12.3 µs  █████░░░░░ 50.0 %
`,
  );
});

test('integerSection: a reason that all nodes share is said once', () => {
  const report = integerReport([floatNode('a', 'excluded by --exclude'), floatNode('b', 'excluded by --exclude')]);
  assert.doesNotMatch(renderTerminal({ title: 'T', blocks: integerSection(report) }, { color: false }), /why not integer/);
});

test('integerSection: float nodes only, where that is asked for', () => {
  const blocks = integerSection(integerReport([integerNode('a')]), { floatNodesOnly: true });
  assert.equal(blocks.some(({ kind }) => kind === 'table'), false);
});
