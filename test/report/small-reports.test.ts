import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ReportDocument } from '../../src/report/document.js';
import { describeCalibrate } from '../../src/report/calibrate-report.js';
import { describeInspect } from '../../src/report/inspect-report.js';
import { describeRun } from '../../src/report/run-report.js';
import { renderTerminal } from '../../src/report/terminal.js';
import { integerReport } from './results.js';

const lines = (report: ReportDocument) => renderTerminal(report, { color: false }).split('\n');

test('describeCalibrate: what was recorded, and NaN with its samples', () => {
  const result = {
    schema: 'qdq.calibrate/1',
    model: { path: 'fp32.onnx', sha256: 'abc' },
    frozen: { sr: ['16000'] },
    samples: 1200,
    tensors: 42,
    sampled: true,
    nonFinite: [
      { tensor: 'x', sample: 'a.npz', nan: 1234, inf: 0 },
      { tensor: 'x', sample: 'b.npz', nan: 0, inf: 1 },
    ],
    durationMs: 1500,
    inferenceMs: 750,
    peakRssBytes: 250_000_000,
    output: 'ranges.json',
    warnings: [{ code: 'random-data', message: 'Ranges come from noise', advice: 'Give samples.' }],
  } as const;
  assert.deepEqual(lines(describeCalibrate(result, { warnings: true })), [
    'Calibrated fp32.onnx',
    '  table          ranges.json',
    '  frozen         --freeze sr=16000',
    '  samples        1,200',
    '  tensors        42, large ones counted on a grid (--exact counts every element), those of loops in part',
    '  NaN, infinite  in 1 tensor, from 2 samples',
    '  time           1.50 s, of which 750 ms in the runtime (summed over its sessions)',
    '  memory         250 MB at most',
    '',
    'Warnings',
    '  - Ranges come from noise. Give samples.',
    '',
    'NaN and infinite elements',
    '  tensor  sample    NaN  infinite',
    '  x       a.npz   1,234         0',
    '  x       b.npz       0         1',
    '',
  ]);
});

test('describeRun: latency with its spread and count', () => {
  const result = {
    schema: 'qdq.run/1',
    samples: 1,
    threads: 1,
    latencyMs: { n: 50, median: 4, mean: 4.1, stddev: 0.25, min: 3.75, max: 5, p95: 4.5 },
    outputs: [{ name: 'y', type: 'float32', shape: [1, null] }],
    files: ['o/a.npz', 'o/b.npz', 'o/c.npz', 'o/d.npz'],
    integer: integerReport([]),
    warnings: [],
  } as const;
  assert.deepEqual(lines(describeRun(result, 'm.onnx', { warnings: true })).slice(0, 10), [
    'Ran m.onnx on 1 sample',
    '  latency  4.00 ms ± 0.250 ms (median ± standard deviation of 50 runs, 1 thread)',
    '  range    3.75 ms … 5.00 ms, mean 4.10 ms, 95 % below 4.50 ms',
    '  files    4 files written: o/a.npz, o/b.npz, o/c.npz and 1 more',
    '',
    'Outputs',
    '  output  type     shape',
    '  y       float32  [1, ?]',
    '',
    'Integers',
  ]);
  assert.equal(lines(describeRun({ ...result, latencyMs: null, files: [] }, 'm.onnx', { warnings: true }))[1], '  latency  not timed');
  const once = { ...result.latencyMs, n: 1, stddev: null };
  assert.match(lines(describeRun({ ...result, latencyMs: once }, 'm.onnx', { warnings: true }))[1]!, /^ {2}latency {2}4\.00 ms \(median ± standard deviation of 1 run, 1 thread\)$/);
});

test('describeInspect: sizes, types and operators', () => {
  const result = {
    schema: 'qdq.inspect/1',
    model: { path: 'm.onnx', sizeBytes: 12_345, sha256: 'abc', irVersion: 8, opsets: { 'ai.onnx': 17, 'com.microsoft': 1 }, producer: 'pytorch 2.0' },
    inputs: [{ name: 'x', type: 'float32', shape: ['N', 3] }],
    outputs: [{ name: 's', type: 'sequence', shape: null }],
    operators: { Conv: 2, Relu: 1 },
    initializers: { byType: { float32: { count: 3, bytes: 9000 }, int64: { count: 1, bytes: 1000 } } },
    integer: integerReport([]),
    probe: null,
    warnings: [],
  } as const;
  const saturating = describeInspect({ ...result, probe: { exact: false, expected: 2_072_640, received: 1_048_544 } });
  assert.ok(lines(saturating).includes('  u8 × s8 here  saturates on this machine: expected 2,072,640, received 1,048,544; quantize with --target ort-x64 for it'));
  assert.deepEqual(lines(describeInspect(result)), [
    'm.onnx',
    '  size     12.3 kB (12,345 bytes)',
    '  SHA-256  abc',
    '  made by  pytorch 2.0, IR version 8, opset ai.onnx 17, com.microsoft 1',
    '  input    x: float32 [N, 3]',
    '  output   s: sequence of any shape',
    '',
    'Integers',
    '  the model has no compute nodes (Conv, MatMul, Gemm and their like)',
    '  Q/DQ     no dangling Q/DQ',
    "  weights  4.00 kB in the file, 3.00 kB (75.0 %) of them as integers; 2.50 kB of integers in the runtime's memory",
    '  runtime  onnxruntime-node 1.30.0, cpu (Test CPU, avx512_vnni)',
    '',
    'Operators (3 nodes)',
    '  Conv 2, Relu 1',
    '',
    'Constants',
    '  type     tensors     size  share',
    '  float32        3  9.00 kB  █████████░ 90.0 %',
    '  int64          1  1.00 kB  █░░░░░░░░░ 10.0 %',
    '',
  ]);
});
