import type { QuantizedType } from '../../src/tensor/affine.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { float, SAME_PADS, type GraphBuilder, type OpSpec, type PairSpec } from '../helpers/graph-builder.js';

/** A one-pattern graph and what onnxruntime's CPU provider makes of it. */
export interface KernelPattern {
  readonly name: string;
  readonly build: (g: GraphBuilder) => void;
  /** Text of the fused graph. */
  readonly expect: string;
  /** What becomes of it at operator set 12 with com.microsoft Q/DQ, where that is something else; null where there is no such graph. */
  readonly at12?: string | RegExp | null;
  /** The operator rule whose kernel this pattern shows. */
  readonly rule?: string;
  /** The operator set of the run with ONNX's own Q/DQ, 13 unless told otherwise. */
  readonly opset?: number;
  /** Whether the integers are what a Q/DQ form describes, so that running that form in float gives the same numbers. */
  readonly simulated?: false;
}

/** The scales that a bias of int32 must have are products of these. */
const INPUT: PairSpec = { scale: 1 / 64, zeroPoint: 128 };
const WEIGHT_SCALE = 1 / 64;
const BIAS_SCALE = 1 / 4096;
const UNSIGNED: PairSpec = { zeroPoint: 0 };
const SIGNED: PairSpec = { dtype: 'int8', zeroPoint: 0 };

/** The runtime itself puts a per-channel DequantizeLinear of the ONNX domain before such a bias, which the operator set does not have yet. */
const FLOAT_BIAS_AT_12 = /Unrecognized attribute: axis for operator DequantizeLinear/;

const image = (g: GraphBuilder, name = 'x', channels = 16) => g.input(name, [1, channels, 8, 8]);
const quantizedImage = (g: GraphBuilder, spec: PairSpec = INPUT) => g.pair(image(g), spec);
const matrix = (g: GraphBuilder, spec: PairSpec = INPUT) => g.pair(g.input('x', [4, 32]), spec);
const sequence = (g: GraphBuilder, batch: number | string = 2) => g.pair(g.input('x', [batch, 4, 32]), INPUT);

interface ConvSpec extends OpSpec {
  readonly weight?: { readonly dtype?: QuantizedType; readonly axis?: number };
  readonly dims?: readonly number[];
  readonly bias?: 'int32' | 'float' | 'wrong scale';
  readonly input?: PairSpec;
}

function conv(g: GraphBuilder, spec: ConvSpec = {}, x = quantizedImage(g, spec.input)): string {
  const { dims = [16, 16, 3, 3], weight = { axis: 0 }, attributes = SAME_PADS } = spec;
  const inputs = [x, g.quantizedWeight('w', dims, { scale: WEIGHT_SCALE, ...weight })];
  if (spec.bias === 'float') inputs.push(g.weight('b', [dims[0]!]));
  else if (spec.bias) inputs.push(g.quantizedBias('b', [dims[0]!], spec.bias === 'int32' ? BIAS_SCALE : BIAS_SCALE * 2, weight.axis !== undefined));
  return g.op('conv', 'Conv', inputs, { attributes });
}

function floatConv(g: GraphBuilder, x: string): string {
  return g.op('conv', 'Conv', [x, g.weight('w', [16, 16, 3, 3])], { attributes: SAME_PADS });
}

/** One scale and zero point for each channel, all of them equal. */
function channelParameters(g: GraphBuilder, count: number): [string, string] {
  const zeros = tensorFromArray('uint8', [count], new Uint8Array(count).fill(128));
  return [g.floats('channel_scales', new Array<number>(count).fill(INPUT.scale!)), g.constant('channel_zeros', zeros)];
}

const matmulWeight = (g: GraphBuilder, axis?: number) => g.quantizedWeight('w', [32, 16], { scale: WEIGHT_SCALE, ...(axis === undefined ? {} : { axis }) });

/** x · W + b, with Q after it or without. */
function matmulAdd(g: GraphBuilder, x: string, bias: 'int32' | 'float', thenQuantize: boolean): void {
  const product = g.op('matmul', 'MatMul', [x, matmulWeight(g, 1)]);
  const b = bias === 'int32' ? g.quantizedBias('b', [16], BIAS_SCALE, true) : g.weight('b', [16]);
  const sum = g.op('add', 'Add', [product, b]);
  g.output(thenQuantize ? g.pair(sum) : sum);
}

function gemm(g: GraphBuilder, bias: 'int32' | 'float' | 'none', thenQuantize: boolean, attributes: NonNullable<OpSpec['attributes']> = {}): void {
  const transposed = attributes['transB'] === 1;
  const x = attributes['transA'] === 1 ? g.pair(g.input('x', [32, 4]), INPUT) : matrix(g);
  const w = g.quantizedWeight('w', transposed ? [16, 32] : [32, 16], { scale: WEIGHT_SCALE, axis: transposed ? 0 : 1 });
  const inputs = [x, w];
  if (bias !== 'none') inputs.push(bias === 'int32' ? g.quantizedBias('b', [16], BIAS_SCALE, true) : g.weight('b', [16]));
  const y = g.op('gemm', 'Gemm', inputs, { attributes });
  g.output(thenQuantize ? g.pair(y) : y);
}

/** One operator of one input between pairs. */
const unary = (opType: string, spec: OpSpec & { readonly to?: PairSpec } = {}) => (g: GraphBuilder) => {
  g.output(g.pair(g.op('y', opType, [quantizedImage(g)], spec), spec.to));
};

/** A Clip to ±`bound` between pairs of [−2, 2). */
const clip = (bound: number) => (g: GraphBuilder) => {
  g.output(g.pair(g.op('y', 'Clip', [quantizedImage(g), g.floats('low', [-bound], []), g.floats('high', [bound], [])])));
};

/** An operator that moves elements, with the same parameters on both sides or with others. */
const carrier = (build: (g: GraphBuilder, x: string) => string, to: PairSpec = INPUT) => (g: GraphBuilder) => {
  g.output(g.pair(build(g, quantizedImage(g)), to));
};

const OTHER: PairSpec = { scale: 1 / 32, zeroPoint: 128 };

