import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CompareResult } from '../../src/compare.js';
import { describeCompare } from '../../src/report/compare-report.js';
import { renderTerminal } from '../../src/report/terminal.js';
import { comparison, integerNode, integerReport, outputError } from './results.js';

const head = { schema: 'qdq.compare/1', baseline: { path: 'models/fp32.onnx', sizeBytes: 10_000_000 }, samples: 50 } as const;
const slower = { code: 'slower', message: 'b.onnx is slower', advice: 'Do this.' };

function text(result: CompareResult, warnings = true): string {
  return renderTerminal(describeCompare(result, { warnings }), { color: false });
}

test('describeCompare: one candidate', () => {
  const thresholds = [
    { name: 'min-sqnr', limit: 40, value: 38.25, met: false, output: 'logits' },
    { name: 'max-size', limit: 0.3, value: 0.25, met: true, output: null },
  ] as const;
  assert.equal(
    text({ ...head, ...comparison('out/int8.onnx', { thresholds, warnings: [slower] }) }),
    `Compared out/int8.onnx with models/fp32.onnx on 50 samples
                             fp32.onnx (baseline)             int8.onnx
  size                                    10.0 MB               2.50 MB
  size, of the baseline                                          25.0 %
  compute nodes on integers                                      1 of 2
  latency, median ± stddev     10.0 ms ± 0.500 ms    4.00 ms ± 0.250 ms
  latency, min … max            9.50 ms … 12.0 ms     3.75 ms … 5.00 ms
  timed runs                                   50                    50
  speed-up [95 % interval]                         2.50× [2.25×, 2.75×]
  top1, 50 labels                          0.9200                0.9100
  top1, drop                                                    0.01000
  speed-up: median of the ratios of 50 interleaved pairs of runs, 2 threads

Warnings
  - b.onnx is slower. Do this.

Outputs
  output     SQNR    cosine  max |error|  mean |error|  argmax agrees  samples
  logits  38.3 dB  0.999877        0.125        0.0123         98.0 %       50

Thresholds
  - min-sqnr is not met: 38.25 dB at output "logits", expected at least 40 dB
  - max-size is met: 0.25×, expected at most 0.3×

Integers
  1 of 2 compute nodes run on integers (QLinearConv 1); 1 stayed float: head (ConvTranspose has no integer kernel in onnxruntime)
  Q/DQ     no dangling Q/DQ
  weights  4.00 kB in the file, 3.00 kB (75.0 %) of them as integers; 2.50 kB of integers in the runtime's memory
  runtime  onnxruntime-node 1.30.0, cpu (Test CPU, avx512_vnni)

  node  operator       runs as  kernel         weights
  head  ConvTranspose  float    ConvTranspose  f32
  conv  Conv           integer  QLinearConv    s8 per channel
`,
  );
});

test('describeCompare: several candidates side by side, and what could not be had', () => {
  const nothing = comparison('b.onnx', {
    outputs: [outputError('logits', { sqnrDb: null, cosine: null, maxAbsError: null, meanAbsError: null, agreement: null, samples: 0, shapeMismatches: 50, collapsed: true })],
    task: null,
    latency: { threads: 0, runs: 0, baselineMs: null, candidateMs: null, speedup: null },
    integer: integerReport([integerNode('conv')]),
    thresholds: [{ name: 'min-speedup', limit: 1, value: null, met: false, output: null }],
    warnings: [slower],
  });
  const report = text({ ...head, candidates: [comparison('a.onnx', { warnings: [slower] }), nothing] });
  assert.deepEqual(report.split('\n').slice(0, 28), [
    'Compared a.onnx, b.onnx with models/fp32.onnx on 50 samples',
    '                             fp32.onnx (baseline)                a.onnx   b.onnx',
    '  size                                    10.0 MB               2.50 MB  2.50 MB',
    '  size, of the baseline                                          25.0 %   25.0 %',
    '  compute nodes on integers                                      1 of 2   1 of 1',
    '  latency, median ± stddev     10.0 ms ± 0.500 ms    4.00 ms ± 0.250 ms      n/a',
    '  latency, min … max            9.50 ms … 12.0 ms     3.75 ms … 5.00 ms      n/a',
    '  timed runs                                   50                    50      n/a',
    '  speed-up [95 % interval]                         2.50× [2.25×, 2.75×]      n/a',
    '  top1, 50 labels                          0.9200                0.9100      n/a',
    '  top1, drop                                                    0.01000      n/a',
    '  speed-up: median of the ratios of 50 interleaved pairs of runs, 2 threads',
    '',
    'Warnings',
    '  - b.onnx is slower. Do this.',
    '',
    'Outputs',
    '  output  model      SQNR    cosine  max |error|  mean |error|  argmax agrees  samples  remarks',
    '  logits  a.onnx  38.3 dB  0.999877        0.125        0.0123         98.0 %       50',
    '  logits  b.onnx      n/a       n/a          n/a           n/a            n/a        0  useless, another shape in 50 samples',
    '',
    'Thresholds',
    '  - b.onnx: min-speedup is not met: the figure could not be had, expected at least 1×',
    '',
    'Integers of a.onnx',
    '  1 of 2 compute nodes run on integers (QLinearConv 1); 1 stayed float: head (ConvTranspose has no integer kernel in onnxruntime)',
    '  Q/DQ     no dangling Q/DQ',
    "  weights  4.00 kB in the file, 3.00 kB (75.0 %) of them as integers; 2.50 kB of integers in the runtime's memory",
  ]);
});

test('describeCompare: warnings that were shown as they came are not said again', () => {
  assert.doesNotMatch(text({ ...head, ...comparison('a.onnx', { warnings: [slower] }) }, false), /slower/);
});

test('describeCompare: candidates of one name are told apart by their paths', () => {
  const report = text({ ...head, candidates: [comparison('a/m.onnx'), comparison('b/m.onnx')] });
  assert.match(report, /\(baseline\) +a\/m\.onnx +b\/m\.onnx\n/);
});
