import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ValueType } from '../../src/graph/model.js';
import { selectNodes, valuesToObserve, type Selection, type ValueTypes } from '../../src/quantization/select.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { float, GraphBuilder, SAME_PADS } from '../helpers/graph-builder.js';

const type = (dtype: 'float32' | 'float16' | 'float64' | 'int64', shape?: readonly (number | string | null)[]): ValueType =>
  shape ? { kind: 'tensor', dtype, shape } : { kind: 'tensor', dtype };

function select(build: (g: GraphBuilder) => void, { opset = 13, types = {}, kept = [] as readonly string[], takesSlower = false }: { opset?: number; types?: Record<string, ValueType>; kept?: readonly string[]; takesSlower?: boolean } = {}): Selection {
  const g = new GraphBuilder(opset);
  build(g);
  const known: ValueTypes = new Map(Object.entries(types));
  return selectNodes(g.graph(), known, { opset, takesSlower, keptFloat: (node) => (kept.includes(node.name) ? 'excluded by --exclude' : undefined) });
}

const reasonOf = (selection: Selection, name: string) => [...selection.floatReasons].find(([node]) => node.name === name)?.[1];
const selectedNames = (selection: Selection) => [...selection.nodes.keys()].map(({ name }) => name);

const image = (g: GraphBuilder) => g.input('x', [1, 16, 8, 8]);
const conv = (g: GraphBuilder, name: string, x: string) => g.op(name, 'Conv', [x, g.weight(`${name}_w`, [16, 16, 3, 3])], { attributes: SAME_PADS });
/** A node between two convolutions. */
const between = (build: (g: GraphBuilder, x: string) => string) => (g: GraphBuilder) => void g.output(conv(g, 'last', build(g, conv(g, 'first', image(g)))));

interface ReasonRow {
  readonly name: string;
  readonly build: (g: GraphBuilder) => void;
  readonly reason: string;
  readonly opset?: number;
  readonly types?: Record<string, ValueType>;
  readonly kept?: readonly string[];
}

