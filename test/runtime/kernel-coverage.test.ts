import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { Graph, Model } from '../../src/graph/model.js';
import { createNode } from '../../src/graph/graph-editor.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import type { FusedReport } from '../../src/runtime/integer-report.js';
import { integerReport, kernelCoverage } from '../../src/runtime/kernel-coverage.js';
import { runtimeVersion } from '../../src/runtime/machine.js';
import { stagedFile } from '../../src/runtime/staged-model.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { fuse } from '../helpers/fuse.js';
import { GraphBuilder, SAME_PADS, type WeightSpec } from '../helpers/graph-builder.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

const host = new RuntimeHost();
after(() => host.close());

async function reportOf(build: (g: GraphBuilder) => void, opset = 13): Promise<FusedReport> {
  const g = new GraphBuilder(opset);
  build(g);
  return integerReport(g.model(), await fuse(g.model()));
}

/** Each compute node in short: name, kernel, arithmetic, weights. */
const short = (report: FusedReport) => report.nodes.map(({ name, kernel, runsAs, weights }) => `${name}: ${kernel} ${runsAs} ${weights}`);

const image = (g: GraphBuilder) => g.input('x', [1, 16, 8, 8]);
const conv = (g: GraphBuilder, name: string, x: string, spec: WeightSpec = { axis: 0 }) =>
  g.op(name, 'Conv', [x, g.quantizedWeight(`${name}_w`, [16, 16, 3, 3], spec)], { attributes: SAME_PADS });

/** A body of one graph that reads values from outside. */
function body(build: (inner: GraphBuilder) => string): { readonly kind: 'graph'; readonly value: Graph } {
  const inner = new GraphBuilder(13);
  inner.output(build(inner));
  return { kind: 'graph', value: inner.graph() };
}

describe('integerReport of Q/DQ models', () => {
  test('a chain that fuses', async () => {
    const report = await reportOf((g) => g.output(g.pair(conv(g, 'second', g.pair(conv(g, 'first', g.pair(image(g))))))));
    assert.deepEqual(short(report), ['first: QLinearConv integer s8 per channel', 'second: QLinearConv integer s8 per channel']);
    assert.deepEqual([report.computeNodes, report.integerNodes, report.danglingQdqNodes], [2, 2, 0]);
    assert.deepEqual([report.runtime, report.provider], [runtimeVersion(), 'cpu']);
    assert.ok(report.nodes.every(({ reason }) => reason === null));
  });

  test('a chain in which the second convolution does not fuse', async () => {
    const report = await reportOf((g) => g.output(conv(g, 'second', g.pair(conv(g, 'first', g.pair(image(g)))))));
    assert.deepEqual(short(report), ['first: QLinearConv integer s8 per channel', 'second: Conv float s8 per channel']);
    assert.equal(report.nodes[1]!.reason, 'its output is a graph output and does not pass through QuantizeLinear');
    // The weight's DequantizeLinear feeds no integer kernel; the one after the first convolution is its way out.
    assert.equal(report.danglingQdqNodes, 1);
  });

  test('weights of every stored form', async () => {
    const report = await reportOf((g) => {
      const x = g.pair(image(g));
      const y = [conv(g, 'channel', x), conv(g, 'tensor', x, {}), conv(g, 'unsigned', x, { dtype: 'uint8', axis: 0 })];
      const single = g.op('float', 'Conv', [x, g.weight('float_w', [16, 16, 3, 3])], { attributes: SAME_PADS });
      g.output(...y.map((value) => g.pair(value)), g.op('exp', 'Exp', [single]));
    });
    assert.deepEqual(short(report), [
      'channel: QLinearConv integer s8 per channel',
      'tensor: QLinearConv integer s8 per tensor',
      'unsigned: QLinearConv integer u8 per channel',
      'float: Conv float f32',
    ]);
  });

  test('one output channel is per tensor', async () => {
    const report = await reportOf((g) => g.output(g.pair(g.op('y', 'Conv', [g.pair(image(g)), g.quantizedWeight('w', [1, 16, 3, 3], { axis: 0 })]))));
    assert.deepEqual(short(report), ['y: QLinearConv integer s8 per tensor']);
  });

  test('products and their biases are one node each', async () => {
    const report = await reportOf((g) => {
      const x = g.pair(g.input('x', [4, 32]));
      const w = (name: string) => g.quantizedWeight(name, [32, 16], { axis: 1 });
      const product = g.op('matmul', 'MatMul', [x, w('w1')]);
      g.output(g.op('gemm', 'Gemm', [x, w('w2')]), g.op('plain', 'MatMul', [x, w('w3')]), g.op('add', 'Add', [product, g.quantizedBias('b', [16], 1 / 4096, true)]));
    });
    assert.deepEqual(short(report), ['matmul: QGemm integer s8 per channel', 'gemm: QGemm integer s8 per channel', 'plain: MatMulIntegerToFloat integer s8 per channel']);
  });

  test('a product of activations has no weights', async () => {
    const report = await reportOf((g) => g.output(g.op('y', 'MatMul', [g.pair(g.input('x', [4, 32])), g.pair(g.input('z', [32, 4]))])));
    assert.deepEqual(short(report), ['y: MatMulIntegerToFloat integer null']);
  });
});

