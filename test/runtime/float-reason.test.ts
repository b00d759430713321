import assert from 'node:assert/strict';
import { arch } from 'node:os';
import { describe, test } from 'node:test';
import { floatReason } from '../../src/runtime/float-reason.js';
import { integerReport } from '../../src/runtime/kernel-coverage.js';
import { fuse } from '../helpers/fuse.js';
import type { Graph } from '../../src/graph/model.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { float, GraphBuilder, SAME_PADS, type OpSpec, type PairSpec } from '../helpers/graph-builder.js';

const image = (g: GraphBuilder) => g.input('x', [1, 16, 8, 8]);
const weight = (g: GraphBuilder) => g.quantizedWeight('w', [16, 16, 3, 3], { axis: 0 });
const conv = (g: GraphBuilder, x: string, w: string, ...bias: string[]) => g.op('y', 'Conv', [x, w, ...bias], { attributes: SAME_PADS });
const UNSIGNED: PairSpec = { zeroPoint: 0 };

interface Row {
  readonly name: string;
  /** Builds a graph whose compute node `y` runs in float. */
  readonly build: (g: GraphBuilder) => void;
  readonly reason: string;
  readonly opset?: number;
}

/** A body of one graph that reads values from outside. */
function body(build: (inner: GraphBuilder) => string): { readonly kind: 'graph'; readonly value: Graph } {
  const inner = new GraphBuilder(13);
  inner.output(build(inner));
  return { kind: 'graph', value: inner.graph() };
}

const SIGNED: PairSpec = { dtype: 'int8', zeroPoint: 0 };
const matrix = (g: GraphBuilder, spec?: PairSpec) => g.pair(g.input('x', [4, 32]), spec);
const product = (g: GraphBuilder, x = matrix(g)) => g.op('y', 'MatMul', [x, g.quantizedWeight('w', [32, 16], { axis: 1 })]);
const gemm = (g: GraphBuilder, bias: string, attributes: NonNullable<OpSpec['attributes']> = {}) =>
  g.op('y', 'Gemm', [matrix(g), g.quantizedWeight('w', [32, 16], { axis: 1 }), bias], { attributes });
const gemmBias = (g: GraphBuilder) => g.quantizedBias('b', [16], 1 / 4096, true);

/** ARM64 fuses these. */
const SIGNED_ROWS: readonly Row[] = [
  {
    name: 's8 with two readers before the node',
    build: (g) => {
      const x = g.pair(image(g), SIGNED);
      g.output(g.pair(conv(g, x, weight(g)), SIGNED), g.op('tanh', 'Tanh', [x]));
    },
    reason: '"x" is s8 and has 2 readers: on x64 onnxruntime fuses s8 activations that have one reader; u8 fuses everywhere',
  },
  {
    name: 's8 with two readers after the node',
    build: (g) => {
      const y = g.pair(conv(g, g.pair(image(g), SIGNED), weight(g)), SIGNED);
      g.output(g.op('tanh', 'Tanh', [y]), g.op('exp', 'Exp', [y]));
    },
    reason: '"y" is s8 and has 2 readers: on x64 onnxruntime fuses s8 activations that have one reader; u8 fuses everywhere',
  },
];