/** Each row has a node `y` that stays in float. */
const REASONS: readonly ReasonRow[] = [
  { name: 'an operator without an integer kernel', build: between((g, x) => g.op('y', 'Tanh', [x])), reason: 'Tanh has no integer kernel in onnxruntime' },
  ...['ConvTranspose', 'GRU', 'RNN'].map((opType): ReasonRow => ({
    name: opType,
    build: between((g, x) => g.op('y', opType, [x, g.weight('w', [16, 16, 2, 2])])),
    reason: `${opType} has no integer kernel in onnxruntime`,
  })),
  { name: 'LSTM', build: between((g, x) => g.op('y', 'LSTM', [x, g.weight('w', [1, 64, 16])])), reason: 'LSTM runs on integers only as DynamicQuantizeLSTM: --mode auto and --mode dynamic make that' },
  { name: 'an operator of another domain', build: between((g, x) => g.op('y', 'Add', [x, x], { domain: 'my.own' })), reason: 'Add has no integer kernel in onnxruntime' },
  { name: 'a node that the user keeps', build: between((g, x) => conv(g, 'y', x)), kept: ['y'], reason: 'excluded by --exclude' },
  { name: 'MaxPool before operator set 12', opset: 11, build: between((g, x) => g.op('y', 'MaxPool', [x])), reason: 'MaxPool has an integer kernel from operator set 12 on' },
  { name: 'ReduceMax before operator set 12', opset: 11, build: between((g, x) => g.op('y', 'ReduceMax', [x])), reason: 'ReduceMax has an integer kernel from operator set 12 on' },
  { name: 'Resize that interpolates', build: between((g, x) => g.op('y', 'Resize', [x], { attributes: { mode: 'cubic' } })), reason: 'Resize interpolates in float' },
  { name: 'float16', build: (g) => void g.output(conv(g, 'y', image(g))), types: { x: type('float16') }, reason: '"x" is float16, not float32' },
  ...([['', 'b'], ['a', 'b']] as const).map((outputs): ReasonRow => ({
    name: `Split of which one output is ${outputs[0] === '' ? 'left out' : 'not read'}`,
    build: between((g, x) => {
      g.opWithInts('y', 'Split', x, 'split', [8, 8], { attributes: { axis: 1 }, outputs });
      return g.op('joined', 'Concat', ['b', 'b'], { attributes: { axis: 1 } });
    }),
    reason: 'not all of its outputs are read, and an integer Split needs QuantizeLinear on each',
  })),
  { name: 'integers', build: between((g, x) => g.op('y', 'Add', [x, g.ints('c', [1])])), reason: '"c" is int64, not float32' },
  { name: 'a value that is no tensor', build: (g) => void g.output(conv(g, 'y', image(g))), types: { x: { kind: 'sequence' } }, reason: '"x" is sequence, not float32' },
  { name: 'an output that is not float', build: between((g, x) => g.op('y', 'MaxPool', [x], { outputs: ['pooled', 'indices'] })), types: { indices: type('int64') }, reason: '"indices" is int64, not float32' },
  { name: 'Gather from a table', build: (g) => void g.output(g.op('m', 'MatMul', [g.op('y', 'Gather', [g.weight('table', [9, 32]), g.input('i', [4], 'int64')]), g.weight('w', [32, 8])])), reason: 'what it would quantize is constant' },
  {
    name: 'a weight of float64',
    build: (g) => void g.output(g.op('y', 'Conv', [image(g), g.constant('w', tensorFromArray('float64', [1, 1, 1, 1], Float64Array.of(1)))])),
    reason: '"w" is float64, not float32',
  },
  { name: 'a bias that is computed', build: (g) => void g.output(g.op('y', 'Conv', [image(g), g.weight('w', [16, 16, 3, 3]), g.input('b', [16])])), reason: 'the bias "b" is not a float32 constant' },
  {
    name: 'a product that an optimizer fused',
    build: (g) => void g.output(g.op('y', 'FusedMatMul', [g.input('x', [4, 32]), g.weight('w', [16, 32])], { domain: 'com.microsoft', attributes: { transB: 1 } })),
    reason: 'FusedMatMul is an operator that onnxruntime makes of others, and no Q/DQ fuses with it: quantize the model from before it was optimized',
  },
  { name: 'a product of few terms', build: (g) => void g.output(g.op('y', 'MatMul', [g.input('x', [4, 15]), g.weight('w', [15, 8])])), reason: 'it adds up only 15 products, which is slower in integers than in float (below 16)' },
  {
    name: 'Gemm of few terms, transposed',
    build: (g) => void g.output(g.op('y', 'Gemm', [g.input('x', [4, 8]), g.weight('w', [99, 8])], { attributes: { transB: 1 } })),
    reason: 'it adds up only 8 products, which is slower in integers than in float (below 16)',
  },
  {
    name: 'a product of activations of few terms',
    build: (g) => void g.output(g.op('y', 'MatMul', [g.input('x', [4, 8]), g.input('z', [8, 4])])),
    types: { x: type('float32', ['n', 8]) },
    reason: 'it adds up only 8 products, which is slower in integers than in float (below 16)',
  },
  { name: 'a product by a short vector', build: (g) => void g.output(g.op('y', 'MatMul', [g.input('x', [4, 8]), g.weight('w', [8])])), reason: 'it adds up only 8 products, which is slower in integers than in float (below 16)' },
  { name: 'an infinite constant', build: between((g, x) => g.op('y', 'Add', [x, g.floats('mask', [0, -Infinity], [2, 1, 1])])), reason: 'the constant "mask" contains NaN or infinity' },
  { name: 'a join before the output', build: (g) => void g.output(g.op('y', 'Add', [conv(g, 'first', image(g)), conv(g, 'second', 'x')])), reason: 'nothing that runs on integers reads it' },
  { name: 'a carrier before the output', build: (g) => void g.output(g.op('y', 'Transpose', [conv(g, 'first', image(g))])), reason: 'nothing that runs on integers reads it' },
  { name: 'a join of a float value', build: between((g, x) => g.op('y', 'Mul', [x, g.op('tanh', 'Tanh', [x])])), reason: 'not all that feeds it runs on integers' },
  { name: 'a carrier after the input', build: (g) => void g.output(conv(g, 'last', g.op('y', 'Transpose', [image(g)]))), reason: 'not all that feeds it runs on integers' },
  {
    name: 'a chain of operators with kernels between float ones',
    build: between((g, x) => g.op('exp', 'Exp', [g.op('y', 'Sigmoid', [g.op('leaky', 'LeakyRelu', [g.op('tanh', 'Tanh', [x])])])])),
    reason: 'nothing that runs on integers reads it|not all that feeds it runs on integers',
  },
];

