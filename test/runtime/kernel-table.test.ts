import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { intAttribute } from '../../src/graph/attributes.js';
import type { Model } from '../../src/graph/model.js';
import { decodeModel, encodeModel } from '../../src/onnx/model-codec.js';
import { OPERATOR_RULES } from '../../src/quantization/operator-rules.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import { kernelCoverage } from '../../src/runtime/kernel-coverage.js';
import { computeArithmetic, isDequantize, isQuantize } from '../../src/runtime/kernels.js';
import { Session } from '../../src/runtime/session.js';
import { stagedFile } from '../../src/runtime/staged-model.js';
import { fuse } from '../helpers/fuse.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { expressionText } from '../helpers/expression-text.js';
import { randomFeeds, runModel, sqnrDb } from '../helpers/run-model.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
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

function patternNamed(name: string): KernelPattern {
  const row = KERNEL_PATTERNS.find((candidate) => candidate.name === name);
  assert.ok(row, `no pattern is named "${name}"`);
  return row;
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
  const row = patternNamed('MaxPool, same parameters');
  assert.equal(expressionText((await fuse(modelOf(row, 11, 'com.microsoft'))).graph), 'DQ(Q(MaxPool(DQ(Q(x)))))');
});

test('a convolution fuses at operator set 11 with com.microsoft Q/DQ, per channel', async () => {
  const row = patternNamed('Conv, u8 × s8 per channel, int32 bias');
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

test('scales of one a channel for the input of a convolution fuse, and fail when it runs', async () => {
  const bytes = encodeModel(modelOf(patternNamed('Conv with one scale a channel for its input'), 13, ''));
  await assert.rejects(runModel(bytes, await randomFeeds(bytes)), /IsScalarOr1ElementVector/);
});

test('a bias with another scale than input × weight is right as long as nothing fuses', async () => {
  const bytes = encodeModel(modelOf(patternNamed('Conv whose bias has another scale than input × weight'), 13, ''));
  const feeds = await randomFeeds(bytes);
  const [real, simulated] = [await runModel(bytes, feeds), await runModel(bytes, feeds, { simulateQdq: true })];
  for (const [name, expected] of simulated) assert.ok(sqnrDb(expected, real.get(name)!) > 60);
});

test('from graph level all on, integer convolutions in a row stay in NHWC', async (t) => {
  const g = new GraphBuilder();
  const conv = (name: string, x: string) => g.pair(g.op(name, 'Conv', [x, g.quantizedWeight(`${name}_w`, [16, 16, 1, 1], { axis: 0 })]));
  g.output(conv('second', conv('first', g.pair(g.input('x', [1, 16, 8, 8])))));
  const path = join(temporaryFolder(t), 'optimized.onnx');
  await (await Session.open(encodeModel(g.model()), { optimization: 'all', optimizedModelPath: path })).release();
  const { graph } = decodeModel(readFileSync(path), { file: path });
  assert.equal(expressionText(graph), 'DQ(Transpose(QLinearConv(QLinearConv(Transpose(Q(x))))))');
  for (const { opType, domain } of graph.nodes) if (opType === 'QLinearConv') assert.equal(domain, 'com.microsoft');
});

test('s8 activations with several readers fuse where the session is told to keep s8', async () => {
  const model = modelOf(patternNamed('residual block in s8'), 13, '');
  const kernels = 'DQ(QLinearAdd(QLinearConv(QLinearConv(QLinearAdd(QLinearConv(QLinearConv(Q(x))), Q(x)))), QLinearAdd…))';
  assert.equal(expressionText((await fuse(model, { fuseInt8: true })).graph), kernels);
});

test('weights behind DequantizeLinear become MatMulNBits of accuracy level 4, which multiplies integers', async () => {
  for (const { name, opset, build } of KERNEL_PATTERNS.filter(({ expect }) => expect === 'MatMulNBits(x)')) {
    const g = new GraphBuilder(opset);
    build(g);
    const [node] = (await fuse(g.model())).graph.nodes;
    assert.deepEqual([node && intAttribute(node, 'accuracy_level', 0), node && computeArithmetic(node)], [4, 'integer'], name);
  }
});

test('what MatMul and Add become bears the name of the MatMul, with an addition', async () => {
  const g = new GraphBuilder();
  g.output(g.op('sum', 'Add', [g.op('product', 'MatMul', [g.input('x', [4, 32]), g.weight('w', [32, 16])]), g.weight('b', [16])]));
  const model = g.model();
  const [node] = (await fuse(model)).graph.nodes;
  assert.match(node!.name, /^qdq-node-\d+\/MatMulAddFusion$/);
});

describe('Q/DQ fuse from graph level extended on', () => {
  for (const [optimization, kernel] of [['disabled', 'Conv'], ['basic', 'Conv'], ['extended', 'QLinearConv']] as const) {
    test(optimization, async (t) => {
      const path = join(temporaryFolder(t), 'optimized.onnx');
      const row = patternNamed('Conv, u8 × s8 per channel, int32 bias');
      await (await Session.open(encodeModel(modelOf(row, 13, '')), { optimization, optimizedModelPath: path })).release();
      assert.ok(decodeModel(readFileSync(path), { file: path }).graph.nodes.some(({ opType }) => opType === kernel));
    });
  }
});

describe('what the runtime does not survive or refuses', () => {
  let host: RuntimeHost;
  before(() => void (host = new RuntimeHost()));
  after(() => host.close());

  const refused: readonly [string, string, (g: GraphBuilder) => void, number, string?][] = [
    [
      'a Transpose without perm behind a DequantizeLinear of one scale a channel ends the process',
      'runtime-crashed',
      (g) => g.output(g.op('y', 'MatMul', [g.pair(g.input('x', [4, 32])), g.op('turned', 'Transpose', [g.quantizedWeight('w', [16, 32], { axis: 0 })])])),
      13,
    ],
    [
      'a Split between Q/DQ whose first output is left out is refused',
      'runtime-rejected',
      (g) => {
        g.opWithInts('split', 'Split', g.pair(g.input('x', [1, 16, 8, 8])), 'split', [8, 8], { attributes: { axis: 1 }, outputs: ['', 'right'] });
        g.output(g.pair('right'));
      },
      13,
    ],
    ...[8, 9].map((opset): [string, string, (g: GraphBuilder) => void, number, string] => [
      `Q/DQ of com.microsoft fuse to operators that operator set ${opset} lacks`,
      'operator-missing',
      (g) => g.output(g.pair(g.op('y', 'Conv', [g.pair(g.input('x', [1, 16, 8, 8])), g.quantizedWeight('w', [16, 16, 3, 3], { axis: 0 })]))),
      opset,
      'com.microsoft',
    ]),
    ['a DequantizeLinear of the ONNX domain with an axis is refused below operator set 13', 'runtime-rejected', (g) => g.output(g.quantizedWeight('w', [16, 32], { axis: 0 })), 12],
  ];
  for (const [name, code, build, opset, domain] of refused) {
    test(name, async (t) => {
      const g = new GraphBuilder(opset, domain);
      build(g);
      const path = join(temporaryFolder(t), 'model.onnx');
      writeFileSync(path, encodeModel(g.model()));
      await assert.rejects(kernelCoverage(host, stagedFile(path)), { code });
    });
  }
});