describe('integerReport of other quantized forms', () => {
  test('QOperator: QLinearConv and its like are their own kernels', async () => {
    const report = await reportOf((g) => {
      const parameters = (name: string): [string, string] => [g.floats(`${name}_s`, [1 / 64], []), g.constant(`${name}_z`, tensorFromArray('uint8', [], Uint8Array.of(128)))];
      const [w, s, z] = g.integerWeight('w', [16, 16, 3, 3], { axis: 0 });
      const q = g.quantize(image(g));
      const y = g.op('conv', 'QLinearConv', [q, ...parameters('a'), w, s, z, ...parameters('b')], { attributes: SAME_PADS });
      g.output(g.op('out', 'DequantizeLinear', [y, ...parameters('c')]));
    });
    assert.deepEqual(short(report), ['conv: QLinearConv integer s8 per channel']);
    assert.deepEqual([report.danglingQdqNodes, report.integerNodes], [0, 1]);
  });

  test('dynamic: MatMulInteger becomes a fused product', async () => {
    const report = await reportOf((g) => {
      g.op('dynamic', 'DynamicQuantizeLinear', [g.input('x', [4, 32])], { outputs: ['q', 's', 'z'] });
      const [w, scale, zero] = g.integerWeight('w', [32, 16], { axis: 1 });
      const cast = g.op('cast', 'Cast', [g.op('product', 'MatMulInteger', ['q', w, 'z', zero])], { attributes: { to: 1 } });
      g.output(g.op('y', 'Mul', [cast, g.op('scales', 'Mul', ['s', scale])]));
    });
    assert.deepEqual(short(report), ['product: DynamicQuantizeMatMul integer s8 per channel']);
  });

  test('dynamic: ConvInteger', async () => {
    const report = await reportOf((g) => {
      g.op('dynamic', 'DynamicQuantizeLinear', [image(g)], { outputs: ['q', 's', 'z'] });
      const [w, scale, zero] = g.integerWeight('w', [16, 16, 3, 3], { dtype: 'uint8' });
      const cast = g.op('cast', 'Cast', [g.op('conv', 'ConvInteger', ['q', w, 'z', zero])], { attributes: { to: 1 } });
      g.output(g.op('y', 'Mul', [cast, g.op('scales', 'Mul', ['s', scale])]));
    });
    assert.deepEqual(short(report), ['conv: ConvInteger integer u8 per tensor']);
  });

  for (const [level, runsAs] of [[0, 'float'], [1, 'float'], [4, 'integer']] as const) {
    test(`weights only: MatMulNBits at accuracy level ${level} is ${runsAs}`, async () => {
      const report = await reportOf((g) => {
        const blocks = tensorFromArray('uint8', [16, 1, 16], new Uint8Array(256).fill(0x79));
        const y = g.op('y', 'MatMulNBits', [g.input('x', [4, 32]), g.constant('w', blocks), g.floats('s', new Array<number>(16).fill(0.1))], {
          domain: 'com.microsoft',
          attributes: { K: 32, N: 16, bits: 4, block_size: 32, accuracy_level: level },
        });
        g.output(y);
      });
      assert.deepEqual(report.nodes.map((node) => [node.name, node.kernel, node.runsAs]), [['y', 'MatMulNBits', runsAs]]);
    });
  }

  test('weights only: DequantizeLinear of blocks before MatMul becomes MatMulNBits', async () => {
    const report = await reportOf((g) => g.output(g.op('y', 'MatMul', [g.input('x', [4, 64]), g.blockWeight('w', [64, 16], 'int4', 32)])), 21);
    assert.deepEqual(short(report), ['y: MatMulNBits integer s4 in blocks']);
    assert.equal(report.danglingQdqNodes, 0);
  });

  test('trained for quantization: float weights behind Q and DQ become integers on loading', async () => {
    const pairs = { dtype: 'int8', zeroPoint: 0 } as const;
    const report = await reportOf((g) => {
      const [v, w] = [g.pair(g.weight('v', [16, 16, 3, 3]), pairs), g.pair(g.weight('w', [8, 16]), pairs)];
      const y = g.pair(g.op('conv', 'Conv', [g.pair(image(g)), v], { attributes: SAME_PADS }));
      g.output(y, g.op('product', 'MatMul', [y, w]));
    });
    assert.deepEqual(short(report), ['conv: QLinearConv integer f32, s8 per tensor when loaded', 'product: MatMulIntegerToFloat integer f32, s8 per tensor when loaded']);
    assert.equal(report.danglingQdqNodes, 0);
    const [floats, integers] = [4 * (16 * 16 * 9 + 8 * 16), 16 * 16 * 9 + 8 * 16];
    const { weightBytes } = report;
    assert.ok(weightBytes.total >= floats && weightBytes.integer < 64, 'the file stores floats');
    assert.ok(weightBytes.residentInteger >= integers && weightBytes.residentInteger < integers + 64);
  });

  test('a weight that is turned behind its DequantizeLinear', async () => {
    const report = await reportOf((g) => {
      const w = g.op('turned', 'Transpose', [g.quantizedWeight('w', [16, 32], { axis: 0 })], { attributes: { perm: [1, 0] } });
      g.output(g.op('y', 'MatMul', [g.pair(g.input('x', [4, 32])), w]));
    });
    assert.deepEqual(short(report), ['y: MatMulIntegerToFloat integer s8 per channel']);
  });

  test('weights only: DequantizeLinear before Conv stays, and counts as dangling', async () => {
    const report = await reportOf((g) => g.output(conv(g, 'y', image(g))));
    assert.deepEqual(short(report), ['y: Conv float s8 per channel']);
    assert.equal(report.danglingQdqNodes, 1);
  });
});

