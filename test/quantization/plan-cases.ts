import type { Range, StaticOptions } from '../../src/quantization/plan-static.js';
import { float, GraphBuilder, SAME_PADS, type OpSpec } from '../helpers/graph-builder.js';

/** A small float model, the plan that is made for it and what onnxruntime then runs. */
export interface PlanCase {
  readonly name: string;
  readonly build: (g: GraphBuilder) => void;
  /** Operator set of the model, 13 unless told otherwise. */
  readonly opset?: number;
  readonly options?: Partial<StaticOptions>;
  /** Names of nodes that the user keeps in float. */
  readonly exclude?: readonly string[];
  /** Ranges for the plan's text; values without one take [−1, 3]. */
  readonly ranges?: Readonly<Record<string, Range>>;
  readonly plan: string;
  /** Text of the fused graph. */
  readonly fused: string;
  /** Least SQNR of any output in dB, 25 unless told otherwise. */
  readonly sqnrDb?: number;
}

const CHANNELS = 16;
const image = (g: GraphBuilder, channels = CHANNELS) => g.input('x', [1, channels, 8, 8]);

interface ConvSpec extends OpSpec {
  readonly dims?: readonly number[];
  readonly bias?: boolean;
  readonly opType?: string;
}

function conv(g: GraphBuilder, name: string, x: string, { dims = [CHANNELS, CHANNELS, 3, 3], bias = true, opType = 'Conv', ...spec }: ConvSpec = {}): string {
  const inputs = [x, g.weight(`${name}_w`, dims), ...(bias ? [g.weight(`${name}_b`, [dims[0]!], 0.5)] : [])];
  return g.op(name, opType, inputs, { attributes: SAME_PADS, ...spec });
}

/** A 1×1 convolution, which needs no pads. */
const pointwise = (g: GraphBuilder, name: string, x: string, outputs = CHANNELS, inputs = CHANNELS) =>
  conv(g, name, x, { dims: [outputs, inputs, 1, 1], attributes: {} });

const clip = (g: GraphBuilder, name: string, x: string, low: number, high: number) =>
  g.op(name, 'Clip', [x, g.floats(`${name}_low`, [low], []), g.floats(`${name}_high`, [high], [])]);

