import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Model } from '../../src/graph/model.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { OPERATOR_RULES } from '../../src/quantization/operator-rules.js';
import { isDequantize, isQuantize } from '../../src/runtime/kernels.js';
import { fuse } from '../helpers/fuse.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { expressionText } from '../helpers/expression-text.js';
import { randomFeeds, runModel, sqnrDb } from '../helpers/run-model.js';
import { KERNEL_PATTERNS, type KernelPattern } from './kernel-patterns.js';

/** The two ways of writing Q/DQ: the ONNX domain from operator set 13 on, com.microsoft before. */
const DIALECTS = [
  { name: 'ONNX Q/DQ', opset: (row: KernelPattern) => row.opset ?? 13, domain: '', expected: (row: KernelPattern) => row.expect },
  {
    name: 'com.microsoft Q/DQ, operator set 12',
    opset: () => 12,
    domain: 'com.microsoft',
    expected: (row: KernelPattern) => (row.at12 === undefined ? row.expect : row.at12),
  },
] as const;

function modelOf(row: KernelPattern, opset: number, domain: string): Model {
  const g = new GraphBuilder(opset, domain);
  row.build(g);
  return g.model();
}

for (const dialect of DIALECTS) {
  describe(`what onnxruntime makes of one pattern: ${dialect.name}`, () => {
    for (const row of KERNEL_PATTERNS) {
      const expected = dialect.expected(row);
      if (expected === null) continue;
      test(row.name, async () => {
        const model = modelOf(row, dialect.opset(row), dialect.domain);
        if (expected instanceof RegExp) return assert.rejects(fuse(model), expected);
        assert.equal(expressionText((await fuse(model)).graph), expected);
      });
    }
  });
}

describe('integer kernels compute what their Q/DQ form says', () => {
  for (const row of KERNEL_PATTERNS) {
    if (row.simulated === false) continue;
    test(row.name, async () => {
      const bytes = encodeModel(modelOf(row, row.opset ?? 13, ''));
      const feeds = await randomFeeds(bytes);
      const [real, simulated] = [await runModel(bytes, feeds), await runModel(bytes, feeds, { simulateQdq: true })];
      for (const [name, expected] of simulated) {
        const received = real.get(name)!;
        // Two steps of the coarsest scale in the table: integer kernels may round once more than the Q/DQ form does.
        const furthest = Math.max(...Array.from(expected, (value, i) => Math.abs(value - received[i]!)));
        assert.ok(furthest <= 2 / 32, `${name} is off by ${furthest}`);
      }
    });
  }
});

test('MaxPool has an integer kernel from operator set 12 on', async () => {
  const row = KERNEL_PATTERNS.find(({ name }) => name === 'MaxPool, same parameters')!;
  assert.equal(expressionText((await fuse(modelOf(row, 11, 'com.microsoft'))).graph), 'DQ(Q(MaxPool(DQ(Q(x)))))');
});

test('a convolution fuses at operator set 11 with com.microsoft Q/DQ, per channel', async () => {
  const row = KERNEL_PATTERNS.find(({ name }) => name === 'Conv, u8 × s8 per channel, int32 bias')!;
  assert.equal(expressionText((await fuse(modelOf(row, 11, 'com.microsoft'))).graph), 'DQ(QLinearConv(Q(x)))');
});

describe('the kernel column of the operator table names what the runtime runs', () => {
  for (const rule of OPERATOR_RULES) {
    test(rule.opType, async () => {
      const rows = KERNEL_PATTERNS.filter((row) => row.rule === rule.opType);
      assert.ok(rows.length > 0, 'no pattern shows this rule');
      const ran = new Set<string>();
      for (const row of rows) {
        const { graph } = await fuse(modelOf(row, row.opset ?? 13, ''));
        for (const node of graph.nodes) if (!isQuantize(node) && !isDequantize(node)) ran.add(node.opType);
      }
      assert.deepEqual(rule.kernel.split(', ').sort(), [...ran].sort());
    });
  }
});

test('scales along an axis that the kernel does not take make it compute something else', async () => {
  const g = new GraphBuilder(13);
  const [integers, , zeros] = g.integerWeight('w', [16, 16, 3, 3], { axis: 1 });
  const scales = g.floats('scales', Array.from({ length: 16 }, (_, c) => (c + 1) / 500));
  const w = g.op('w', 'DequantizeLinear', [integers, scales, zeros], { attributes: { axis: 1 } });
  g.output(g.pair(g.op('y', 'Conv', [g.pair(g.input('x', [1, 16, 8, 8])), w]), { scale: 0.2 }));
  const bytes = encodeModel(g.model());
  const feeds = await randomFeeds(bytes);
  const [name] = g.model().graph.outputs.map((output) => output.name);
  const simulated = (await runModel(bytes, feeds, { simulateQdq: true })).get(name!)!;
  assert.ok(sqnrDb(simulated, (await runModel(bytes, feeds)).get(name!)!) < 10);
});
