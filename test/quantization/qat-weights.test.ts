import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { subgraphsOf } from '../../src/graph/attributes.js';
import type { Model } from '../../src/graph/model.js';
import { checkGraph } from '../../src/graph/check-graph.js';
import { foldConstants } from '../../src/passes/fold-constants.js';
import { recoverGrids } from '../../src/quantization/qat-grid.js';
import { foldWeights, foldWeightsOfBodies } from '../../src/quantization/qat-weights.js';
import { checkQuantizers } from '../../src/quantization/qat-quantizer.js';
import { hasFakeQuantize, recognizeFakeQuantize, roundedValues } from '../../src/quantization/qat-fake-quantize.js';
import { integerArray, type QuantizedType } from '../../src/tensor/affine.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { GraphBuilder, SAME_PADS } from '../helpers/graph-builder.js';
import { parseModel } from '../helpers/graph-text.js';
import { evaluateHere } from '../helpers/same-outputs.js';
import { assertExact, operators } from './qat-model.js';

/** Multiples of half a step, some beyond the range: ties and saturation. */
const TIES = Array.from({ length: 24 }, (_, i) => (i - 11) * 0.5 * 0.25).concat([100, -100, 0.1, -0.1, 31.75, -32, -32.125, 31.875]);

interface WeightCase {
  readonly name: string;
  readonly build: (g: GraphBuilder) => void;
  readonly opset?: number;
  /** Operators after folding. */
  readonly after: readonly string[];
}

const zeros = (g: GraphBuilder, name: string, dtype: QuantizedType, value: number, count?: number) =>
  g.constant(name, tensorFromArray(dtype, count === undefined ? [] : [count], integerArray(dtype, count ?? 1).fill(value)));

function quantized(g: GraphBuilder, value: string, dtype: QuantizedType, scales: readonly number[], { axis, zeroPoint = 0, between = (v: string) => v, axisAfter = axis }: { axis?: number; zeroPoint?: number; between?: (v: string) => string; axisAfter?: number } = {}): string {
  const perChannel = axis !== undefined;
  const s = g.floats(`${value}_s`, scales, perChannel ? [scales.length] : []);
  const z = zeros(g, `${value}_z`, dtype, zeroPoint, perChannel ? scales.length : undefined);
  const attributes = (at: number | undefined) => (at === undefined ? {} : { attributes: { axis: at } });
  const q = g.op(`${value}_q`, 'QuantizeLinear', [value, s, z], attributes(axis));
  return g.op(`${value}_dq`, 'DequantizeLinear', [between(q), s, z], attributes(axisAfter));
}

const CASES: readonly WeightCase[] = [
  ...(['int8', 'uint8'] as const).map((dtype): WeightCase => ({
    name: `${dtype}, per tensor, ties and saturation`,
    build: (g) => g.output(g.op('y', 'Add', [g.input('x', [32]), quantized(g, g.floats('w', TIES), dtype, [0.25], { zeroPoint: dtype === 'int8' ? 3 : 131 })])),
    after: ['DequantizeLinear', 'Add'],
  })),
  ...(['int16', 'uint16'] as const).map((dtype): WeightCase => ({
    name: dtype,
    opset: 21,
    build: (g) => g.output(g.op('y', 'Add', [g.input('x', [32]), quantized(g, g.floats('w', TIES), dtype, [0.001], { zeroPoint: 7 })])),
    after: ['DequantizeLinear', 'Add'],
  })),
  {
    name: 'per channel of a convolution',
    build: (g) => g.output(g.op('y', 'Conv', [g.input('x', [1, 3, 5, 5]), quantized(g, g.weight('w', [4, 3, 3, 3]), 'int8', [0.01, 0.02, 0.003, 0.5], { axis: 0 })], { attributes: SAME_PADS })),
    after: ['DequantizeLinear', 'Conv'],
  },
  {
    name: 'a Transpose between Q and DQ, with negative axes',
    build: (g) => {
      const between = (q: string) => g.op('t', 'Transpose', [q], { attributes: { perm: [1, 0] } });
      g.output(g.op('y', 'MatMul', [g.input('x', [2, 3]), quantized(g, g.weight('w', [4, 3]), 'int8', [0.01, 0.02, 0.003, 0.5], { axis: -2, between, axisAfter: -1 })]));
    },
    after: ['DequantizeLinear', 'MatMul'],
  },
  {
    name: 'a Transpose and a Reshape behind the DQ, which carry the axis',
    build: (g) => {
      const w = quantized(g, g.weight('w', [4, 3, 1]), 'int8', [0.01, 0.02, 0.003, 0.5], { axis: 0 });
      const flat = g.op('r', 'Reshape', [w, g.ints('shape', [0, -1])]);
      g.output(g.op('y', 'MatMul', [g.input('x', [2, 3]), g.op('t', 'Transpose', [flat])]));
    },
    after: ['DequantizeLinear', 'MatMul'],
  },
  {
    name: 'Clip between Q and DQ, for a range of 4 bits',
    build: (g) => {
      const between = (q: string) => g.op('c', 'Clip', [q, zeros(g, 'low', 'int8', -7), zeros(g, 'high', 'int8', 7)]);
      g.output(g.op('y', 'MatMul', [g.input('x', [2, 3]), quantized(g, g.weight('w', [3, 4]), 'int8', [0.05], { between })]));
    },
    after: ['DequantizeLinear', 'MatMul'],
  },
  {
    name: 'Squeeze, Unsqueeze, Flatten and Identity between Q and DQ',
    build: (g) => {
      const between = (q: string) => g.op('i', 'Identity', [g.op('f', 'Flatten', [g.op('u', 'Unsqueeze', [g.op('s', 'Squeeze', [q, g.ints('a', [1])]), g.ints('b', [2])])])]);
      g.output(g.op('y', 'MatMul', [g.input('x', [2, 3]), quantized(g, g.weight('w', [3, 1, 4]), 'uint8', [0.01], { zeroPoint: 120, between })]));
    },
    after: ['DequantizeLinear', 'MatMul'],
  },
];

