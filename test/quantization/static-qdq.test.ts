import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { indexOf } from '../../src/graph/graph-index.js';
import type { Model, Node } from '../../src/graph/model.js';
import { applyStaticPlan } from '../../src/quantization/static-qdq.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import { numbersOf } from '../../src/tensor/values.js';
import { GraphBuilder, SAME_PADS } from '../helpers/graph-builder.js';
import { planWith, selectIn } from './quantize-graph.js';
import { assertWeightAxes } from './weight-axes.js';

let host: RuntimeHost;
before(() => void (host = new RuntimeHost()));
after(() => host.close());

interface Quantized {
  readonly before: Model;
  readonly after: Model;
}

async function quantize(build: (g: GraphBuilder) => void, exclude: readonly string[] = []): Promise<Quantized> {
  const g = new GraphBuilder();
  build(g);
  const selected = await selectIn(host, g.model(), ({ name }) => (exclude.includes(name) ? 'excluded by --exclude' : undefined));
  return { before: selected.prepared.model, after: applyStaticPlan(selected.prepared.model, planWith(selected)) };
}

const image = (g: GraphBuilder) => g.input('x', [1, 16, 8, 8]);
const conv = (g: GraphBuilder, name: string, x: string, weight = g.weight(`${name}_w`, [16, 16, 3, 3])) => g.op(name, 'Conv', [x, weight], { attributes: SAME_PADS });
const ofType = (model: Model, opType: string) => model.graph.nodes.filter((node) => node.opType === opType);
const named = (model: Model, name: string): Node => model.graph.nodes.find((node) => node.name === name)!;
/** The constant behind the DequantizeLinear that a node reads. */
const storedAs = (model: Model, node: string, input: number) => {
  const index = indexOf(model.graph);
  const dequantize = index.producer(named(model, node).inputs[input]!)!;
  assert.equal(dequantize.opType, 'DequantizeLinear');
  return { name: dequantize.inputs[0]!, tensor: index.constant(dequantize.inputs[0]!)!, scale: index.constant(dequantize.inputs[1]!)!, dequantize };
};