/** Each carrier as (graph, input) → output. */
const CARRIERS: Readonly<Record<string, (g: GraphBuilder, x: string) => string>> = {
  Reshape: (g, x) => g.op('y', 'Reshape', [x, g.ints('shape', [1, 1024])]),
  Transpose: (g, x) => g.op('y', 'Transpose', [x], { attributes: { perm: [0, 2, 3, 1] } }),
  Flatten: (g, x) => g.op('y', 'Flatten', [x]),
  Squeeze: (g, x) => g.opWithInts('y', 'Squeeze', x, 'axes', [0]),
  Unsqueeze: (g, x) => g.opWithInts('y', 'Unsqueeze', x, 'axes', [0]),
  Slice: (g, x) => g.op('y', 'Slice', [x, g.ints('starts', [0]), g.ints('ends', [4]), g.ints('axes', [1])]),
  Gather: (g, x) => g.op('y', 'Gather', [x, g.ints('indexes', [3, 1])], { attributes: { axis: 1 } }),
  GatherElements: (g, x) => g.op('y', 'GatherElements', [x, g.ints('indexes', [3, 1, 0, 2], [1, 1, 2, 2])], { attributes: { axis: 1 } }),
  Expand: (g, x) => g.op('y', 'Expand', [x, g.ints('shape', [2, 16, 8, 8])]),
  Tile: (g, x) => g.op('y', 'Tile', [x, g.ints('repeats', [1, 2, 1, 1])]),
  DepthToSpace: (g, x) => g.op('y', 'DepthToSpace', [x], { attributes: { blocksize: 2 } }),
  MaxPool: (g, x) => g.op('y', 'MaxPool', [x], { attributes: { kernel_shape: [2, 2], strides: [2, 2] } }),
  Resize: (g, x) => g.op('y', 'Resize', [x, g.floats('roi', []), g.floats('scales', [1, 1, 2, 2])], { attributes: { mode: 'nearest' } }),
  ReduceMax: (g, x) => g.op('y', 'ReduceMax', [x], { attributes: { axes: [2, 3] } }),
  ReduceMin: (g, x) => g.op('y', 'ReduceMin', [x], { attributes: { axes: [2, 3] } }),
};