describe('foldWeights makes the integers that QuantizeLinear makes', () => {
  for (const { name, build, opset = 13, after } of CASES) {
    test(name, async () => {
      const g = new GraphBuilder(opset);
      build(g);
      const before = { ...g.model(), irVersion: 10 };
      const folded = foldWeights(before);
      await assertExact(before, folded);
      assert.deepEqual(operators(folded.model), after);
      assert.deepEqual(checkGraph(folded.model.graph), []);
      assert.ok(![...folded.model.graph.initializers].some(([key, tensor]) => key === 'w' && tensor.dtype === 'float32'), 'the float weight is gone');
      assert.equal(foldWeights(folded.model).model, folded.model, 'a second time it finds nothing');
    });
  }

  test('blocks of 4 bits', async () => {
    const before = parseModel(`
      ir 10
      opset 21
      input x float32[2,4]
      const w float32[4,2] 0.5 -0.75 1.25 0.125 -2 0.3 0.25 9
      const s float32[2,2] 0.25 0.125 0.5 1
      const z int4[2,2] 0 1
      q = QuantizeLinear(w, s, z) axis=0 block_size=2
      dq = DequantizeLinear(q, s, z) axis=0 block_size=2
      y = MatMul(x, dq)
      output y float32[2,2]`.replace('const z int4[2,2] 0 1', 'z = Constant() value=int4[2,2](0 0)'));
    const z = tensorFromArray('int4', [2, 2], Uint8Array.of(0x10, 0x0f));
    const graph = { ...before.graph, nodes: before.graph.nodes.filter(({ opType }) => opType !== 'Constant'), initializers: new Map(before.graph.initializers).set('z', z) };
    const model: Model = { ...before, graph };
    const folded = foldWeights(model);
    // The binding of Node has no 4 bits: the integers are compared with what the formula gives.
    const stored = [...folded.model.graph.initializers.values()].find(({ dims, dtype }) => dtype === 'int4' && dims.join() === '4,2')!;
    assert.deepEqual(Array.from(numbersOf(stored)), [2, -5, 5, 2, -5, 0, -1, 7]);
    assert.deepEqual(operators(folded.model), ['DequantizeLinear', 'MatMul']);
  });

  test('what does not keep channels together stays, with the reason', () => {
    const g = new GraphBuilder();
    const w = quantized(g, g.weight('w', [4, 3, 2]), 'int8', [0.1, 0.2, 0.3], { axis: 1 });
    g.output(g.op('y', 'MatMul', [g.input('x', [2, 12]), g.op('r', 'Reshape', [w, g.ints('shape', [12, 2])])]));
    const { model, changes } = foldWeights(g.model());
    assert.deepEqual(operators(model), ['DequantizeLinear', 'Reshape', 'MatMul']);
    assert.match(changes.map(({ message }) => message).join('\n'), /does not keep the channels of its scales together/);
  });

  test('a scale that is computed stays, with the reason; NaN is an error', () => {
    const g = new GraphBuilder();
    const scale = g.op('s2', 'Abs', [g.input('s', [])]);
    const q = g.op('q', 'QuantizeLinear', [g.weight('w', [3, 4]), scale]);
    g.output(g.op('y', 'MatMul', [g.input('x', [2, 3]), g.op('dq', 'DequantizeLinear', [q, scale])]));
    const { model, changes } = foldWeights(g.model());
    assert.deepEqual(operators(model), ['Abs', 'QuantizeLinear', 'DequantizeLinear', 'MatMul']);
    assert.match(changes[0]!.message, /is no float32 constant/);
    const bad = new GraphBuilder();
    bad.output(bad.op('y', 'Add', [bad.input('x', [2]), quantized(bad, bad.floats('w', [1, NaN]), 'int8', [0.1])]));
    assert.throws(() => foldWeights(bad.model()), { code: 'model-invalid', message: /"w".*NaN/ });
  });
});