describe('what counts as dangling', () => {
  const rows: readonly [string, number, (g: GraphBuilder) => void][] = [
    ['no Q/DQ at all', 0, (g) => g.output(g.op('y', 'Relu', [image(g)]))],
    ['a pair around nothing', 2, (g) => g.output(g.pair(image(g)))],
    ['pairs around a float operator', 4, (g) => g.output(g.pair(g.op('y', 'Tanh', [g.pair(image(g))])))],
    ['Q and DQ at the edges of an integer kernel', 0, (g) => g.output(g.pair(conv(g, 'y', g.pair(image(g)))))],
    ['carriers between the edge and the kernel', 0, (g) => g.output(g.pair(conv(g, 'y', g.pair(g.op('t', 'Transpose', [g.pair(image(g))], { attributes: { perm: [0, 1, 3, 2] } })))))],
    ['QLinearAdd is a kernel too', 0, (g) => g.output(g.pair(g.op('y', 'Add', [g.pair(image(g)), g.pair(g.input('z', [1, 16, 8, 8]))])))],
    ['carriers alone are none', 2, (g) => g.output(g.pair(g.op('t', 'Transpose', [g.pair(image(g))])))],
    [
      'a float operator between two kernels',
      0,
      (g) => g.output(g.pair(conv(g, 'second', g.pair(g.op('tanh', 'Tanh', [g.pair(conv(g, 'first', g.pair(image(g))))]))))),
    ],
    [
      'a pair beside a kernel that feeds only a float operator',
      2,
      (g) => {
        const x = image(g);
        g.output(g.pair(conv(g, 'y', g.pair(x))), g.op('tanh', 'Tanh', [g.pair(g.op('neg', 'Neg', [x]))]));
      },
    ],
  ];
  for (const [name, count, build] of rows) {
    test(name, async () => assert.equal((await reportOf(build)).danglingQdqNodes, count));
  }
});