export const KERNEL_PATTERNS: readonly KernelPattern[] = [
  // Convolutions.
  { name: 'Conv, u8 × s8 per channel, int32 bias', build: (g) => g.output(g.pair(conv(g, { bias: 'int32' }))), expect: 'DQ(QLinearConv(Q(x)))', rule: 'Conv' },
  { name: 'Conv, u8 × s8 per tensor, int32 bias', build: (g) => g.output(g.pair(conv(g, { bias: 'int32', weight: {} }))), expect: 'DQ(QLinearConv(Q(x)))', rule: 'Conv' },
  { name: 'Conv, u8 × u8', build: (g) => g.output(g.pair(conv(g, { weight: { dtype: 'uint8', axis: 0 } }))), expect: 'DQ(QLinearConv(Q(x)))' },
  { name: 'Conv, u8 × u8 per tensor', build: (g) => g.output(g.pair(conv(g, { weight: { dtype: 'uint8' } }))), expect: 'DQ(QLinearConv(Q(x)))' },
  { name: 'Conv, u8 in, s8 out', build: (g) => g.output(g.pair(conv(g), SIGNED)), expect: 'DQ(QLinearConv(Q(x)))' },
  {
    name: 'Conv whose weight is an activation',
    build: (g) => g.output(g.pair(g.op('conv', 'Conv', [quantizedImage(g), g.pair(g.input('z', [16, 16, 3, 3]))], { attributes: SAME_PADS }))),
    expect: 'DQ(QLinearConv(Q(x), Q(z)))',
  },
  { name: 'Conv without bias', build: (g) => g.output(g.pair(conv(g))), expect: 'DQ(QLinearConv(Q(x)))' },
  { name: 'Conv with a float bias', build: (g) => g.output(g.pair(conv(g, { bias: 'float' }))), expect: 'DQ(QLinearConv(Q(x)))', at12: FLOAT_BIAS_AT_12 },
  { name: 'Conv whose bias has another scale than input × weight', build: (g) => g.output(g.pair(conv(g, { bias: 'wrong scale' }))), expect: 'DQ(Q(Conv(DQ(Q(x)), DQ(), DQ())))' },
  { name: 'Conv, depthwise', build: (g) => g.output(g.pair(conv(g, { dims: [16, 1, 3, 3], attributes: { ...SAME_PADS, group: 16 } }))), expect: 'DQ(QLinearConv(Q(x)))' },
  {
    name: 'Conv, 1-D',
    build: (g) => g.output(g.pair(conv(g, { dims: [16, 16, 3], attributes: {} }, g.pair(g.input('x', [1, 16, 8]), INPUT)))),
    expect: 'DQ(QLinearConv(Q(x)))',
  },
  {
    name: 'Conv, 3-D',
    build: (g) => g.output(g.pair(conv(g, { dims: [8, 16, 3, 3, 3], attributes: {} }, g.pair(g.input('x', [1, 16, 4, 4, 4]), INPUT)))),
    expect: 'DQ(QLinearConv(Q(x)))',
  },
  { name: 'Conv, s8 × s8', build: (g) => g.output(g.pair(conv(g, { input: SIGNED }), SIGNED)), expect: 'DQ(QLinearConv(Q(x)))' },
  { name: 'Conv, u16', build: (g) => g.output(g.pair(conv(g, { input: { dtype: 'uint16' } }), { dtype: 'uint16' })), expect: 'DQ(Q(Conv(DQ(Q(x)), DQ())))', opset: 21 },
  { name: 'Conv without Q on its output', build: (g) => g.output(conv(g)), expect: 'Conv(DQ(Q(x)), DQ())' },
  {
    name: 'Conv that a float operator reads as well',
    build: (g) => {
      const y = conv(g);
      g.output(g.pair(y), g.op('tanh', 'Tanh', [y]));
    },
    expect: 'DQ(Q(Conv(DQ(Q(x)), DQ()))); Tanh(Conv…)',
  },
  {
    name: 'Conv whose output is also a graph output',
    build: (g) => {
      const y = conv(g);
      g.output(g.pair(y), y);
    },
    expect: 'DQ(Q(Conv(DQ(Q(x)), DQ()))); Conv…',
  },
  {
    name: 'Conv whose readers, the graph output too, all read through one pair',
    build: (g) => {
      const y = g.pair(conv(g));
      g.output(y, g.op('tanh', 'Tanh', [y]));
    },
    expect: 'DQ(QLinearConv(Q(x))); Tanh(DQ(QLinearConv…))',
  },
  // Fused although the kernel takes scales of output channels only: the numbers are wrong, or the run fails.
  { name: 'Conv with scales along the input channels', build: (g) => g.output(g.pair(conv(g, { weight: { axis: 1 } }))), expect: 'DQ(QLinearConv(Q(x)))' },
  { name: 'MatMul with scales along the rows', build: (g) => g.output(g.pair(g.op('y', 'MatMul', [g.pair(g.input('x', [4, 16])), g.quantizedWeight('w', [16, 16], { axis: 0 })]))), expect: 'DQ(QLinearMatMul(Q(x)))' },
  // Fused as well, and refused when it runs: the kernel wants one scale for the input.
  {
    name: 'Conv with one scale a channel for its input',
    build: (g) => g.output(g.pair(conv(g, {}, g.op('x_dq', 'DequantizeLinear', [g.quantize(image(g)), ...channelParameters(g, 16)], { domain: g.domain, attributes: { axis: 1 } })))),
    expect: 'DQ(QLinearConv(Q(x)))',
    simulated: false,
  },
  { name: 'Conv, float activation, quantized weight', build: (g) => g.output(conv(g, {}, image(g))), expect: 'Conv(x, DQ())' },
  // Between DQ and Q the runtime quantizes a float weight itself, per tensor and in full range, so that a Conv meant to stay float does not.
  { name: 'Conv with a float weight between DQ and Q', build: (g) => g.output(g.pair(floatConv(g, quantizedImage(g)))), expect: 'DQ(QLinearConv(Q(x)))', simulated: false },
  { name: 'Conv with a float weight after DQ, without Q', build: (g) => g.output(floatConv(g, quantizedImage(g))), expect: 'Conv(DQ(Q(x)))' },
  {
    name: 'Conv with a float weight between a DQ of one scale a channel and Q',
    build: (g) => g.output(g.pair(floatConv(g, g.op('x_dq', 'DequantizeLinear', [g.quantize(image(g)), ...channelParameters(g, 16)], { domain: g.domain, attributes: { axis: 1 } })))),
    expect: 'DQ(Q(Conv(DQ(Q(x)))))',
  },
  {
    name: 'Gemm with float weight and bias between DQ and Q',
    build: (g) => g.output(g.pair(g.op('y', 'Gemm', [matrix(g), g.weight('w', [32, 16]), g.weight('b', [16])]))),
    expect: 'DQ(QGemm(Q(x)))',
    simulated: false,
  },
  { name: 'MatMul with a float weight between DQ and Q', build: (g) => g.output(g.pair(g.op('y', 'MatMul', [matrix(g), g.weight('w', [32, 16])]))), expect: 'DQ(Q(MatMul(DQ(Q(x)))))' },
  {
    name: 'ConvTranspose with a float weight between DQ and Q',
    build: (g) => g.output(g.pair(g.op('y', 'ConvTranspose', [quantizedImage(g), g.weight('w', [16, 8, 2, 2])], { attributes: { strides: [2, 2] } }))),
    expect: 'DQ(Q(ConvTranspose(DQ(Q(x)), DQ())))',
    simulated: false,
  },
  {
    name: 'ConvTranspose',
    build: (g) => g.output(g.pair(g.op('y', 'ConvTranspose', [quantizedImage(g), g.quantizedWeight('w', [16, 8, 2, 2])], { attributes: { strides: [2, 2] } }))),
    expect: 'DQ(Q(ConvTranspose(DQ(Q(x)), DQ())))',
  },

  // Relu and Clip after a convolution.
  { name: 'Conv → Relu that Q makes redundant', build: (g) => g.output(g.pair(g.op('relu', 'Relu', [conv(g)]), UNSIGNED)), expect: 'DQ(QLinearConv(Q(x)))' },
  {
    name: 'Conv → Clip(0, 6) that Q makes redundant',
    build: (g) => g.output(g.pair(g.op('clip', 'Clip', [conv(g), g.floats('low', [0], []), g.floats('high', [6], [])]), { scale: 6 / 256, zeroPoint: 0 })),
    expect: 'DQ(QLinearConv(Q(x)))',
  },
  {
    name: 'Conv → Clip(0, 6) beyond which Q reaches',
    build: (g) => g.output(g.pair(g.op('clip', 'Clip', [conv(g), g.floats('low', [0], []), g.floats('high', [6], [])]), { scale: 7 / 255, zeroPoint: 0 })),
    expect: 'DQ(Q(FusedConv(DQ(Q(x)), DQ())))',
  },
  { name: 'Conv → Relu, u8 with zero point 128', build: (g) => g.output(g.pair(g.op('relu', 'Relu', [conv(g)]), { zeroPoint: 128 })), expect: 'DQ(Q(FusedConv(DQ(Q(x)), DQ())))' },
  { name: 'Conv → Relu, s8 with zero point 0', build: (g) => g.output(g.pair(g.op('relu', 'Relu', [conv(g, { input: SIGNED })]), SIGNED)), expect: 'DQ(Q(FusedConv(DQ(Q(x)), DQ())))' },
  {
    name: 'Conv → pair → Relu → pair, u8 with zero point 128',
    build: (g) => g.output(g.pair(g.op('relu', 'Relu', [g.pair(conv(g))]))),
    expect: 'DQ(Q(Relu(DQ(QLinearConv(Q(x))))))',
  },

  // Matrix products.
  { name: 'MatMul with Q', build: (g) => g.output(g.pair(g.op('y', 'MatMul', [matrix(g), matmulWeight(g, 1)]))), expect: 'DQ(QLinearMatMul(Q(x)))', rule: 'MatMul' },
  { name: 'MatMul without Q', build: (g) => g.output(g.op('y', 'MatMul', [matrix(g), matmulWeight(g, 1)])), expect: 'MatMulIntegerToFloat(Q(x))', rule: 'MatMul' },
  { name: 'MatMul without Q, weight per tensor', build: (g) => g.output(g.op('y', 'MatMul', [matrix(g), matmulWeight(g)])), expect: 'MatMulIntegerToFloat(Q(x))' },
  {
    name: 'MatMul of two activations with Q',
    build: (g) => g.output(g.pair(g.op('y', 'MatMul', [matrix(g), g.pair(g.input('z', [32, 8]))]))),
    expect: 'DQ(QLinearMatMul(Q(x), Q(z)))',
  },
  {
    name: 'MatMul of two activations without Q',
    build: (g) => g.output(g.op('y', 'MatMul', [matrix(g), g.pair(g.input('z', [32, 8]))])),
    expect: 'MatMulIntegerToFloat(Q(x), Q(z))',
  },
  ...[UNSIGNED, SIGNED].map((spec): KernelPattern => ({
    name: `MatMul, ${spec.dtype ?? 'uint8'} activations`,
    build: (g) => g.output(g.pair(g.op('y', 'MatMul', [matrix(g, spec), matmulWeight(g, 1)]), spec)),
    expect: 'DQ(QLinearMatMul(Q(x)))',
  })),
  {
    name: 'MatMul, u16',
    build: (g) => g.output(g.pair(g.op('y', 'MatMul', [matrix(g, { dtype: 'uint16' }), matmulWeight(g, 1)]), { dtype: 'uint16' })),
    expect: 'DQ(Q(MatMul(DQ(Q(x)), DQ())))',
    opset: 21,
  },
  {
    name: 'MatMul with the constant on the left',
    build: (g) => g.output(g.op('y', 'MatMul', [g.quantizedWeight('w', [8, 4], { dtype: 'uint8' }), matrix(g)])),
    expect: 'MatMulIntegerToFloat(Q(x))',
  },
  { name: 'MatMul + Add(float bias) with Q', build: (g) => matmulAdd(g, matrix(g), 'float', true), expect: 'DQ(QGemm(Q(x)))', at12: FLOAT_BIAS_AT_12 },
  { name: 'MatMul + Add(int32 bias) with Q, 2-D', build: (g) => matmulAdd(g, matrix(g), 'int32', true), expect: 'DQ(QGemm(Q(x)))' },
  { name: 'MatMul + Add(int32 bias) without Q, 2-D', build: (g) => matmulAdd(g, matrix(g), 'int32', false), expect: 'QGemm(Q(x))', rule: 'MatMul' },
  { name: 'MatMul + Add(float bias) without Q, 2-D', build: (g) => matmulAdd(g, matrix(g), 'float', false), expect: 'Gemm(DQ(Q(x)), DQ())' },
  { name: 'MatMul + Add(float bias) without Q, 2-D with a symbolic row count', build: (g) => matmulAdd(g, g.pair(g.input('x', ['n', 32]), INPUT), 'float', false), expect: 'Gemm(DQ(Q(x)), DQ())' },
  { name: 'MatMul + Add(int32 bias) without Q, 2-D with a symbolic row count', build: (g) => matmulAdd(g, g.pair(g.input('x', ['n', 32]), INPUT), 'int32', false), expect: 'QGemm(Q(x))' },
  { name: 'MatMul + Add(float bias) without Q, 3-D static', build: (g) => matmulAdd(g, sequence(g), 'float', false), expect: 'Reshape(Gemm(DQ(Reshape(Q(x))), DQ()))' },
  { name: 'MatMul + Add(int32 bias) without Q, 3-D static', build: (g) => matmulAdd(g, sequence(g), 'int32', false), expect: 'Reshape(QGemm(Reshape(Q(x))))' },
  { name: 'MatMul + Add(int32 bias) with Q, 3-D static', build: (g) => matmulAdd(g, sequence(g), 'int32', true), expect: 'DQ(Reshape(QGemm(Reshape(Q(x)))))' },
  { name: 'MatMul + Add(float bias) with Q, 3-D static', build: (g) => matmulAdd(g, sequence(g), 'float', true), expect: 'DQ(Reshape(QGemm(Reshape(Q(x)))))', at12: FLOAT_BIAS_AT_12 },
  { name: 'MatMul + Add(float bias) without Q, 3-D dynamic', build: (g) => matmulAdd(g, sequence(g, 'n'), 'float', false), expect: 'Add(MatMulIntegerToFloat(Q(x)))' },
  { name: 'MatMul + Add(int32 bias) without Q, 3-D dynamic', build: (g) => matmulAdd(g, sequence(g, 'n'), 'int32', false), expect: 'Add(MatMulIntegerToFloat(Q(x)), DQ())' },
  { name: 'MatMul + Add(float bias) with Q, 3-D dynamic', build: (g) => matmulAdd(g, sequence(g, 'n'), 'float', true), expect: 'DQ(Q(Add(MatMulIntegerToFloat(Q(x)))))' },
  // A product that gives float is missed where a Relu or Clip is all that reads it and has a single reader itself.
  ...(['Relu', 'Clip'] as const).flatMap((opType): KernelPattern[] => {
    const activation = (g: GraphBuilder, x: string) => g.op('activation', opType, [x, ...(opType === 'Clip' ? [g.floats('low', [-1], []), g.floats('high', [1], [])] : [])]);
    const product = (g: GraphBuilder) => activation(g, g.op('gemm', 'Gemm', [matrix(g), matmulWeight(g, 1), g.quantizedBias('b', [16], BIAS_SCALE, true)]));
    const missed = opType === 'Relu' ? 'FusedGemm(DQ(Q(x)), DQ(), DQ())' : 'Clip(Gemm(DQ(Q(x)), DQ(), DQ()))';
    return [
      { name: `Gemm without Q → ${opType} → graph output`, build: (g) => g.output(product(g)), expect: `${opType}(QGemm(Q(x)))` },
      { name: `Gemm without Q → ${opType} → one float reader`, build: (g) => g.output(g.op('tanh', 'Tanh', [product(g)])), expect: `Tanh(${missed})` },
      {
        name: `Gemm without Q → ${opType} → two float readers`,
        build: (g) => {
          const y = product(g);
          g.output(g.op('tanh', 'Tanh', [y]), g.op('exp', 'Exp', [y]));
        },
        expect: `Tanh(${opType}(QGemm(Q(x)))); Exp(${opType}…)`,
      },
      {
        name: `MatMul without Q → ${opType} → one float reader`,
        build: (g) => g.output(g.op('tanh', 'Tanh', [activation(g, g.op('y', 'MatMul', [matrix(g), matmulWeight(g, 1)]))])),
        expect: `Tanh(${opType}(MatMul(DQ(Q(x)), DQ())))`,
      },
    ];
  }),
  {
    name: 'Gemm read by Q and by a float operator',
    build: (g) => {
      const y = g.op('gemm', 'Gemm', [matrix(g), matmulWeight(g, 1), g.quantizedBias('b', [16], BIAS_SCALE, true)]);
      g.output(g.pair(y), g.op('tanh', 'Tanh', [y]));
    },
    expect: 'DQ(Q(Gemm(DQ(Q(x)), DQ(), DQ()))); Tanh(Gemm…)',
  },
  {
    name: 'MatMul without Q + residual Add, 2-D',
    build: (g) => g.output(g.op('sum', 'Add', [g.op('y', 'MatMul', [matrix(g), matmulWeight(g, 1)]), g.input('z', [4, 16])])),
    expect: 'Gemm(DQ(Q(x)), DQ(), z)',
  },
  {
    name: 'MatMul without Q + residual Add, 3-D',
    build: (g) => g.output(g.op('sum', 'Add', [g.op('y', 'MatMul', [sequence(g), matmulWeight(g, 1)]), g.input('z', [2, 4, 16])])),
    expect: 'Add(MatMulIntegerToFloat(Q(x)), z)',
  },
  {
    name: 'MatMul + Add(int32 bias of [1, N]) without Q, 3-D static',
    build: (g) => g.output(g.op('add', 'Add', [g.op('y', 'MatMul', [sequence(g), matmulWeight(g, 1)]), g.quantizedBias('b', [1, 16], BIAS_SCALE, true)])),
    expect: 'Add(MatMulIntegerToFloat(Q(x)), DQ())',
  },
  {
    name: 'MatMul with Q + Add',
    build: (g) => g.output(g.op('sum', 'Add', [g.pair(g.op('y', 'MatMul', [matrix(g), matmulWeight(g, 1)])), g.input('z', [4, 16])])),
    expect: 'Add(DQ(QLinearMatMul(Q(x))), z)',
  },
  { name: 'Gemm with Q, float bias', build: (g) => gemm(g, 'float', true), expect: 'DQ(QGemm(Q(x)))', at12: FLOAT_BIAS_AT_12 },
  { name: 'Gemm with Q, int32 bias', build: (g) => gemm(g, 'int32', true), expect: 'DQ(QGemm(Q(x)))', rule: 'Gemm' },
  { name: 'Gemm with Q, no bias', build: (g) => gemm(g, 'none', true), expect: 'DQ(QGemm(Q(x)))', rule: 'Gemm' },
  { name: 'Gemm without Q, float bias', build: (g) => gemm(g, 'float', false), expect: 'Gemm(DQ(Q(x)), DQ())' },
  { name: 'Gemm without Q, int32 bias', build: (g) => gemm(g, 'int32', false), expect: 'QGemm(Q(x))', rule: 'Gemm' },
  { name: 'Gemm without Q, no bias', build: (g) => gemm(g, 'none', false), expect: 'QGemm(Q(x))' },
  { name: 'Gemm with transB', build: (g) => gemm(g, 'int32', false, { transB: 1 }), expect: 'QGemm(Q(x))' },
  { name: 'Gemm with transA', build: (g) => gemm(g, 'int32', false, { transA: 1 }), expect: 'QGemm(Q(x))' },
  { name: 'Gemm with alpha, with Q', build: (g) => gemm(g, 'int32', true, { alpha: float(2) }), expect: 'DQ(Q(Gemm(DQ(Q(x)), DQ(), DQ())))' },
  { name: 'Gemm with alpha, without Q', build: (g) => gemm(g, 'int32', false, { alpha: float(2) }), expect: 'Gemm(DQ(Q(x)), DQ(), DQ())' },
  { name: 'Gemm with beta, with Q', build: (g) => gemm(g, 'int32', true, { beta: float(2) }), expect: 'DQ(Q(Gemm(DQ(Q(x)), DQ(), DQ())))' },
  { name: 'Gemm with alpha and no bias, with Q', build: (g) => gemm(g, 'none', true, { alpha: float(2) }), expect: 'DQ(QGemm(Q(x)))' },
  { name: 'Gemm with alpha and no bias, without Q', build: (g) => gemm(g, 'none', false, { alpha: float(2) }), expect: 'QGemm(Q(x))' },
  ...[0, 1].flatMap((transB) =>
    [true, false].map((thenQuantize): KernelPattern => ({
      name: `Gemm of two activations, transB ${transB}, ${thenQuantize ? 'with' : 'without'} Q`,
      build: (g) => {
        const y = g.op('y', 'Gemm', [matrix(g), g.pair(g.input('z', transB ? [8, 32] : [32, 8]))], { attributes: { transB } });
        g.output(thenQuantize ? g.pair(y) : y);
      },
      expect: thenQuantize ? 'DQ(QGemm(Q(x), Q(z)))' : 'QGemm(Q(x), Q(z))',
    })),
  ),
  {
    name: 'Gemm with a bias that is computed',
    build: (g) => g.output(g.pair(g.op('y', 'Gemm', [matrix(g), matmulWeight(g, 1), g.input('z', [4, 16])]))),
    expect: 'DQ(Q(Gemm(DQ(Q(x)), DQ(), z)))',
  },
  {
    name: 'Gemm with a bias that is computed and quantized',
    build: (g) => g.output(g.pair(g.op('y', 'Gemm', [matrix(g), matmulWeight(g, 1), g.pair(g.input('z', [4, 16]))]))),
    expect: 'DQ(Q(Gemm(DQ(Q(x)), DQ(), DQ(Q(z)))))',
  },
  {
    name: 'Gemm without Q + residual Add',
    build: (g) => g.output(g.op('sum', 'Add', [g.op('y', 'Gemm', [matrix(g), matmulWeight(g, 1)]), g.input('z', [4, 16])])),
    expect: 'Add(QGemm(Q(x)), z)',
  },

  // Joins.
  {
    name: 'Add',
    build: (g) => g.output(g.pair(g.op('y', 'Add', [quantizedImage(g), g.pair(image(g, 'z'))]))),
    expect: 'DQ(QLinearAdd(Q(x), Q(z)))',
    rule: 'Add',
  },
  { name: 'Add without Q', build: (g) => g.output(g.op('y', 'Add', [quantizedImage(g), g.pair(image(g, 'z'))])), expect: 'Add(DQ(Q(x)), DQ(Q(z)))' },
  {
    name: 'Add of two types',
    build: (g) => g.output(g.pair(g.op('y', 'Add', [quantizedImage(g), g.pair(image(g, 'z'), SIGNED)]))),
    expect: 'DQ(QLinearAdd(Q(x), Q(z)))',
  },
  ...['Add', 'Mul'].flatMap((opType): KernelPattern[] => [
    {
      name: `${opType} of a constant in the activation's type`,
      build: (g) => g.output(g.pair(g.op('y', opType, [quantizedImage(g), g.quantizedWeight('w', [16, 1, 1], { dtype: 'uint8' })]))),
      expect: `DQ(QLinear${opType}(Q(x)))`,
    },
    {
      name: `${opType} of a constant in another type`,
      build: (g) => g.output(g.pair(g.op('y', opType, [quantizedImage(g), g.quantizedWeight('w', [16, 1, 1])]))),
      expect: `DQ(Q(${opType}(DQ(Q(x)), DQ())))`,
    },
    {
      name: `${opType} of a float`,
      build: (g) => g.output(g.pair(g.op('y', opType, [quantizedImage(g), image(g, 'z')]))),
      expect: `DQ(Q(${opType}(DQ(Q(x)), z)))`,
    },
  ]),
  { name: 'Mul', build: (g) => g.output(g.pair(g.op('y', 'Mul', [quantizedImage(g), g.pair(image(g, 'z'))]))), expect: 'DQ(QLinearMul(Q(x), Q(z)))', rule: 'Mul' },
  ...['Sub', 'Div'].map((opType): KernelPattern => ({
    name: opType,
    build: (g) => g.output(g.pair(g.op('y', opType, [quantizedImage(g), g.pair(image(g, 'z'))]))),
    expect: `DQ(Q(${opType}(DQ(Q(x)), DQ(Q(z)))))`,
  })),
  {
    name: 'Concat of inputs with scales of their own',
    build: (g) => g.output(g.pair(g.op('y', 'Concat', [quantizedImage(g), g.pair(image(g, 'z'), OTHER)], { attributes: { axis: 1 } }))),
    expect: 'DQ(QLinearConcat(Q(x), Q(z)))',
    rule: 'Concat',
  },
  {
    name: 'Where',
    build: (g) => g.output(g.pair(g.op('y', 'Where', [g.input('c', [1, 16, 8, 8], 'bool'), quantizedImage(g), g.pair(image(g, 'z'))]))),
    expect: 'DQ(QLinearWhere(c, Q(x), Q(z)))',
    rule: 'Where',
  },
  {
    name: "Where with a constant in the activation's type",
    build: (g) => g.output(g.pair(g.op('y', 'Where', [g.input('c', [1, 16, 8, 8], 'bool'), quantizedImage(g), g.quantizedWeight('w', [1], { dtype: 'uint8' })]))),
    expect: 'DQ(QLinearWhere(c, Q(x)))',
  },

  // Operators of one input.
  { name: 'Sigmoid', build: unary('Sigmoid'), expect: 'DQ(QLinearSigmoid(Q(x)))', rule: 'Sigmoid' },
  { name: 'LeakyRelu', build: unary('LeakyRelu'), expect: 'DQ(QLinearLeakyRelu(Q(x)))', rule: 'LeakyRelu' },
  { name: 'Softmax', build: unary('Softmax', { attributes: { axis: -1 }, to: { scale: 1 / 255, zeroPoint: 0 } }), expect: 'DQ(QLinearSoftmax(Q(x)))', rule: 'Softmax' },
  { name: 'AveragePool', build: unary('AveragePool', { attributes: { kernel_shape: [2, 2] } }), expect: 'DQ(QLinearAveragePool(Q(x)))', rule: 'AveragePool' },
  { name: 'GlobalAveragePool', build: unary('GlobalAveragePool'), expect: 'DQ(QLinearGlobalAveragePool(Q(x)))', rule: 'GlobalAveragePool' },
  ...['Tanh', 'HardSigmoid', 'Erf', 'Sqrt', 'Relu', 'Exp', 'Neg', 'Abs', 'Elu', 'Softplus'].map((opType): KernelPattern => ({
    name: `${opType} alone`,
    build: unary(opType),
    expect: `DQ(Q(${opType}(DQ(Q(x)))))`,
  })),
  { name: 'HardSwish alone', build: unary('HardSwish'), expect: 'DQ(Q(Mul(DQ(Q(x)), HardSigmoid(DQ…))))', at12: null, opset: 14 },
  { name: 'Gelu alone', build: unary('Gelu'), expect: 'DQ(Q(Gelu(DQ(Q(x)))))', at12: null, opset: 20 },
  { name: 'Relu that Q makes redundant', build: unary('Relu', { to: UNSIGNED }), expect: 'DQ(Q(DQ(Q(x))))' },
  { name: 'Clip that Q makes redundant', build: clip(2), expect: 'DQ(Q(x))' },
  { name: 'Clip alone', build: clip(1), expect: 'DQ(Q(Clip(DQ(Q(x)))))' },
  ...['Max', 'Min', 'Sum'].map((opType): KernelPattern => ({
    name: opType,
    build: (g) => g.output(g.pair(g.op('y', opType, [quantizedImage(g), g.pair(image(g, 'z'))]))),
    expect: `DQ(Q(${opType}(DQ(Q(x)), DQ(Q(z)))))`,
  })),
  { name: 'PRelu', build: (g) => g.output(g.pair(g.op('y', 'PRelu', [quantizedImage(g), g.quantizedWeight('slope', [16, 1, 1], { dtype: 'uint8' })]))), expect: 'DQ(Q(PRelu(DQ(Q(x)), DQ())))' },
  { name: 'SpaceToDepth', build: unary('SpaceToDepth', { attributes: { blocksize: 2 }, to: INPUT }), expect: 'DQ(Q(SpaceToDepth(DQ(Q(x)))))' },
  { name: 'GlobalMaxPool', build: unary('GlobalMaxPool', { to: INPUT }), expect: 'DQ(Q(GlobalMaxPool(DQ(Q(x)))))' },
  { name: 'ArgMax takes integers as they are', build: (g) => g.output(g.op('y', 'ArgMax', [quantizedImage(g)])), expect: 'ArgMax(Q(x))' },
  { name: 'ReduceMean', build: unary('ReduceMean', { attributes: { axes: [2, 3] } }), expect: 'DQ(Q(ReduceMean(DQ(Q(x)))))' },
  { name: 'Pad', build: (g) => g.output(g.pair(g.op('y', 'Pad', [quantizedImage(g), g.ints('pads', [0, 0, 1, 1, 0, 0, 1, 1])]))), expect: 'DQ(Q(Pad(DQ(Q(x)))))' },
  {
    name: 'Resize, linear',
    build: (g) => g.output(g.pair(g.op('y', 'Resize', [quantizedImage(g), g.floats('roi', []), g.floats('scales', [1, 1, 2, 2])], { attributes: { mode: 'linear' } }))),
    expect: 'DQ(Q(Resize(DQ(Q(x)))))',
  },
  {
    name: 'LayerNormalization',
    build: (g) => g.output(g.pair(g.op('y', 'LayerNormalization', [quantizedImage(g), g.weight('gain', [8])]))),
    expect: 'DQ(Q(LayerNormalization(DQ(Q(x)))))',
    at12: null,
    opset: 17,
  },
  {
    name: 'SiLU, all of it u8',
    build: (g) => {
      const x = quantizedImage(g);
      g.output(g.pair(g.op('y', 'Mul', [x, g.pair(g.op('sigmoid', 'Sigmoid', [x]), { scale: 1 / 255, zeroPoint: 0 })])));
    },
    expect: 'DQ(QLinearMul(Q(x), QLinearSigmoid(Q(x))))',
  },
  {
    name: 'SiLU without a pair after Sigmoid',
    build: (g) => {
      const x = quantizedImage(g);
      g.output(g.pair(g.op('y', 'Mul', [x, g.op('sigmoid', 'Sigmoid', [x])])));
    },
    expect: 'DQ(Q(Mul(DQ(Q(x)), Sigmoid(DQ(Q(x))))))',
  },
  {
    name: 'SiLU, all of it s8',
    build: (g) => {
      const x = quantizedImage(g, SIGNED);
      g.output(g.pair(g.op('y', 'Mul', [x, g.pair(g.op('sigmoid', 'Sigmoid', [x]), SIGNED)]), SIGNED));
    },
    expect: 'DQ(Q(Mul(DQ(Q(x)), DQ(Q(Sigmoid(DQ(Q(x))))))))',
  },

  // Carriers.
  ...Object.entries(CARRIERS).flatMap(([opType, build]): KernelPattern[] => [
    { name: `${opType}, same parameters`, build: carrier(build), expect: `DQ(${opType}(Q(x)))`, rule: opType },
    { name: `${opType}, other parameters`, build: carrier(build, OTHER), expect: `DQ(Q(${opType}(DQ(Q(x)))))` },
  ]),
  {
    name: 'Split, same parameters',
    build: (g) => {
      const x = quantizedImage(g);
      g.opWithInts('split', 'Split', x, 'split', [8, 8], { attributes: { axis: 1 }, outputs: ['s0', 's1'] });
      g.output(g.pair('s0'), g.pair('s1'));
    },
    expect: 'DQ(Split(Q(x))); DQ(Split…)',
    rule: 'Split',
  },
  {
    name: 'Split, other parameters',
    build: (g) => {
      const x = quantizedImage(g);
      g.opWithInts('split', 'Split', x, 'split', [8, 8], { attributes: { axis: 1 }, outputs: ['s0', 's1'] });
      g.output(g.pair('s0', OTHER), g.pair('s1', OTHER));
    },
    expect: 'DQ(Q(Split(DQ(Q(x))))); DQ(Q(Split…))',
  },

  {
    name: 'Split of which one output is not read',
    build: (g) => {
      g.opWithInts('split', 'Split', quantizedImage(g), 'split', [8, 8], { attributes: { axis: 1 }, outputs: ['s0', 's1'] });
      g.output(g.pair('s1'));
    },
    expect: 'DQ(Q(Split(DQ(Q(x)))))',
  },

  // Q moves before what only carries elements, and takes a graph output with it.
  {
    name: 'Q behind a Transpose of a graph output',
    build: (g) => {
      const y = g.op('tanh', 'Tanh', [g.input('x', [32, 4])]);
      const turned = g.op('turned', 'Transpose', [y], { attributes: { perm: [1, 0] } });
      g.output(g.op('product', 'MatMul', [g.pair(turned), matmulWeight(g, 1)]), y);
    },
    expect: 'MatMulIntegerToFloat(Transpose(Q(Tanh(x)))); DQ(Q…)',
  },
  {
    name: 'Q before and behind a Transpose of a graph output',
    build: (g) => {
      const y = g.op('tanh', 'Tanh', [g.input('x', [32, 4])]);
      const turned = g.op('turned', 'Transpose', [g.pair(y)], { attributes: { perm: [1, 0] } });
      g.output(g.op('product', 'MatMul', [g.pair(turned), matmulWeight(g, 1)]), y);
    },
    expect: 'MatMulIntegerToFloat(Transpose(Q(Tanh(x)))); Tanh(x)',
  },

  // s8 activations with two readers.
  {
    name: 'residual block in u8',
    build: (g) => residual(g, INPUT),
    expect: 'DQ(QLinearAdd(QLinearConv(QLinearConv(QLinearAdd(QLinearConv(QLinearConv(Q(x))), Q(x)))), QLinearAdd…))',
  },
  {
    name: 'residual block in s8',
    build: (g) => residual(g, SIGNED),
    expect: 'DQ(Q(Add(DQ(QLinearConv(Q(Conv(DQ(Q(Add(DQ(QLinearConv(Q(Conv(DQ(Q(x)), DQ())))), DQ(Q(x))))), DQ())))), DQ(Q…))))',
  },

  // Quantized at run time.
  { name: 'DynamicQuantizeLinear → MatMulInteger → Cast → Mul, one reader', build: (g) => dynamicMatmul(g, 1), expect: 'DynamicQuantizeMatMul(x)', simulated: false },
  {
    name: 'DynamicQuantizeLinear with two readers',
    build: (g) => dynamicMatmul(g, 2),
    expect: 'MatMulIntegerToFloat(DynamicQuantizeLinear(x), DynamicQuantizeLinear(x), DynamicQuantizeLinear(x)); MatMulIntegerToFloat(DynamicQuantizeLinear(x), DynamicQuantizeLinear(x), DynamicQuantizeLinear(x))',
    simulated: false,
  },
  {
    name: 'DynamicQuantizeLinear → ConvInteger',
    build: (g) => {
      g.op('dynamic', 'DynamicQuantizeLinear', [image(g)], { outputs: ['q', 's', 'z'] });
      const [w, scale, zero] = g.integerWeight('w', [16, 16, 3, 3], { dtype: 'uint8' });
      const product = g.op('conv', 'ConvInteger', ['q', w, 'z', zero]);
      g.output(g.op('y', 'Mul', [g.op('cast', 'Cast', [product], { attributes: { to: 1 } }), g.op('scale', 'Mul', ['s', scale])]));
    },
    expect: 'Mul(Cast(ConvInteger(DynamicQuantizeLinear(x), DynamicQuantizeLinear(x))), Mul(DynamicQuantizeLinear(x)))',
    simulated: false,
  },

  // Weights only.
  ...(['uint4', 'int4'] as const).flatMap((dtype) =>
    [8, 16, 32, 48].map((blockSize): KernelPattern => ({
      name: `DQ(${dtype} in blocks of ${blockSize}) → MatMul, float activation`,
      build: (g) => g.output(g.op('y', 'MatMul', [g.input('x', [4, 96]), g.blockWeight('w', [96, 16], dtype, blockSize)])),
      expect: blockSize === 16 || blockSize === 32 ? 'MatMulNBits(x)' : 'MatMul(x, DQ())',
      at12: null,
      opset: 21,
    })),
  ),
  {
    name: 'DQ(int8 per channel) → MatMul, float activation',
    build: (g) => g.output(g.op('y', 'MatMul', [g.input('x', [4, 32]), matmulWeight(g, 1)])),
    expect: 'MatMulNBits(x)',
  },
  {
    name: 'DQ(int8 per tensor) → MatMul, float activation',
    build: (g) => g.output(g.op('y', 'MatMul', [g.input('x', [4, 32]), matmulWeight(g)])),
    expect: 'MatMulNBits(x)',
  },
  {
    name: 'DQ(int8 per channel) → Gemm, float activation',
    build: (g) => g.output(g.op('y', 'Gemm', [g.input('x', [4, 32]), matmulWeight(g, 1)])),
    expect: 'MatMulNBits(x)',
  },
  {
    name: 'DQ(int8 with a scale for each row) → MatMul, float activation',
    build: (g) => g.output(g.op('y', 'MatMul', [g.input('x', [4, 32]), matmulWeight(g, 0)])),
    expect: 'MatMul(x, DQ())',
  },
  {
    name: 'DQ(int8) of three dimensions → MatMul, float activation',
    build: (g) => g.output(g.op('y', 'MatMul', [g.input('x', [2, 4, 32]), g.quantizedWeight('w', [2, 32, 16])])),
    expect: 'MatMul(x, DQ())',
  },
  {
    name: 'DQ of an activation → MatMul, float activation',
    build: (g) => g.output(g.op('y', 'MatMul', [g.input('x', [4, 32]), g.pair(g.input('z', [32, 16]))])),
    expect: 'MatMul(x, DQ(Q(z)))',
  },
];