describe('foldWeightsOfBodies', () => {
  const branches = (scale: string) => parseModel(`
    input x float32[2,4]
    input c bool[]
    const s float32[] 0.0625
    const w_1 float32[4] 9 9 9 9
    const z int8[] 0
    y = If(c)
      then_branch:
        const w float32[4,4] ~1
        const sw float32[] ${scale}
        const zw int8[] 0
        q = QuantizeLinear(w, sw, zw)
        d = DequantizeLinear(q, sw, zw)
        t = MatMul(x, d)
        a = Add(t, w_1)
        output a
      else_branch:
        e = MatMul(x, outer)
        output e
    const outer float32[4,4] ~2
    output y float32[2,4]`);

  test('stores the integers where the weight stands, under names that hide none around it', async () => {
    const before = branches('0.01');
    const folded = foldWeightsOfBodies(before);
    await assertExact(before, folded);
    const body = subgraphsOf(folded.model.graph.nodes[0]!)[0]!;
    assert.deepEqual(body.nodes.map(({ opType }) => opType), ['DequantizeLinear', 'MatMul', 'Add']);
    assert.equal(body.initializers.get(body.nodes[0]!.inputs[0]!)?.dtype, 'int8');
    assert.ok(!body.initializers.has('w_1'));
    assert.equal(foldWeightsOfBodies(folded.model).model, folded.model);
  });

  test('a scale in a body that makes no sense is refused', () => {
    assert.throws(() => checkQuantizers(branches('0').graph), { code: 'model-invalid', message: /its scale "sw" contains 0/ });
  });
});

