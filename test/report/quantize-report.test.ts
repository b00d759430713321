import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { QuantizationPlan } from '../../src/quantization/plan.js';
import type { QuantizedNode, QuantizeResult } from '../../src/quantize.js';
import { describeQuantize } from '../../src/report/quantize-report.js';
import { renderTerminal } from '../../src/report/terminal.js';
import { integerNode, integerReport } from './results.js';

const node = (name: string, opType: string, reason: string | null = null): QuantizedNode => ({ name, opType, decision: reason === null ? 'quantized' : 'float', reason });

const base: QuantizeResult = {
  schema: 'qdq.quantize/1',
  mode: 'static',
  target: 'ort-x64-vnni',
  method: 'mse',
  ranges: 'mse',
  methods: [
    { method: 'minmax', percentile: null, sqnrDb: 30.25, chosen: false },
    { method: 'mse', percentile: null, sqnrDb: 35, chosen: true },
    { method: 'entropy', percentile: null, sqnrDb: null, chosen: false },
  ],
  search: null,
  thresholds: [],
  model: { path: 'model.onnx', sizeBytes: 10_000_000 },
  output: { path: 'int8.onnx', sizeBytes: 2_500_000, sha256: 'abc' },
  nodes: [
    node('c1', 'Conv'),
    node('c2', 'Conv'),
    node('g1', 'Gather', '"a" is not float32'),
    node('g2', 'Gather', '"b" is not float32'),
    node('g3', 'Gather', 'it depends on constants only'),
    node('t', 'Tanh', 'Tanh has no integer kernel in onnxruntime'),
  ],
  changes: [{ pass: 'fold', names: ['bn1', 'bn2', 'bn3', 'bn4'], message: '4 were folded' }, { pass: 'prune', names: [], message: 'nothing left' }],
  integer: integerReport([integerNode('c1'), integerNode('c2')]),
  check: {
    samples: 12,
    heldOut: true,
    sqnrDb: { logits: 34.5, mask: null },
    equalShare: { logits: null, mask: null },
    allZero: [],
    simulatedSqnrDb: { logits: 34.6, mask: null },
    task: null,
    agreement: { logits: 0.99, mask: null },
    graded: ['logits', 'mask'],
    nonFinite: [],
    collapsed: ['mask'],
    speedup: 2.5,
    speedupInterval: { median: 2.5, low: 2.25, high: 2.75 },
    threads: 0,
    runs: 30,
    sizeRatio: 0.25,
  },
  slowNodes: [{ name: 'c2', opType: 'Conv', floatMs: 0.5, integerMs: 0.75 }],
  plan: null,
  warnings: [{ code: 'x', message: 'Something was seen', advice: 'Do this.' }],
  durationMs: { read: 100, calibrate: 2000, plan: 500, write: 0.5, verify: 900, total: 3500 },
};

function lines(result: QuantizeResult, warnings = true): string[] {
  return renderTerminal(describeQuantize(result, 'dir/fp32.onnx', { warnings }), { color: false }).split('\n');
}

