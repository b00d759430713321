import type { Comparison } from '../../src/compare.js';
import type { OutputError } from '../../src/metrics/output-error.js';
import type { FusedNode, FusedReport } from '../../src/runtime/integer-report.js';

/** A node that runs on integers. */
export function integerNode(name: string, fields: Partial<FusedNode> = {}): FusedNode {
  return { name, opType: 'Conv', runsAs: 'integer', kernel: 'QLinearConv', weights: 's8 per channel', macs: null, timeMs: null, reason: null, ...fields };
}

/** A node that stayed float. */
export function floatNode(name: string, reason: string, fields: Partial<FusedNode> = {}): FusedNode {
  return integerNode(name, { runsAs: 'float', kernel: 'Conv', weights: 'f32', reason, ...fields });
}

/** The report of a model with these compute nodes. */
export function integerReport(nodes: readonly FusedNode[], fields: Partial<FusedReport> = {}): FusedReport {
  return {
    runtime: 'onnxruntime-node 1.30.0',
    provider: 'cpu',
    cpu: 'Test CPU, avx512_vnni',
    computeNodes: nodes.length,
    integerNodes: nodes.filter(({ runsAs }) => runsAs === 'integer').length,
    macsShare: null,
    timeShare: null,
    time: null,
    danglingQdqNodes: 0,
    weightBytes: { total: 4000, integer: 3000, residentInteger: 2500 },
    nodes,
    ...fields,
  };
}

/** The error of one output. */
export function outputError(name: string, fields: Partial<OutputError> = {}): OutputError {
  return {
    name,
    sqnrDb: 38.25,
    cosine: 0.99987654,
    maxAbsError: 0.125,
    meanAbsError: 0.0123456,
    agreement: 0.98,
    equalShare: null, allZero: false,
    samples: 50,
    elements: 500,
    nonFinite: 0,
    nonFiniteMismatches: 0,
    nonFiniteSample: null,
    shapeMismatches: 0,
    collapsed: false,
    ...fields,
  };
}

/** A comparison of one candidate. */
export function comparison(path: string, fields: Partial<Comparison> = {}): Comparison {
  return {
    candidate: { path, sizeBytes: 2_500_000 },
    outputs: [outputError('logits')],
    task: { metric: 'top1', baseline: 0.92, candidate: 0.91, drop: 0.01, samples: 50 },
    latency: {
      threads: 2,
      runs: 50,
      baselineMs: { n: 50, median: 10, mean: 10.2, stddev: 0.5, min: 9.5, max: 12, p95: 11 },
      candidateMs: { n: 50, median: 4, mean: 4.1, stddev: 0.25, min: 3.75, max: 5, p95: 4.5 },
      speedup: { median: 2.5, low: 2.25, high: 2.75 },
    },
    sizeRatio: 0.25,
    integer: integerReport([integerNode('conv'), floatNode('head', 'ConvTranspose has no integer kernel in onnxruntime', { opType: 'ConvTranspose', kernel: 'ConvTranspose' })]),
    thresholds: [],
    warnings: [],
    ...fields,
  };
}