describe('recognizeFakeQuantize', () => {
  const SHIFTS = { none: 'xr = Round(xd)', before: 'xa = Add(xd, zp)\n    xr = Round(xa)', after: 'xt = Round(xd)\n    xr = Add(xt, zp)' };

  const spelled = (shift: keyof typeof SHIFTS) => parseModel(`
    input x float32[1,2,4,4]
    const w float32[3,2,1,1] 0.31 -0.2 0.77 0.05 -0.9 0.125
    const sw float32[3,1,1,1] 0.05 0.1 0.125
    const sx float32[] 0.0625
    const low float32[] -7
    const high float32[] 7
    const zero float32[] 0
    const top float32[] 255
    const zp float32[] 128
    wd = Div(w, sw)
    wr = Round(wd)
    wc = Clip(wr, low, high)
    wq = Mul(wc, sw)
    xd = Div(x, sx)
    ${SHIFTS[shift]}
    xc = Clip(xr, ${shift === 'none' ? 'low, high' : 'zero, top'})
    ${shift === 'none' ? 'xq = Mul(xc, sx)' : 'xs = Sub(xc, zp)\n    xq = Mul(xs, sx)'}
    y = Conv(xq, wq)
    output y float32[1,3,4,4]`);

  for (const shift of ['before', 'after'] as const) {
    test(`of weights for each channel and of activations with a zero point that is added ${shift} rounding`, async () => {
      const before = spelled(shift);
      assert.ok(hasFakeQuantize(before));
      const recognized = recognizeFakeQuantize(before);
      await assertExact(before, recognized, 1e-6);
      assert.deepEqual(operators(recognized.model).sort(), ['Clip', 'Conv', 'DequantizeLinear', 'DequantizeLinear', 'QuantizeLinear', 'QuantizeLinear']);
      const folded = foldWeights(recognized.model);
      await assertExact(recognized.model, folded);
      assert.deepEqual(operators(folded.model).sort(), ['Conv', 'DequantizeLinear', 'DequantizeLinear', 'QuantizeLinear']);
    });
  }

  test('another zero point taken away than was added is other arithmetic', () => {
    const before = parseModel(`
      input x float32[4]
      const s float32[] 0.5
      const zp float32[] 3
      const other float32[] 4
      const low float32[] 0
      const high float32[] 255
      d = Div(x, s)
      r = Round(d)
      a = Add(r, zp)
      c = Clip(a, low, high)
      b = Sub(c, other)
      y = Mul(b, s)
      output y float32[4]`);
    assert.ok(!hasFakeQuantize(before));
  });

  test('a range narrower than its type stays as a Clip of integers', async () => {
    const before = spelled('none');
    const recognized = recognizeFakeQuantize(before);
    await assertExact(before, recognized, 1e-6);
    assert.equal(operators(recognized.model).filter((opType) => opType === 'Clip').length, 2);
  });

  test('other arithmetic with Round is left alone', () => {
    const before = parseModel(`
      input x float32[4]
      const s float32[] 0.5
      const other float32[] 0.25
      const low float32[] -7
      const high float32[] 7
      d = Div(x, s)
      r = Round(d)
      c = Clip(r, low, high)
      y = Mul(c, other)
      output y float32[4]`);
    assert.ok(!hasFakeQuantize(before));
    assert.equal(recognizeFakeQuantize(before).model, before);
  });

  test('scales computed from constants, bounds before rounding or as Min and Max, and a straight-through estimator', async () => {
    const before = parseModel(`
      input x float32[1,2,4,4]
      const w float32[3,2,1,1] 0.31 -0.2 0.77 0.05 -0.9 0.125
      const learned float32[] -0.0625
      const steps float32[] 127
      const low float32[] -127
      const high float32[] 127
      sx = Abs(learned)
      xd = Div(x, sx)
      xl = Max(xd, low)
      xc = Min(high, xl)
      xr = Round(xc)
      xq = Mul(xr, sx)
      xe = Sub(xq, x)
      xs = Add(x, xe)
      wa = Abs(w)
      wm = ReduceMax(wa) axes=[1,2,3]
      sw = Div(wm, steps)
      wd = Div(w, sw)
      wc = Clip(wd, low, high)
      wr = Round(wc)
      wq = Mul(wr, sw)
      y = Conv(xs, wq)
      output y float32[1,3,4,4]`);
    assert.ok(hasFakeQuantize(before));
    const scales = await foldConstants(before, evaluateHere, roundedValues(before));
    const recognized = recognizeFakeQuantize(scales.model);
    await assertExact(before, recognized, 1e-6);
    assert.deepEqual(operators(recognized.model).sort(), ['Clip', 'Conv', 'DequantizeLinear', 'DequantizeLinear', 'QuantizeLinear']);
  });
});

describe('recoverGrids', () => {
  const conv = (w: string) => parseModel(`
    input x float32[1,2,4,4]
    const s float32[] 0.05
    const z uint8[] 128
    const w float32[3,2,1,2] ${w}
    q = QuantizeLinear(x, s, z)
    d = DequantizeLinear(q, s, z)
    y = Conv(d, w)
    output y float32[1,3,4,3]`);

  test('float weights that are whole multiples of a scale are stored as integers, and compute the same', async () => {
    const [a, b] = [Math.fround(0.013), Math.fround(0.0271)];
    const before = conv([...[127, -3, 50, 1].map((k) => Math.fround(k * a)), ...[-90, 7, 0, 33].map((k) => Math.fround(k * b)), 0, 0, 0, 0].join(' '));
    const result = recoverGrids(before);
    await assertExact(before, result, 1e-6);
    const { initializers, nodes } = result.model.graph;
    const dequantize = nodes.find(({ outputs }) => outputs[0] === nodes.find(({ opType }) => opType === 'Conv')!.inputs[1])!;
    assert.deepEqual([...numbersOf(initializers.get(dequantize.inputs[0]!)!)], [127, -3, 50, 1, -90, 7, 0, 33, 0, 0, 0, 0]);
    assert.equal(recoverGrids(result.model).model, result.model);
  });

  test('other float weights stay', () => {
    const before = conv('0.31 -0.2 0.77 0.053 -0.9 0.125 0.4 0.39 1 2 3 4.0001');
    assert.equal(recoverGrids(before).model, before);
  });
});