test('describeQuantize: everything that happened', () => {
  assert.deepEqual(lines(base), [
    'Quantized dir/fp32.onnx to int8.onnx',
    '  size     2.50 MB, 25.0 % of fp32.onnx',
    '  SHA-256  abc',
    '  mode     static for target ort-x64-vnni, ranges by mse',
    '  time     3.50 s: read 100 ms, calibrate 2.00 s, plan 500 ms, verify 900 ms',
    '',
    'Warnings',
    '  - Something was seen. Do this.',
    '',
    'Measured against the float model',
    '  figures from   12 samples, held out from ranges and choices',
    '  speed-up       2.50× [2.25×, 2.75×] median [95 % interval] of 30 interleaved pairs of runs, one thread for each core',
    '  output logits  SQNR 34.5 dB, argmax agrees in 99.0 %',
    '  output mask    SQNR n/a: useless',
    '',
    'Integers',
    '  2 of 2 compute nodes run on integers (QLinearConv 2)',
    '  Q/DQ     no dangling Q/DQ',
    "  weights  4.00 kB in the file, 3.00 kB (75.0 %) of them as integers; 2.50 kB of integers in the runtime's memory",
    '  runtime  onnxruntime-node 1.30.0, cpu (Test CPU, avx512_vnni)',
    '',
    '  node  operator  runs as  kernel       weights',
    '  c1    Conv      integer  QLinearConv  s8 per channel',
    '  c2    Conv      integer  QLinearConv  s8 per channel',
    '',
    'Nodes that cost more on integers than in float',
    '  node  operator  in float  on integers',
    '  c2    Conv      0.500 ms     0.750 ms',
    '',
    'Range methods tried',
    '  method   SQNR of the worst output',
    '  minmax                    30.3 dB',
    '  mse                       35.0 dB  chosen',
    '  entropy                       n/a',
    '',
    'Decisions (6 nodes)',
    '  operator  quantized  float  why not quantized',
    '  Gather            0      3  "…" is not float32 (2); it depends on constants only',
    '  Conv              2      0',
    '  Tanh              0      1  Tanh has no integer kernel in onnxruntime',
    '',
    'Changes',
    '  - fold: 4 were folded (bn1, bn2, bn3 and 1 more)',
    '  - prune: nothing left',
    '',
  ]);
});

test('describeQuantize: outputs without an SQNR are judged in another way, which is said', () => {
  const check = { ...base.check!, sqnrDb: { index: 200, silent: 200, loud: null }, equalShare: { index: 0.75, silent: null, loud: null }, allZero: ['silent', 'loud'], collapsed: [] };
  const text = lines({ ...base, check }).filter((line) => line.startsWith('  output'));
  assert.match(text[0]!, /index +equal in 75\.0 % of its elements, which counts as it is no float$/);
  assert.match(text[1]!, /silent +zero as in the float model, so that it has no SQNR$/);
  assert.match(text[2]!, /loud +zero in the float model, and not zero here$/);
});

test('describeQuantize: what clean-up alone wins is told apart from what integers win', () => {
  const candidate = { label: 'all static', integerNodes: 3, sqnrDb: 40, drop: null, speedup: 3, speedupInterval: null, weightBytes: 10, chosen: true };
  const search = { candidates: [candidate], cleanSpeedup: { median: 1.5, low: 1.4, high: 1.6 }, integerNodes: 3, noGain: null, weighed: [], confirmations: [] };
  assert.ok(lines({ ...base, search }).some((line) => /of that +clean-up alone 1\.50×, and 2\.00× over the float model after clean-up/.test(line)));
});

test('describeQuantize: what each node wins on integers', () => {
  const weighed = [
    { name: 'c1', opType: 'Conv', form: 'static' as const, noiseDb: 42.4, floatMs: 1.5, wonMs: 1.25 },
    { name: 'c2', opType: 'Conv', form: 'float' as const, noiseDb: null, floatMs: 0.5, wonMs: -0.25 },
  ];
  const text = lines({ ...base, search: { candidates: [{ label: 'node by node', integerNodes: 1, sqnrDb: 40, drop: null, speedup: 3, speedupInterval: null, weightBytes: 10, chosen: true }], cleanSpeedup: null, integerNodes: 1, noGain: null, weighed, confirmations: [] } });
  const start = text.indexOf('Nodes that multiply, one by one');
  assert.deepEqual(text.slice(start + 2, start + 5).map((line) => line.trim().split(/  +/)), [
    ['node', 'operator', 'runs as', 'in float', 'won on integers', 'noise alone'],
    ['c1', 'Conv', 'static', '1.50 ms', '1.25 ms', '42.4 dB'],
    ['c2', 'Conv', 'float', '0.500 ms', '−0.250 ms', 'not measured'],
  ]);
});

test('describeQuantize: how many plans were judged on the samples that were held out', () => {
  const confirmation = (label: string, holds: boolean) => ({ label, samples: 12, sqnrDb: holds ? 25 : 15, seenDb: null, drop: null, speedup: null, holds });
  const figures = (confirmations: NonNullable<QuantizeResult['search']>['confirmations']) => lines({ ...base, search: { candidates: [], cleanSpeedup: null, integerNodes: 1, noGain: null, weighed: [], confirmations } }).find((line) => line.includes('figures from'));
  assert.match(figures([confirmation('a', true)])!, /12 samples, held out from ranges and choices$/);
  assert.match(figures([confirmation('a', false), confirmation('b', true)])!, /12 samples, held out from ranges, and from choices but for the last one among 2 plans that were judged on them$/);
});

