import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import type { Model } from '../../src/graph/model.js';
import { allNodes } from '../../src/graph/traversal.js';
import { narrowFloat16, removeIdleCasts, widenFloat16 } from '../../src/passes/widen-float16.js';
import { isComputeNode } from '../../src/runtime/kernels.js';
import { numberToFloat16 } from '../../src/tensor/float16.js';
import { elementCount, tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { noise } from '../helpers/graph-builder.js';
import { parseModel, printModel } from '../helpers/graph-text.js';
import { outputsOf } from '../helpers/same-outputs.js';

const half = (dims: readonly number[], seed: number): Tensor =>
  tensorFromArray('float16', dims, Uint16Array.from(noise(elementCount(dims), seed), (value) => numberToFloat16(value / 4)));

/** The model of a text, with float16 noise for the constants that it declares as int32 of the same shape. */
function halfModel(text: string): Model {
  const model = parseModel(text);
  const constants = [...model.graph.initializers].map(([name, tensor], i): [string, Tensor] => [name, tensor.dtype === 'int32' ? half(tensor.dims, i) : tensor]);
  return { ...model, graph: { ...model.graph, initializers: new Map(constants) } };
}

const MODEL = `
  ir 8
  opset 15
  input x float16[2,32]
  input c bool[]
  const w int32[32,32] ~1
  const b int32[32] ~1
  const small float32[1] 2
  m = MatMul(x, w)
  h = Add(m, b)
  f = Cast(h) to=1
  d = Mul(f, small)
  i = If(c)
    then_branch:
      t16 = Cast(d) to=10
      t = MatMul(t16, w)
      output t float16[2,32]
    else_branch:
      k = Constant() value=float16[1](15360)
      e = Add(h, k)
      output e float16[2,32]
  y = Relu(i)
  output y float16[2,32]
  output h float16[2,32]`;

const widen = (model: Model) => widenFloat16(model, isComputeNode);

function assertClose(actual: ReadonlyMap<string, Tensor>, expected: ReadonlyMap<string, Tensor>): void {
  for (const [name, tensor] of expected) {
    const received = actual.get(name)!;
    assert.deepEqual([received.dtype, received.dims], [tensor.dtype, tensor.dims], name);
    const values = numbersOf(received);
    numbersOf(tensor).forEach((value, i) => assert.ok(Math.abs(value - values[i]!) < 0.01, `${name}[${i}]: ${values[i]} instead of ${value}`));
  }
}

const feeds = (c: number) => new Map([['x', half([2, 32], 50)], ['c', tensorFromArray('bool', [], Uint8Array.of(c))]]);

describe('a float16 model computes in float32 and keeps its inputs and outputs', () => {
  const model = halfModel(MODEL);
  const { model: wide, changes } = widen(model);

  test('also in bodies, and with an output that nodes read', async () => {
    assert.equal(changes.length, 1);
    assert.deepEqual(checkGraph(wide.graph), []);
    assert.equal(widen(wide).model, wide);
    for (const { dtype } of wide.graph.initializers.values()) assert.equal(dtype, 'float32');
    for (const c of [0, 1]) assertClose(await outputsOf(wide, feeds(c)), await outputsOf(model, feeds(c)));
  });

  test('casts that change no type any more go', async () => {
    const types = new Map([...wide.graph.nodes].flatMap((node) => node.outputs.map((name) => [name, { kind: 'tensor', dtype: name === 'y' || name === 'h' ? 'float16' : 'float32' }] as const)));
    const { model: result } = removeIdleCasts(wide, types);
    assert.equal([...allNodes(result.graph)].filter(({ opType }) => opType === 'Cast').length, [...allNodes(wide.graph)].filter(({ opType }) => opType === 'Cast').length - 1);
    for (const c of [0, 1]) assertClose(await outputsOf(result, feeds(c)), await outputsOf(model, feeds(c)));
  });

  test('what stays float is stored as it was', async () => {
    const { model: narrow } = narrowFloat16(wide, model);
    assert.deepEqual([...narrow.graph.initializers].map(([name, tensor]) => [name, tensor === model.graph.initializers.get('w')]), [['w_f16', true], ['b', false], ['small', false]]);
    for (const c of [0, 1]) assertClose(await outputsOf(narrow, feeds(c)), await outputsOf(wide, feeds(c)));
  });

  test('constants that folding made of float16 are stored in float16 again, and others are not', () => {
    const exact = Float32Array.from(noise(1024, 3), (value) => Math.round(value * 64) / 64);
    const off = exact.slice().fill(1 / 3, 5, 6);
    const made = { ...model, graph: { ...model.graph, initializers: new Map([['w', tensorFromArray('float32', [32, 32], exact)], ['b', tensorFromArray('float32', [32, 32], off)]]) } };
    assert.deepEqual([...narrowFloat16(made, model).model.graph.initializers.keys()], ['w_f16', 'b']);
    assert.equal(narrowFloat16(made, parseModel('input x float32[1]\ny = Neg(x)\noutput y')).model, made, 'not where the source has no float16');
  });
});

describe('models that keep float16', () => {
  for (const [why, text] of [
    ['no product has a float16 constant', 'ir 8\nopset 15\ninput x float16[2,2]\ny = Add(x, x)\noutput y float16[2,2]'],
    ['the weight is float32', 'ir 8\nopset 15\ninput x float32[2,2]\nconst w float32[2,2] ~1\ny = MatMul(x, w)\noutput y float32[2,2]'],
  ] as const) {
    test(why, () => {
      const model = halfModel(text);
      assert.deepEqual(widen(model), { model, changes: [] });
    });
  }

  test('operators of unknown domains, which a change names', () => {
    const model = halfModel('ir 8\nopset 15\nopset acme 1\ninput x float16[2,2]\nconst w int32[2,2] ~1\nm = MatMul(x, w)\ny = acme::Odd(m)\noutput y float16[2,2]');
    const { model: same, changes } = widen(model);
    assert.equal(printModel(same), printModel(model));
    assert.match(changes[0]!.message, /stays in float16, because .*acme\.Odd/);
  });
});