const ROWS: readonly Row[] = [
  // The operator itself.
  { name: 'ConvTranspose', build: (g) => void g.output(g.pair(g.op('y', 'ConvTranspose', [g.pair(image(g)), weight(g)]))), reason: 'ConvTranspose has no integer kernel in onnxruntime' },
  ...(['GRU', 'RNN', 'LSTM'] as const).map((opType): Row => {
    const gates = { GRU: 3, RNN: 1, LSTM: 4 }[opType];
    return {
      name: opType,
      build: (g) => void g.output(g.op('y', opType, [g.input('x', [5, 1, 8]), g.weight('w', [1, gates * 4, 8]), g.weight('r', [1, gates * 4, 4])], { attributes: { hidden_size: 4 } })),
      reason: opType === 'LSTM' ? 'LSTM runs on integers only as DynamicQuantizeLSTM: quantize it with --mode dynamic' : `${opType} has no integer kernel in onnxruntime`,
    };
  }),
  {
    name: 'contrib Attention',
    build: (g) => void g.output(g.op('y', 'Attention', [g.input('x', [1, 4, 32]), g.weight('w', [32, 96]), g.weight('b', [96])], { domain: 'com.microsoft', attributes: { num_heads: 2 } })),
    reason: 'Attention runs on integers only as QAttention, which other tools make',
  },
  {
    name: 'contrib MultiHeadAttention',
    build: (g) => void g.output(g.op('y', 'MultiHeadAttention', [g.input('q', [1, 4, 32]), g.input('k', [1, 4, 32]), g.input('v', [1, 4, 32])], { domain: 'com.microsoft', attributes: { num_heads: 2 } })),
    reason: 'MultiHeadAttention has no integer kernel in onnxruntime: its products have, where the model spells it out',
  },
  {
    name: 'a product that an optimizer fused',
    build: (g) => void g.output(g.op('y', 'FusedMatMul', [g.pair(g.input('x', [4, 32])), g.quantizedWeight('w', [16, 32], {})], { domain: 'com.microsoft', attributes: { transB: 1 } })),
    reason: 'FusedMatMul is an operator that onnxruntime makes of others, and no Q/DQ fuses with it: quantize the model from before it was optimized',
  },
  {
    name: 'weights in blocks that are multiplied as floats',
    build: (g) => {
      const blocks = tensorFromArray('uint8', [16, 1, 16], new Uint8Array(256).fill(0x79));
      const attributes = { K: 32, N: 16, bits: 4, block_size: 32, accuracy_level: 1 };
      g.output(g.op('y', 'MatMulNBits', [g.input('x', [4, 32]), g.constant('w', blocks), g.floats('s', new Array<number>(16).fill(0.1))], { domain: 'com.microsoft', attributes }));
    },
    reason: 'its weight is stored as integers, but at accuracy level 1 they are multiplied as floats; level 4 multiplies integers',
  },

  // What it reads.
  {
    name: 'float16',
    build: (g) => void g.output(g.op('y', 'MatMul', [g.input('x', [4, 8], 'float16'), g.input('z', [8, 4], 'float16')])),
    reason: 'it works on float16, and integer kernels stand in for float32 only: convert the model to float32 first',
  },
  { name: 'a float model', build: (g) => void g.output(conv(g, image(g), g.weight('w', [16, 16, 3, 3]))), reason: 'neither its input nor its weight is quantized' },
  { name: 'only the input quantized', build: (g) => void g.output(conv(g, g.pair(image(g)), g.weight('w', [16, 16, 3, 3]))), reason: 'only its input is quantized: its weight "w" is float32' },
  { name: 'only the weight quantized', build: (g) => void g.output(g.pair(conv(g, image(g), weight(g)))), reason: 'only its weight is quantized: its input "x" is not quantized' },
  {
    name: 'an input that is computed in float',
    build: (g) => void g.output(g.pair(conv(g, g.op('tanh', 'Tanh', [g.pair(image(g))]), weight(g)))),
    reason: 'only its weight is quantized: its input "tanh" comes from Tanh in float',
  },
  { name: 'MatMul of two float activations', build: (g) => void g.output(g.op('y', 'MatMul', [g.input('x', [4, 8]), g.input('z', [8, 4])])), reason: 'neither of its inputs is quantized' },
  {
    name: 'MatMul with one activation quantized',
    build: (g) => void g.output(g.op('y', 'MatMul', [g.pair(g.input('x', [4, 8])), g.input('z', [8, 4])])),
    reason: 'only one of its inputs is quantized: its input "z" is not quantized',
  },
  {
    name: 'a body whose values are dequantized outside',
    build: (g) => {
      const [x, w] = [matrix(g), g.quantizedWeight('w', [32, 16], { axis: 1 })];
      const branch = (name: string) => body((inner) => inner.op(name, 'MatMul', [x, w]));
      g.output(g.op('chosen', 'If', [g.input('c', [], 'bool')], { attributes: { then_branch: branch('y'), else_branch: branch('z') } }));
    },
    reason: '"x_q_dq" is dequantized outside of the body that the node stands in, where onnxruntime does not look: Q/DQ must stand inside',
  },
  {
    name: 'a body of a float model',
    build: (g) => {
      const x = g.input('x', [4, 32]);
      const branch = (name: string) => body((inner) => inner.op(name, 'MatMul', [x, inner.weight(`${name}_w`, [32, 16])]));
      g.output(g.op('chosen', 'If', [g.input('c', [], 'bool')], { attributes: { then_branch: branch('y'), else_branch: branch('z') } }));
    },
    reason: 'neither its input nor its weight is quantized: it stands in a body: static quantization reaches those of If, --mode dynamic the others too (MatMul and Gemm with constant weights, LSTM)',
  },

  // Types and scales.
  {
    name: 'an activation of 16 bits',
    opset: 21,
    build: (g) => void g.output(g.pair(conv(g, g.pair(image(g), { dtype: 'uint16' }), weight(g)), { dtype: 'uint16' })),
    reason: 'its input "x_q_dq" is u16, and integer kernels multiply 8 bits only',
  },
  {
    name: 'an output of 16 bits',
    opset: 21,
    build: (g) => void g.output(g.pair(conv(g, g.pair(image(g)), weight(g)), { dtype: 'uint16' })),
    reason: 'its output is quantized to u16, and integer kernels give 8 bits',
  },
  {
    name: 'a weight of 16 bits',
    opset: 21,
    build: (g) => void g.output(g.op('y', 'MatMul', [matrix(g), g.quantizedWeight('w', [32, 16], { dtype: 'int16' })])),
    reason: 'its weight "w" is s16, and integer kernels multiply 8 bits only',
  },
  {
    name: 'an s8 constant on the left of a u8 activation',
    build: (g) => void g.output(g.pair(g.op('y', 'MatMul', [g.quantizedWeight('w', [16, 32]), g.pair(g.input('x', [32, 8]))]))),
    reason: 'its constant "w" on the left is s8 and its input is u8: a kernel takes u8 on the left, or s8 on both sides',
  },
  {
    name: 'a bias of another scale',
    build: (g) => void g.output(g.pair(conv(g, g.pair(image(g)), weight(g), g.quantizedBias('b', [16], 1 / 999, true)))),
    reason: 'its bias "b" has another scale than input scale × weight scale, by which integer kernels read it',
  },
  { name: 'a bias that is computed', build: (g) => void g.output(g.pair(conv(g, g.pair(image(g)), weight(g), g.input('b', [16])))), reason: 'its bias "b" is computed: only a constant one fuses' },
  {
    name: 'Gemm with a float bias and no Q',
    build: (g) => void g.output(gemm(g, g.weight('b', [16]))),
    reason: 'its bias "b" is float32 and no QuantizeLinear follows: store the bias as int32 behind a DequantizeLinear',
  },
  ...(['alpha', 'beta'] as const).map((factor): Row => ({
    name: `Gemm with ${factor} and a bias`,
    build: (g) => void g.output(g.pair(gemm(g, gemmBias(g), { [factor]: float(2) }))),
    reason: `its ${factor} is 2 and it has a bias, which an integer Gemm adds unscaled: fold ${factor} into the constants`,
  })),

  // What reads it.
  { name: 'no Q on a graph output', build: (g) => void g.output(conv(g, g.pair(image(g)), weight(g))), reason: 'its output is a graph output and does not pass through QuantizeLinear' },
  {
    name: 'a graph output beside Q',
    build: (g) => {
      const y = conv(g, g.pair(image(g)), weight(g));
      g.output(g.pair(y), y);
    },
    reason: 'its output is also a graph output in float: let that one pass through QuantizeLinear and DequantizeLinear too',
  },
  { name: 'a float reader', build: (g) => void g.output(g.op('tanh', 'Tanh', [conv(g, g.pair(image(g)), weight(g))])), reason: 'its output is read by Tanh without QuantizeLinear in between' },
  ...(['Conv', 'MatMul'] as const).map((opType): Row => ({
    name: `a float reader beside Q, ${opType}`,
    build: (g) => {
      const y = opType === 'Conv' ? conv(g, g.pair(image(g)), weight(g)) : product(g);
      g.output(g.pair(y), g.op('tanh', 'Tanh', [y]));
    },
    reason: 'its output is also read by Tanh in float: let every reader go through QuantizeLinear and DequantizeLinear',
  })),
  {
    name: 'a Relu that Q does not make redundant',
    build: (g) => void g.output(g.pair(g.op('relu', 'Relu', [conv(g, g.pair(image(g)), weight(g))]))),
    reason: 'Relu stands between it and QuantizeLinear, whose range does not make it redundant: put a Q/DQ pair before Relu, or quantize to the range of Relu',
  },
  {
    name: 'a Relu before a float reader',
    build: (g) => void g.output(g.op('tanh', 'Tanh', [g.op('relu', 'Relu', [conv(g, g.pair(image(g)), weight(g))])])),
    reason: 'its output is read by Relu without QuantizeLinear in between',
  },
  {
    name: 'a product without Q that a Relu hides',
    build: (g) => void g.output(g.op('tanh', 'Tanh', [g.op('relu', 'Relu', [product(g)])])),
    reason: 'Relu is all that reads its output, and onnxruntime looks for QuantizeLinear behind that: put a Q/DQ pair after the MatMul',
  },
  {
    name: 'a product whose bias is float',
    build: (g) => void g.output(g.op('sum', 'Add', [product(g), g.weight('b', [16])])),
    reason: 'onnxruntime makes one Gemm of it and the Add after it, whose bias "b" is float32: store that as int32 behind a DequantizeLinear, or quantize the output',
  },
  {
    name: 'a product to which a residual is added',
    build: (g) => void g.output(g.op('sum', 'Add', [product(g), g.input('z', [4, 16])])),
    reason: 'onnxruntime makes one Gemm of it and the Add of "z" after it: put a Q/DQ pair between them',
  },
  ...(arch() === 'x64' ? SIGNED_ROWS : []),
];