describe('which nodes count', () => {
  test('those that depend on constants only do not', async () => {
    const report = await reportOf((g) => {
      const w = g.op('made', 'MatMul', [g.weight('a', [32, 8]), g.weight('b', [8, 16])]);
      g.output(g.op('y', 'MatMul', [g.input('x', [4, 32]), w]));
    });
    assert.deepEqual(report.nodes.map(({ name }) => name), ['y']);
  });

  test('those of bodies do, with their kernels and reasons', async () => {
    const report = await reportOf((g) => {
      const x = g.pair(g.input('x', [4, 32]));
      const then_branch = body((inner) => {
        const w = inner.quantizedWeight('then_w', [32, 16], { axis: 1 });
        return inner.op('then_y', 'MatMul', [inner.pair(inner.op('then_relu', 'Relu', [x])), w]);
      });
      const else_branch = body((inner) => inner.op('else_y', 'MatMul', [x, inner.weight('else_w', [32, 16])]));
      g.output(g.op('y', 'If', [g.input('c', [], 'bool')], { attributes: { then_branch, else_branch } }));
    });
    assert.deepEqual(short(report), ['then_y: MatMulIntegerToFloat integer s8 per channel', 'else_y: MatMul float f32']);
    assert.ok(report.nodes[1]!.reason);
  });

  test('nodes without names, and with the same name, are told apart', async () => {
    const g = new GraphBuilder();
    const x = g.pair(image(g));
    const weight = (name: string) => g.quantizedWeight(name, [16, 16, 3, 3], { axis: 0 });
    const [first, second, third, fourth] = ['w1', 'w2', 'w3', 'w4'].map(weight) as [string, string, string, string];
    for (const [name, input, w, output] of [['', x, first, 'a'], ['', x, second, 'b'], ['same', x, third, 'c'], ['same', x, fourth, 'd']] as const) {
      g.op(name, 'Conv', [input, w], { attributes: SAME_PADS, outputs: [output] });
    }
    g.output(g.pair('a'), 'b', g.pair('c'), 'd');
    const report = integerReport(g.model(), await fuse(g.model()));
    assert.deepEqual(short(report), [
      'a: QLinearConv integer s8 per channel',
      'b: Conv float s8 per channel',
      'same: QLinearConv integer s8 per channel',
      'same: Conv float s8 per channel',
    ]);
  });

  test('recurrent and transposed ones do', async () => {
    const report = await reportOf((g) => {
      const lstm = g.op('lstm', 'LSTM', [g.input('s', [5, 1, 8]), g.weight('w', [1, 16, 8]), g.weight('r', [1, 16, 4])], { attributes: { hidden_size: 4 } });
      g.output(lstm, g.op('up', 'ConvTranspose', [image(g), g.weight('v', [16, 8, 2, 2])]));
    });
    assert.deepEqual(short(report), ['lstm: LSTM float f32', 'up: ConvTranspose float f32']);
  });

  test('a model without any has none', async () => {
    const report = await reportOf((g) => g.output(g.op('y', 'Relu', [g.input('x', [2])])));
    assert.deepEqual([report.computeNodes, report.integerNodes, report.nodes], [0, 0, []]);
  });
});