export const CONVOLUTION_CASES: readonly PlanCase[] = [
  {
    name: 'Conv, Relu, Conv',
    build: (g) => g.output(conv(g, 'second', g.op('relu', 'Relu', [conv(g, 'first', image(g))]))),
    plan: '',
    fused: '',
  },
  {
    name: 'Conv without bias, and with an empty name for it',
    build: (g) => g.output(g.op('second', 'Conv', [conv(g, 'first', image(g), { bias: false }), g.weight('second_w', [16, 16, 3, 3]), ''], { attributes: SAME_PADS })),
    plan: '',
    fused: '',
  },
  {
    name: 'a Conv at operator set 12',
    opset: 12,
    build: (g) => g.output(conv(g, 'second', g.op('relu', 'Relu', [conv(g, 'first', image(g))]))),
    plan: '',
    fused: '',
  },
  {
    name: 'Conv per tensor',
    options: { perChannel: false },
    build: (g) => g.output(conv(g, 'conv', image(g))),
    plan: '',
    fused: '',
  },
  {
    name: 'a weight that two convolutions share',
    build: (g) => {
      const w = g.weight('w', [16, 16, 3, 3]);
      const first = g.op('first', 'Conv', [image(g), w, g.weight('first_b', [16])], { attributes: SAME_PADS });
      g.output(g.op('second', 'Conv', [first, w, g.weight('second_b', [16])], { attributes: SAME_PADS }));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'Conv whose output is also a graph output',
    build: (g) => {
      const first = conv(g, 'first', image(g));
      g.output(first, conv(g, 'second', g.op('relu', 'Relu', [first])));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'Conv that a float operator reads as well',
    build: (g) => {
      const first = conv(g, 'first', image(g));
      g.output(conv(g, 'second', first), g.op('tanh', 'Tanh', [first]));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'Relu with a second reader',
    build: (g) => {
      const relu = g.op('relu', 'Relu', [conv(g, 'first', image(g))]);
      g.output(conv(g, 'second', relu), g.op('tanh', 'Tanh', [relu]));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'Conv with two readers, one of them a Relu',
    build: (g) => {
      const first = conv(g, 'first', image(g));
      g.output(conv(g, 'second', g.op('relu', 'Relu', [first])), conv(g, 'third', first));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'Clip(0, 6)',
    ranges: { clip: [0, 6] },
    build: (g) => g.output(conv(g, 'second', clip(g, 'clip', conv(g, 'first', image(g)), 0, 6))),
    plan: '',
    fused: '',
  },
  {
    name: 'Clip(−1, 1), whose range is no multiple of the scale',
    ranges: { clip: [-1, 1] },
    build: (g) => g.output(conv(g, 'second', clip(g, 'clip', conv(g, 'first', image(g)), -1, 1))),
    plan: '',
    fused: '',
  },
  {
    name: 'Clip with an upper bound only',
    ranges: { clip: [-2, 1] },
    build: (g) => g.output(conv(g, 'second', g.op('clip', 'Clip', [conv(g, 'first', image(g)), '', g.floats('high', [1], [])]))),
    plan: '',
    fused: '',
  },
  {
    name: 'Clip(0.5, 6), which leaves out 0',
    build: (g) => g.output(conv(g, 'second', clip(g, 'clip', conv(g, 'first', image(g)), 0.5, 6))),
    plan: '',
    fused: '',
  },
  {
    name: 'Relu with symmetric s8 activations',
    options: { activationType: 'int8', symmetricActivations: true },
    build: (g) => g.output(conv(g, 'second', g.op('relu', 'Relu', [conv(g, 'first', image(g))]))),
    plan: '',
    fused: '',
  },
  {
    name: 'Clip(0, 6) with symmetric s8 activations',
    options: { activationType: 'int8', symmetricActivations: true },
    build: (g) => g.output(conv(g, 'second', clip(g, 'clip', conv(g, 'first', image(g)), 0, 6))),
    plan: '',
    fused: '',
  },
  {
    name: 'residual block: Add and Relu',
    build: (g) => {
      const stem = g.op('stem_relu', 'Relu', [conv(g, 'stem', image(g))]);
      const inner = conv(g, 'b', g.op('a_relu', 'Relu', [conv(g, 'a', stem)]));
      g.output(conv(g, 'head', g.op('sum_relu', 'Relu', [g.op('sum', 'Add', [inner, stem])])));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'residual block that ends in the output',
    build: (g) => {
      const stem = conv(g, 'stem', image(g));
      g.output(g.op('sum', 'Add', [conv(g, 'a', stem), stem]));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'Add of a value to itself',
    build: (g) => {
      const stem = conv(g, 'stem', image(g));
      g.output(conv(g, 'head', g.op('sum', 'Add', [stem, stem])));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'Concat of branches',
    build: (g) => {
      const x = image(g);
      const parts = [g.op('relu', 'Relu', [conv(g, 'a', x)]), conv(g, 'b', x), x];
      g.output(pointwise(g, 'head', g.op('joined', 'Concat', parts, { attributes: { axis: 1 } }), 16, 48));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'Concat with a constant',
    build: (g) => {
      const joined = g.op('joined', 'Concat', [conv(g, 'a', image(g)), g.weight('extra', [1, 16, 8, 8], 2)], { attributes: { axis: 1 } });
      g.output(pointwise(g, 'head', joined, 16, 32));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'squeeze-excite block',
    build: (g) => {
      const stem = conv(g, 'stem', image(g));
      const squeezed = g.op('squeeze_relu', 'Relu', [pointwise(g, 'squeeze', g.op('pool', 'GlobalAveragePool', [stem]), 8)]);
      const gate = g.op('gate', 'Sigmoid', [pointwise(g, 'excite', squeezed, 16, 8)]);
      g.output(conv(g, 'head', g.op('scaled', 'Mul', [stem, gate])));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'SiLU',
    build: (g) => {
      const first = conv(g, 'first', image(g));
      g.output(conv(g, 'second', g.op('silu', 'Mul', [first, g.op('sigmoid', 'Sigmoid', [first])])));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'LeakyRelu and pools',
    build: (g) => {
      const leaky = g.op('leaky', 'LeakyRelu', [conv(g, 'first', image(g))], { attributes: { alpha: float(0.1) } });
      const pooled = g.op('average', 'AveragePool', [leaky], { attributes: { kernel_shape: [2, 2], strides: [2, 2] } });
      g.output(conv(g, 'second', g.op('max', 'MaxPool', [pooled], { attributes: { kernel_shape: [2, 2], strides: [2, 2] } })));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'operators with and without a kernel in a row',
    build: (g) => {
      const tanh = g.op('tanh', 'Tanh', [conv(g, 'first', image(g))]);
      const sigmoid = g.op('sigmoid', 'Sigmoid', [tanh]);
      g.output(conv(g, 'second', sigmoid));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'Mul and Add by constants that no convolution takes up',
    build: (g) => {
      const pooled = g.op('pool', 'MaxPool', [conv(g, 'first', image(g))], { attributes: { kernel_shape: [2, 2] } });
      const scaled = g.op('scaled', 'Mul', [pooled, g.weight('gain', [16, 1, 1], 1)]);
      g.output(conv(g, 'second', g.op('shifted', 'Add', [g.weight('shift', [16, 1, 1], 1), scaled])));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'Split, each part to a convolution',
    build: (g) => {
      g.opWithInts('split', 'Split', conv(g, 'first', image(g)), 'sizes', [8, 8], { attributes: { axis: 1 }, outputs: ['left', 'right'] });
      const parts = ['left', 'right'].map((part) => pointwise(g, `${part}_conv`, part, 8, 8));
      g.output(g.op('joined', 'Concat', parts, { attributes: { axis: 1 } }));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'Split with a part that nothing integer reads',
    build: (g) => {
      g.opWithInts('split', 'Split', conv(g, 'first', image(g)), 'sizes', [8, 8], { attributes: { axis: 1 }, outputs: ['left', 'right'] });
      g.output(pointwise(g, 'second', 'left', 8, 8), g.op('tanh', 'Tanh', ['right']));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'channel shuffle',
    build: (g) => {
      const first = conv(g, 'first', image(g));
      const grouped = g.op('grouped', 'Reshape', [first, g.ints('grouped_shape', [1, 2, 8, 8, 8])]);
      const turned = g.op('turned', 'Transpose', [grouped], { attributes: { perm: [0, 2, 1, 3, 4] } });
      g.output(conv(g, 'second', g.op('flat', 'Reshape', [turned, g.ints('flat_shape', [1, 16, 8, 8])])));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'Transposes at the edges',
    build: (g) => {
      const turned = g.op('turned', 'Transpose', [g.input('x', [1, 8, 8, 16])], { attributes: { perm: [0, 3, 1, 2] } });
      g.output(g.op('back', 'Transpose', [conv(g, 'conv', turned)], { attributes: { perm: [0, 2, 3, 1] } }));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'MaxPool, then Relu',
    build: (g) => {
      const pooled = g.op('pool', 'MaxPool', [conv(g, 'first', image(g))], { attributes: { kernel_shape: [2, 2] } });
      g.output(conv(g, 'second', g.op('relu', 'Relu', [pooled])));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'Relu, then MaxPool',
    build: (g) => {
      const relu = g.op('relu', 'Relu', [conv(g, 'first', image(g))]);
      g.output(conv(g, 'second', g.op('pool', 'MaxPool', [relu], { attributes: { kernel_shape: [2, 2] } })));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'MaxPool whose indices are read',
    build: (g) => {
      g.op('pool', 'MaxPool', [conv(g, 'first', image(g))], { attributes: { kernel_shape: [2, 2] }, outputs: ['pooled', 'where'] });
      g.output(conv(g, 'second', 'pooled'), 'where');
    },
    plan: '',
    fused: '',
  },
  {
    name: 'nearest and linear Resize, DepthToSpace, ReduceMax',
    build: (g) => {
      const first = conv(g, 'first', image(g));
      const nearest = g.op('nearest', 'Resize', [first, g.floats('roi', []), g.floats('double', [1, 1, 2, 2])], { attributes: { mode: 'nearest' } });
      const linear = g.op('linear', 'Resize', [conv(g, 'second', nearest), g.floats('roi', []), g.floats('half', [1, 1, 0.5, 0.5])], { attributes: { mode: 'linear' } });
      const deep = g.op('deep', 'DepthToSpace', [conv(g, 'third', linear)], { attributes: { blocksize: 2 } });
      const highest = g.op('highest', 'ReduceMax', [pointwise(g, 'fourth', deep, 16, 4)], { attributes: { axes: [2, 3], keepdims: 1 } });
      g.output(pointwise(g, 'fifth', highest));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'depthwise and grouped convolutions',
    build: (g) => {
      const depthwise = conv(g, 'depthwise', image(g), { dims: [16, 1, 3, 3], attributes: { ...SAME_PADS, group: 16 } });
      g.output(conv(g, 'grouped', depthwise, { dims: [16, 4, 3, 3], attributes: { ...SAME_PADS, group: 4 } }));
    },
    plan: '',
    fused: '',
  },
  {
    name: '1-D convolutions',
    build: (g) => g.output(conv(g, 'second', conv(g, 'first', g.input('x', [1, 16, 32]), { dims: [16, 16, 3], attributes: {} }), { dims: [16, 16, 3], attributes: {} })),
    plan: '',
    fused: '',
  },
  {
    name: '3-D convolutions',
    build: (g) => g.output(conv(g, 'second', conv(g, 'first', g.input('x', [1, 8, 6, 6, 6]), { dims: [8, 8, 3, 3, 3], attributes: {} }), { dims: [8, 8, 3, 3, 3], attributes: {} })),
    plan: '',
    fused: '',
  },
  {
    name: 'ConvTranspose between convolutions',
    build: (g) => {
      const up = g.op('up', 'ConvTranspose', [conv(g, 'first', image(g)), g.weight('up_w', [16, 16, 2, 2])], { attributes: { strides: [2, 2] } });
      g.output(conv(g, 'second', up));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'Conv with a weight that is computed',
    build: (g) => {
      const w = g.op('w', 'Tanh', [g.input('v', [16, 16, 3, 3])]);
      g.output(conv(g, 'second', g.op('first', 'Conv', [image(g), w], { attributes: SAME_PADS })));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'batch norm, folded',
    build: (g) => {
      const first = conv(g, 'first', image(g), { bias: false });
      const normed = g.op('norm', 'BatchNormalization', [first, g.floats('gain', new Array(16).fill(1.5)), g.weight('shift', [16], 1), g.weight('mean', [16], 1), g.floats('variance', new Array(16).fill(2))]);
      g.output(conv(g, 'second', g.op('relu', 'Relu', [normed])));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'a convolution that is excluded, between two that are not',
    exclude: ['second'],
    build: (g) => g.output(conv(g, 'third', conv(g, 'second', conv(g, 'first', image(g))))),
    plan: '',
    fused: '',
  },
  {
    name: 'If whose bodies read an integer value',
    build: (g) => {
      const first = conv(g, 'first', image(g));
      const body = (name: string, opType: string) => {
        const inner = new GraphBuilder(g.opset);
        inner.op(`${name}_y`, opType, [first]);
        inner.output(`${name}_y`);
        return { kind: 'graph', value: inner.graph(name) } as const;
      };
      const chosen = g.op('chosen', 'If', [g.input('c', [], 'bool')], { attributes: { then_branch: body('then', 'Tanh'), else_branch: body('else', 'Neg') } });
      g.output(conv(g, 'second', chosen), conv(g, 'third', first));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'If whose body holds a convolution, which is left alone',
    build: (g) => {
      const first = conv(g, 'first', image(g));
      const body = (name: string, build: (inner: GraphBuilder) => string) => {
        const inner = new GraphBuilder(g.opset);
        inner.output(build(inner));
        return { kind: 'graph', value: inner.graph(name) } as const;
      };
      const then_branch = body('then', (inner) => conv(inner, 'then_conv', first));
      const else_branch = body('else', (inner) => inner.op('else_y', 'Neg', [first]));
      g.output(g.op('chosen', 'If', [g.input('c', [], 'bool')], { attributes: { then_branch, else_branch } }));
    },
    plan: '',
    fused: '',
  },
  {
    name: 'names that the recipe would give itself, and nodes without names',
    build: (g) => {
      g.op('', 'Conv', [g.input('x', [1, 16, 8, 8]), g.weight('w', [16, 16, 3, 3])], { attributes: SAME_PADS, outputs: ['x_q'] });
      g.op('', 'Relu', ['x_q'], { outputs: ['x_q_dq'] });
      g.op('', 'Conv', ['x_q_dq', g.weight('w_q', [16, 16, 3, 3])], { attributes: SAME_PADS, outputs: ['w_dq'] });
      g.op('x_Q', 'Relu', ['w_dq'], { outputs: ['zero_point_uint8_0_scalar'] });
      g.op('x_Q', 'Conv', ['zero_point_uint8_0_scalar', 'w'], { attributes: SAME_PADS, outputs: ['x_s'] });
      g.output('x_s');
    },
    plan: '',
    fused: '',
  },
];