test('describeQuantize: without samples and without verification', () => {
  const result: QuantizeResult = { ...base, methods: [], nodes: base.nodes.slice(0, 2), changes: [], integer: null, check: null, slowNodes: [] };
  assert.deepEqual(lines(result, false), [
    'Quantized dir/fp32.onnx to int8.onnx',
    '  size     2.50 MB',
    '  SHA-256  abc',
    '  mode     static for target ort-x64-vnni, ranges by mse',
    '  time     3.50 s: read 100 ms, calibrate 2.00 s, plan 500 ms, verify 900 ms',
    '',
    'Decisions (2 nodes)',
    '  operator  quantized',
    '  Conv              2',
    '',
  ]);
});

test('describeQuantize: kernels that saturate on this machine show in the figures', () => {
  const line = lines({ ...base, check: { ...base.check!, sqnrDb: { logits: 22 } } }).find((text) => text.includes('output logits'));
  assert.equal(line, '  output logits  SQNR 22.0 dB on this machine, 34.6 dB where products are added exactly, argmax agrees in 99.0 %');
});

test('describeQuantize: samples that also gave the ranges are called so', () => {
  const line = lines({ ...base, check: { ...base.check!, heldOut: false } }).find((text) => text.includes('figures from'));
  assert.equal(line, '  figures from   12 samples, which also gave the ranges');
});

test('describeQuantize: the plan of a dry run, in full', () => {
  const plan: QuantizationPlan = {
    schema: 'qdq.plan/1',
    mode: 'static',
    target: 'ort-x64-vnni',
    activationType: 'uint8',
    weightType: 'int8',
    method: 'mse',
    domain: '',
    nodes: [
      {
        name: 'conv',
        opType: 'Conv',
        decision: 'quantized',
        reason: null,
        kernel: 'QLinearConv',
        constants: { 1: { dtype: 'int8', axis: 0, scales: 'w', zeroPoint: 0 }, 2: { dtype: 'int32', axis: null, scales: 'b', zeroPoint: 0 } },
      },
      { name: 'relu', opType: 'Relu', decision: 'quantized', reason: null, takenBy: 'conv' },
      { name: 'tanh', opType: 'Tanh', decision: 'float', reason: 'Tanh has no integer kernel in onnxruntime' },
    ],
    tensors: {
      x: { dtype: 'uint8', scale: 0.0078431377, zeroPoint: 128, range: [-1, 1] },
      y: { dtype: 'uint8', scale: 0.0078431377, zeroPoint: 128, range: [-1, 1], sharedWith: 'x' },
    },
    scales: { w: [0.001, 0.002, 0.0005], b: [0.00001] },
  };
  const result: QuantizeResult = { ...base, output: null, integer: null, check: null, methods: [], slowNodes: [], changes: [], plan };
  assert.deepEqual(lines(result, false), [
    'Plan for dir/fp32.onnx (dry run: nothing was written)',
    '  mode  static for target ort-x64-vnni, ranges by mse',
    '  time  3.50 s: read 100 ms, calibrate 2.00 s, plan 500 ms, verify 900 ms',
    '',
    'Nodes (3)',
    '  node  operator  becomes    kernel       why',
    '  conv  Conv      quantized  QLinearConv',
    '  relu  Relu      quantized               part of conv',
    '  tanh  Tanh      float                   Tanh has no integer kernel in onnxruntime',
    '',
    'Tensors that pass through Q and DQ (2)',
    '  value  type       scale  zero point         range  parameters of',
    '  x      u8    0.00784314         128  -1.00 … 1.00',
    '  y      u8    0.00784314         128  -1.00 … 1.00  x',
    '',
    'Constants stored as integers (2)',
    '  node  input  type  zero point  scales',
    '  conv      1  s8             0  3 scales along axis 0, 0.000500 … 0.00200',
    '  conv      2  s32            0  1.00000e-5',
    '',
  ]);
});