function residual(g: GraphBuilder, spec: PairSpec): void {
  let x = quantizedImage(g, spec);
  for (const i of [1, 2]) {
    const weight = (name: string) => g.quantizedWeight(`${name}${i}`, [16, 16, 3, 3], { axis: 0 });
    const first = g.pair(g.op(`a${i}`, 'Conv', [x, weight('wa')], { attributes: SAME_PADS }), spec);
    const second = g.pair(g.op(`b${i}`, 'Conv', [first, weight('wb')], { attributes: SAME_PADS }), spec);
    x = g.pair(g.op(`sum${i}`, 'Add', [second, x]), spec);
  }
  g.output(x);
}

function dynamicMatmul(g: GraphBuilder, readers: number): void {
  g.op('dynamic', 'DynamicQuantizeLinear', [g.input('x', [4, 32])], { outputs: ['q', 's', 'z'] });
  for (let i = 0; i < readers; i++) {
    // Scales of their own: equal products of scales would be merged into one node, and a Mul of two readers does not fuse.
    const [w, wScale, wZero] = g.integerWeight(`w${i}`, [32, 16], { scale: WEIGHT_SCALE * (i + 1) });
    const product = g.op(`matmul${i}`, 'MatMulInteger', ['q', w, 'z', wZero]);
    const scale = g.op(`scale${i}`, 'Mul', ['s', wScale]);
    g.output(g.op(`y${i}`, 'Mul', [g.op(`cast${i}`, 'Cast', [product], { attributes: { to: 1 } }), scale]));
  }
}