describe('floatReason', () => {
  for (const { name, build, reason, opset } of ROWS) {
    test(name, async () => {
      const g = new GraphBuilder(opset);
      build(g);
      const model = g.model();
      // The reason is only worth something where the node does run in float.
      const [reported] = integerReport(model, await fuse(model)).nodes.filter((candidate) => candidate.name === 'y');
      assert.deepEqual([reported?.runsAs, reported?.reason], ['float', reason]);
    });
  }

  test('where no rule knows better, types, scales or axes are left', () => {
    const g = new GraphBuilder();
    g.output(g.pair(conv(g, g.pair(image(g)), weight(g))));
    const graph = g.graph();
    const reason = 'onnxruntime did not fuse its QuantizeLinear and DequantizeLinear nodes: their types, scales or axes do not fit an integer kernel';
    assert.equal(floatReason(graph.nodes.find(({ name }) => name === 'y')!, graph), reason);
  });

  test('there is none for a node that runs on integers', async () => {
    const g = new GraphBuilder();
    g.output(g.pair(g.op('relu', 'Relu', [conv(g, g.pair(image(g)), weight(g))]), UNSIGNED));
    const [reported] = integerReport(g.model(), await fuse(g.model())).nodes;
    assert.deepEqual([reported!.runsAs, reported!.reason], ['integer', null]);
  });
});
