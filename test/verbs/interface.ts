import { anyText, count, duration, fields, flag, list, nullable, number, oneOf, positive, record, sha256, share, text, type Shape } from './shape.js';

/* What scripts may rely on, as the project promises it: each field that must be there, with its type. Fields may be added. */

export const STATS = fields({ n: count, median: duration, mean: duration, stddev: nullable(duration), min: duration, max: duration, p95: duration });

const INTERVAL = fields({ median: positive, low: positive, high: positive });

const WARNINGS = list(fields({ code: text, message: text, advice: text }));

/** The answer to "does it run on integers?". Shares and times are null without a run; in onnxruntime-web, so is what its profile does not show. */
export const INTEGER: Shape = fields({
  runtime: text,
  provider: oneOf('cpu', 'wasm'),
  cpu: text,
  computeNodes: count,
  integerNodes: nullable(count),
  macsShare: nullable(share),
  timeShare: nullable(share),
  time: nullable(fields({ totalMs: duration, computeMs: fields({ integer: duration, float: duration }), otherIntegerMs: duration, conversionMs: duration })),
  danglingQdqNodes: nullable(count),
  weightBytes: fields({ total: count, integer: count, residentInteger: nullable(count) }),
  nodes: list(
    fields({
      name: text,
      opType: text,
      runsAs: oneOf('integer', 'float', 'mixed', null),
      kernel: nullable(text),
      weights: nullable(text),
      macs: nullable(count),
      timeMs: nullable(duration),
      reason: nullable(text),
    }),
  ),
});

export const CALIBRATE = fields({
  schema: oneOf('qdq.calibrate/1'),
  model: fields({ path: text, sha256 }),
  frozen: nullable(record(list(text))),
  samples: count,
  tensors: count,
  nonFinite: list(fields({ tensor: text, sample: text, nan: count, inf: count })),
  durationMs: positive,
  inferenceMs: positive,
  peakRssBytes: positive,
  output: nullable(text),
  warnings: WARNINGS,
});

export const QUANTIZE = fields({
  schema: oneOf('qdq.quantize/1'),
  mode: oneOf('static', 'dynamic', 'weight-only', 'qat'),
  output: nullable(fields({ path: text, sizeBytes: positive, sha256 })),
  nodes: list(fields({ name: text, opType: text, decision: oneOf('quantized', 'float', 'weights-only', 'kept'), reason: nullable(text) })),
  changes: list(fields({ pass: text, names: list(anyText), message: text })),
  integer: nullable(INTEGER),
  check: nullable(fields({ sqnrDb: record(nullable(number)), speedup: nullable(positive), sizeRatio: positive })),
  warnings: WARNINGS,
  durationMs: fields({ read: duration, calibrate: duration, plan: duration, write: duration, verify: duration, total: positive }),
});

export const RUN = fields({
  schema: oneOf('qdq.run/1'),
  samples: count,
  latencyMs: nullable(STATS),
  outputs: list(fields({ name: text, type: text, shape: list(nullable(count)) })),
  integer: INTEGER,
});

const MODEL_FILE = fields({ path: text, sizeBytes: positive });

/** What `compare` says of one candidate. */
export const COMPARISON = fields({
  candidate: MODEL_FILE,
  outputs: list(
    fields({ name: text, sqnrDb: nullable(number), cosine: nullable(number), maxAbsError: nullable(duration), meanAbsError: nullable(duration), agreement: nullable(share) }),
  ),
  task: nullable(fields({ metric: text, baseline: nullable(number), candidate: nullable(number), drop: nullable(number), samples: count })),
  latency: fields({ threads: count, runs: count, baselineMs: nullable(STATS), candidateMs: nullable(STATS), speedup: nullable(INTERVAL) }),
  sizeRatio: positive,
  integer: INTEGER,
  thresholds: list(fields({ name: text, limit: number, value: nullable(number), met: flag })),
  warnings: WARNINGS,
});

const COMPARE_HEAD = fields({ schema: oneOf('qdq.compare/1'), baseline: MODEL_FILE, samples: count });

/** With one candidate, its fields stand at the top. */
export const COMPARE: Shape = (value, path) => [...COMPARE_HEAD(value, path), ...COMPARISON(value, path)];

/** With several. */
export const COMPARE_SEVERAL: Shape = (value, path) => [...COMPARE_HEAD(value, path), ...fields({ candidates: list(COMPARISON) })(value, path)];

const VALUE = fields({ name: text, type: text, shape: nullable(list(nullable((value, path) => (typeof value === 'string' ? text : count)(value, path)))) });

export const INSPECT = fields({
  schema: oneOf('qdq.inspect/1'),
  model: fields({ path: text, sizeBytes: positive, sha256, irVersion: positive, opsets: record(positive), producer: anyText }),
  inputs: list(VALUE),
  outputs: list(VALUE),
  operators: record(positive),
  initializers: fields({ byType: record(fields({ count: positive, bytes: count })) }),
  integer: nullable(INTEGER),
  warnings: WARNINGS,
});