describe('selectNodes says why a node stays in float', () => {
  for (const { name, build, reason, ...options } of REASONS) {
    test(name, () => {
      const selection = select(build, options);
      assert.ok(!selectedNames(selection).includes('y'), 'it is selected');
      assert.ok(reason.split('|').includes(reasonOf(selection, 'y') ?? ''), reasonOf(selection, 'y'));
    });
  }

  test('every node is selected, taken along or has a reason', () => {
    for (const { build, ...options } of REASONS) {
      const g = new GraphBuilder();
      build(g);
      const graph = g.graph();
      const selection = selectNodes(graph, new Map(Object.entries(options.types ?? {})), { opset: options.opset ?? 13 });
      const taken = new Set([...selection.nodes.values()].flatMap(({ biasAdd, absorbed }) => [biasAdd, absorbed?.node]));
      for (const node of graph.nodes) {
        assert.ok(selection.nodes.has(node) || taken.has(node) || selection.floatReasons.has(node), node.name);
        assert.ok(!(selection.nodes.has(node) && selection.floatReasons.has(node)), `${node.name} is both`);
      }
    }
  });
});

describe('selectNodes', () => {
  test('takes a product of 16 terms, and one whose terms nothing tells', () => {
    assert.deepEqual(selectedNames(select((g) => void g.output(g.op('y', 'MatMul', [g.input('x', [4, 16]), g.weight('w', [16, 8])])))), ['y']);
    assert.deepEqual(selectedNames(select((g) => void g.output(g.op('y', 'MatMul', [g.input('x', ['a', 'b']), g.input('z', ['b', 'c'])])))), ['y']);
  });

  test('takes a mask that is finite', () => {
    const selection = select(between((g, x) => g.op('y', 'Add', [x, g.floats('mask', [0, -10000], [2, 1, 1])])));
    assert.deepEqual(selectedNames(selection), ['first', 'y', 'last']);
  });

  const bounds: readonly [string, readonly string[], [number, number] | undefined][] = [
    ['0 … 6', ['low0', 'high6'], [0, 6]],
    ['−1 … 1', ['lowMinus1', 'high1'], [-1, 1]],
    ['up to 6', ['', 'high6'], [-Infinity, 6]],
    ['from 0 on', ['low0'], [0, Infinity]],
    ['without bounds', [], [-Infinity, Infinity]],
    ['0.5 … 6, which leaves out 0', ['lowHalf', 'high6'], undefined],
    ['−1 … 0', ['lowMinus1', 'low0'], undefined],
    ['a bound that is computed', ['low0', 'x'], undefined],
  ];
  for (const [name, inputs, expected] of bounds) {
    test(`Clip ${name} is ${expected ? '' : 'not '}taken along`, () => {
      const selection = select(
        between((g, x) => {
          for (const [constant, value] of Object.entries({ low0: 0, lowMinus1: -1, lowHalf: 0.5, high6: 6, high1: 1 })) g.floats(constant, [value], []);
          return g.op('y', 'Clip', [x, ...inputs]);
        }),
      );
      const first = [...selection.nodes.values()].find(({ node }) => node.name === 'first')!;
      assert.deepEqual(first.absorbed && [first.absorbed.min, first.absorbed.max], expected);
      assert.deepEqual(first.ends, [expected ? 'y' : 'first']);
    });
  }

  test('Clip of a constant by the convolution is not taken along', () => {
    const selection = select(between((g, x) => g.op('y', 'Clip', [g.weight('c', [1, 16, 8, 8]), x])));
    assert.equal([...selection.nodes.values()][0]!.absorbed, undefined);
  });

  test('an Add is a bias only where it is a vector along the last axis', () => {
    const biasOf = (dims: readonly number[], rank: readonly (number | string)[] | undefined) => {
      const selection = select((g) => void g.output(g.op('y', 'Add', [g.op('m', 'MatMul', [g.input('x', [4, 32]), g.weight('w', [32, 8])]), g.weight('b', dims)])), {
        types: rank ? { x: type('float32', rank) } : {},
      });
      return [...selection.nodes.values()][0]!.biasAdd?.name;
    };
    assert.equal(biasOf([8], undefined), 'y');
    assert.equal(biasOf([1, 8], ['n', 32]), 'y');
    assert.equal(biasOf([1, 8], undefined), undefined, 'the product could be a vector');
    assert.equal(biasOf([1, 1, 8], ['n', 32]), undefined, 'it would add a dimension');
    assert.equal(biasOf([1], ['n', 32]), undefined);
    assert.equal(biasOf([4, 8], [4, 32]), undefined);
  });

  test('a MatMul followed by two Adds, or read twice, takes none along', () => {
    const selection = select((g) => {
      const m = g.op('m', 'MatMul', [g.input('x', [4, 32]), g.weight('w', [32, 8])]);
      g.output(g.op('a', 'Add', [m, g.weight('b', [8])]), g.op('c', 'Add', [m, g.weight('d', [8])]));
    });
    assert.equal([...selection.nodes.values()][0]!.biasAdd, undefined);
  });

  test('values that carriers pass on share a group, with a fixed range where the operator has one', () => {
    const build = (g: GraphBuilder) => {
      const softmax = g.op('softmax', 'Softmax', [conv(g, 'first', image(g))]);
      g.opWithInts('split', 'Split', softmax, 'split', [8, 8], { attributes: { axis: 1 }, outputs: ['left', 'right'] });
      const pool = g.op('pool', 'MaxPool', ['left'], { attributes: { kernel_shape: [2, 2] } });
      g.output(g.op('a', 'Conv', [pool, g.weight('aw', [4, 8, 1, 1])]), g.op('b', 'Conv', ['right', g.weight('bw', [4, 8, 1, 1])]));
    };
    const selection = select(build, { takesSlower: true });
    const groups = Object.fromEntries([...selection.values.values()].map(({ name, group }) => [name, group]));
    assert.deepEqual(groups, { x: 'x', first: 'first', softmax: 'softmax', left: 'softmax', right: 'softmax', pool: 'softmax', a: 'a', b: 'b' });
    assert.deepEqual(selection.values.get('softmax')!.fixedRange, [0, 1]);
    assert.deepEqual(valuesToObserve(selection).sort(), ['a', 'b', 'first', 'x']);

    const inFloat = select(build);
    assert.equal(reasonOf(inFloat, 'softmax'), 'QLinearSoftmax takes longer than Softmax in float');
    assert.deepEqual(['pool', 'right'].map((name) => inFloat.values.get(name)!.fixedRange), [[0, 1], [0, 1]]);
    assert.deepEqual(valuesToObserve(inFloat).sort(), ['a', 'b', 'first', 'x']);
  });

  test('a graph of thousands of joins takes no time in squares', () => {
    const selection = select((g) => {
      let value = conv(g, 'first', image(g));
      for (let i = 0; i < 3000; i++) value = g.op(`leaky${i}`, 'LeakyRelu', [value], { attributes: { alpha: float(0.5) } });
      g.output(value);
    });
    assert.deepEqual(selectedNames(selection), ['first']);
  });
});

describe('what moves elements of a graph output', () => {
  const build = (...extra: string[]) => (g: GraphBuilder) => {
    const tanh = g.op('tanh', 'Tanh', [g.input('x', [32, 32])]);
    const turned = g.op('turned', 'Transpose', [tanh], { attributes: { perm: [1, 0] } });
    g.output(g.op('y', 'MatMul', [turned, g.weight('w', [32, 16])]), ...extra);
  };
  const rows: readonly [string, readonly string[], readonly string[]][] = [
    ['stays float where nothing else is an output: the runtime moves Q before it', [], ['y']],
    ['is quantized where Q before it would reach the output', ['tanh'], ['turned', 'y']],
    ['stays float where its own result is an output', ['tanh', 'turned'], ['y']],
  ];
  for (const [name, outputs, expected] of rows) test(name, () => assert.deepEqual(selectedNames(select(build(...outputs))), expected));
});