describe('applyStaticPlan', () => {
  test('keeps the names and order of inputs and outputs', async () => {
    const { before, after } = await quantize((g) => {
      const first = conv(g, 'first', image(g));
      g.output(conv(g, 'second', first), first);
    });
    assert.deepEqual(after.graph.outputs, before.graph.outputs);
    assert.deepEqual(after.graph.inputs, before.graph.inputs);
  });

  test('quantizes a value once, however many read it', async () => {
    const { after } = await quantize((g) => {
      const x = image(g);
      g.output(conv(g, 'a', x), conv(g, 'b', x), conv(g, 'c', x));
    });
    // The input and three outputs.
    assert.equal(ofType(after, 'QuantizeLinear').length, 4);
  });

  test('lets float readers of an input read the input itself', async () => {
    const { after } = await quantize((g) => {
      const x = image(g);
      g.output(conv(g, 'a', x), g.op('tanh', 'Tanh', [x]));
    });
    assert.deepEqual(named(after, 'tanh').inputs, ['x']);
  });

  test('stores a shared weight once, and drops the float one', async () => {
    const { after } = await quantize((g) => {
      const w = g.weight('w', [16, 16, 3, 3]);
      g.output(conv(g, 'second', conv(g, 'first', image(g), w), w));
    });
    assert.equal(storedAs(after, 'first', 1).name, storedAs(after, 'second', 1).name);
    assert.ok(!after.graph.initializers.has('w'));
    assert.equal([...after.graph.initializers.values()].filter(({ dims }) => dims.length === 4).length, 1);
  });

  test('stores a weight for each axis that products share it along', async () => {
    const { after } = await quantize((g) => {
      const w = g.weight('w', [32, 32]);
      const x = g.input('x', [4, 32]);
      g.output(g.op('turned', 'Gemm', [x, w], { attributes: { transB: 1 } }), g.op('plain', 'MatMul', [x, w]));
    });
    const [turned, plain] = [storedAs(after, 'turned', 1), storedAs(after, 'plain', 1)];
    assert.notEqual(turned.name, plain.name);
    assert.deepEqual([turned.dequantize.attributes.get('axis'), plain.dequantize.attributes.get('axis')], [{ kind: 'int', value: 0 }, { kind: 'int', value: 1 }]);
  });

  test('keeps a float weight that a float node reads too', async () => {
    const { after } = await quantize(
      (g) => {
        const w = g.weight('w', [16, 16, 3, 3]);
        const x = image(g);
        g.output(conv(g, 'first', x, w), conv(g, 'second', x, w));
      },
      ['second'],
    );
    assert.ok(after.graph.initializers.has('w'));
    assert.equal(named(after, 'second').inputs[1], 'w');
  });

  test('stores biases as int32 with the product of the scales that they are added to', async () => {
    const { after } = await quantize((g) => g.output(g.op('y', 'Gemm', [g.input('x', [4, 32]), g.weight('w', [32, 8]), g.weight('b', [8])])));
    const bias = storedAs(after, 'y', 2);
    assert.equal(bias.tensor.dtype, 'int32');
    const input = numbersOf(storedPairScale(after, 'y'))[0]!;
    const weight = numbersOf(storedAs(after, 'y', 1).scale);
    assert.deepEqual([...numbersOf(bias.scale)], Array.from(weight, (scale: number) => Math.fround(input * scale)));
  });

  test('gives each zero point once', async () => {
    const { after } = await quantize((g) => {
      let value = image(g);
      for (const name of ['a', 'b', 'c', 'd']) value = conv(g, name, value);
      g.output(value);
    });
    const zeros = [...after.graph.initializers].filter(([name]) => name.startsWith('zero_point'));
    assert.equal(zeros.length, 2, 'one of u8 for values, one of s8 for weights');
  });

  test('takes no name that the graph has, in bodies too', async () => {
    const { after } = await quantize((g) => {
      const first = conv(g, 'first', image(g));
      const body = (name: string) => {
        const inner = new GraphBuilder();
        inner.op(name, 'Tanh', [first], { outputs: ['x_q'.concat(name)] });
        inner.op(`${name}2`, 'Neg', [`x_q${name}`], { outputs: [name === 'then' ? 'first_q' : 'first_f'] });
        inner.output(name === 'then' ? 'first_q' : 'first_f');
        return { kind: 'graph', value: inner.graph() } as const;
      };
      g.output(first, g.op('if', 'If', [g.input('c', [], 'bool')], { attributes: { then_branch: body('then'), else_branch: body('else') } }));
    });
    const names = after.graph.nodes.flatMap(({ outputs }) => outputs);
    assert.ok(!names.includes('first_q') && !names.includes('first_f'));
    assert.equal(new Set(names).size, names.length);
  });

  test('lets a float convolution read integers with one scale a channel, so that the runtime leaves its weight alone', async () => {
    const { after } = await quantize((g) => g.output(conv(g, 'last', conv(g, 'middle', conv(g, 'first', image(g))))), ['middle']);
    const index = indexOf(after.graph);
    const dequantize = index.producer(named(after, 'middle').inputs[0]!)!;
    assert.deepEqual(index.constant(dequantize.inputs[1]!)!.dims, [16]);
    assert.equal(named(after, 'middle').inputs[1], 'middle_w');
    // Nobody else reads the value, so it has no other DequantizeLinear.
    assert.equal(index.uses(dequantize.inputs[0]!).length, 1);
  });

  test('adds com.microsoft to the operator sets where its Q/DQ are used, and only there', async () => {
    const { before, after } = await quantize((g) => g.output(conv(g, 'first', image(g))));
    assert.deepEqual(after.opsets, before.opsets);
    const g = new GraphBuilder(12);
    g.output(conv(g, 'first', image(g)));
    const selected = await selectIn(host, { ...g.model(), opsets: new Map([['', 12]]) });
    assert.equal(applyStaticPlan(selected.prepared.model, planWith(selected)).opsets.get('com.microsoft'), 1);
  });
});

/** Scale of the pair before a node's first input. */
function storedPairScale(model: Model, node: string) {
  const index = indexOf(model.graph);
  return index.constant(index.producer(named(model, node).inputs[0]!)!.inputs[1]!)!;
}

test('scales of one a channel stand along the axis that each operator takes', async () => {
  const { after: quantized } = await quantize((g) => {
    const x = g.input('x', [4, 32]);
    const gemm = (name: string, dims: readonly number[], transB: number) => g.op(name, 'Gemm', [x, g.weight(`${name}_w`, dims), g.weight(`${name}_b`, [16])], { attributes: { transB } });
    g.output(conv(g, 'conv', g.input('picture', [1, 16, 8, 8])), g.op('matmul', 'MatMul', [x, g.weight('w', [32, 16])]), gemm('plain', [32, 16], 0), gemm('turned', [16, 32], 1));
  });
  assert.equal(assertWeightAxes(quantized.graph), 4);
});