describe('weightBytes', () => {
  const SIZE = 16 * 16 * 9;

  test('of integers that stay integers', async () => {
    const { weightBytes } = await reportOf((g) => g.output(g.pair(conv(g, 'y', g.pair(image(g))))));
    assert.ok(weightBytes.integer >= SIZE && weightBytes.integer < SIZE + 100);
    assert.ok(weightBytes.residentInteger >= SIZE);
    assert.ok(weightBytes.total >= weightBytes.integer);
  });

  test('of float weights', async () => {
    const { weightBytes } = await reportOf((g) => g.output(g.op('y', 'Conv', [image(g), g.weight('w', [16, 16, 3, 3])])));
    assert.deepEqual(weightBytes, { total: 4 * SIZE, integer: 0, residentInteger: 0 });
  });

  test('biases of 32 bits are integers in the file and in memory', async () => {
    const withBias = async (bias: boolean) => {
      const { weightBytes } = await reportOf((g) => {
        const inputs = [g.pair(image(g), { scale: 1 / 64 }), g.quantizedWeight('w', [16, 16, 3, 3], { axis: 0 })];
        if (bias) inputs.push(g.quantizedBias('b', [16], 1 / 4096, true));
        g.output(g.pair(g.op('y', 'Conv', inputs, { attributes: SAME_PADS }), { scale: 1 / 8 }));
      });
      return weightBytes;
    };
    const [without, having] = [await withBias(false), await withBias(true)];
    assert.equal(having.integer - without.integer, 4 * 16);
    assert.equal(having.residentInteger - without.residentInteger, 4 * 16);
    assert.equal(having.total - without.total, 4 * 16 + 4 * 16, 'with its scales, which are floats');
  });

  test('floats that are quantized when the model is loaded are integers in memory only', async () => {
    const { weightBytes } = await reportOf((g) => g.output(g.op('y', 'MatMul', [g.pair(g.input('x', [4, 32])), g.pair(g.weight('w', [32, 16]))])));
    assert.ok(weightBytes.integer <= 4 && weightBytes.residentInteger >= 32 * 16 && weightBytes.total >= 4 * 32 * 16);
  });

  test('counts constants in Constant nodes and bodies, and no shapes or text', async () => {
    const g = new GraphBuilder();
    const x = g.input('x', [4, 32]);
    const branch = (name: string) => body((inner) => inner.op(`${name}_y`, 'MatMul', [x, inner.weight(`${name}_w`, [32, 8])]));
    const chosen = g.op('chosen', 'If', [g.input('c', [], 'bool')], { attributes: { then_branch: branch('then'), else_branch: branch('else') } });
    g.output(g.op('y', 'Reshape', [chosen, g.ints('shape', [8, 4])]));
    const model = g.model();
    const constant = createNode({ name: 'k', opType: 'Constant', inputs: [], outputs: ['k'], attributes: { value: { kind: 'tensor', value: tensorFromArray('float32', [10], new Float32Array(10)) } } });
    const withConstant: Model = { ...model, graph: { ...model.graph, nodes: [constant, ...model.graph.nodes] } };
    assert.equal(integerReport(withConstant, await fuse(withConstant)).weightBytes.total, 2 * 4 * 32 * 8 + 40);
  });
});

describe('kernelCoverage', () => {
  test('looks a file up in the host, and names the nodes that read from DequantizeLinear', async (t) => {
    const g = new GraphBuilder();
    g.output(g.op('tanh', 'Tanh', [g.pair(conv(g, 'second', g.pair(conv(g, 'first', g.pair(image(g))))))]));
    const path = join(temporaryFolder(t), 'model.onnx');
    writeFileSync(path, encodeModel(g.model()));
    const { report, readDequantized } = await kernelCoverage(host, stagedFile(path));
    assert.deepEqual(short(report), ['first: QLinearConv integer s8 per channel', 'second: QLinearConv integer s8 per channel']);
    assert.deepEqual(readDequantized, ['tanh']);
  });

  test('fuses s8 on x64 as on ARM64 where asked to', async (t) => {
    const g = new GraphBuilder();
    const s8 = { dtype: 'int8', zeroPoint: 0 } as const;
    const stem = g.pair(conv(g, 'stem', g.pair(image(g), s8)), s8);
    g.output(g.pair(g.op('sum', 'Add', [g.pair(conv(g, 'inner', stem), s8), stem]), s8));
    const path = join(temporaryFolder(t), 'model.onnx');
    writeFileSync(path, encodeModel(g.model()));
    const { report } = await kernelCoverage(host, stagedFile(path), { fuseInt8: true });
    assert.deepEqual([report.integerNodes, report.danglingQdqNodes], [2, 0]);
  });

  test('of a model that the runtime refuses is its error', async (t) => {
    const g = new GraphBuilder();
    g.output(g.op('y', 'NoSuchOperator', [g.input('x', [1])]));
    const path = join(temporaryFolder(t), 'model.onnx');
    writeFileSync(path, encodeModel(g.model()));
    await assert.rejects(kernelCoverage(host, stagedFile(path)), { code: 'operator-missing', message: /NoSuchOperator/ });
  });

  test('of a model that the runtime refuses names its node, not the mark that the node bore', async (t) => {
    const g = new GraphBuilder(12);
    g.output(g.quantizedWeight('weight', [16, 32], { axis: 0 }));
    const path = join(temporaryFolder(t), 'model.onnx');
    writeFileSync(path, encodeModel(g.model()));
    await assert.rejects(kernelCoverage(host, stagedFile(path)), { message: /^(?!.*qdq-node-).*\bweight\b/s });
  });
});
