import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { Model } from '../../src/graph/model.js';
import { decodeModel } from '../../src/onnx/model-codec.js';
import { constantEvaluator } from '../../src/runtime/evaluate-constants.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import { memoryStorage, tensorFromArray } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { externalTensor, modelWith } from '../onnx/small-model.js';

const host = new RuntimeHost();
after(() => host.close());

function modelOf(build: (g: GraphBuilder) => void): Model {
  const g = new GraphBuilder(17);
  build(g);
  return g.model();
}

describe('constantEvaluator', () => {
  const evaluate = constantEvaluator(host, '/nowhere');

  test('computes values of every type from constants', async () => {
    const model = modelOf((g) => {
      const c = g.floats('c', [1.5, -2.5, 3]);
      g.op('negated', 'Neg', [c]);
      g.op('half', 'Cast', [c], { attributes: { to: 10 } });
      g.op('wide', 'Cast', [c], { attributes: { to: 7 } });
      g.op('positive', 'Greater', [c, g.floats('zero', [0], [])]);
      g.op('none', 'Slice', [c, g.ints('from', [1]), g.ints('to', [1])]);
      g.op('scalar', 'ReduceSum', [c], { attributes: { keepdims: 0 } });
    });
    const values = await evaluate(model, ['negated', 'half', 'wide', 'positive', 'none', 'scalar']);
    assert.deepEqual([...numbersOf(values.get('negated')!)], [-1.5, 2.5, -3]);
    assert.deepEqual([values.get('half')!.dtype, ...numbersOf(values.get('half')!)], ['float16', 1.5, -2.5, 3]);
    assert.deepEqual([values.get('wide')!.dtype, ...numbersOf(values.get('wide')!)], ['int64', 1, -2, 3]);
    assert.deepEqual([values.get('positive')!.dtype, ...numbersOf(values.get('positive')!)], ['bool', 1, 0, 1]);
    assert.deepEqual(values.get('none')!.dims, [0]);
    assert.deepEqual([values.get('scalar')!.dims, ...numbersOf(values.get('scalar')!)], [[], 2]);
  });

  test('gives only what was asked for', async () => {
    const model = modelOf((g) => {
      g.op('a', 'Neg', [g.floats('c', [1])]);
      g.op('b', 'Neg', ['a']);
    });
    assert.deepEqual([...(await evaluate(model, ['b'])).keys()], ['b']);
  });

  test('computes in float32 as the runtime does, subnormal numbers too', async () => {
    const model = modelOf((g) => g.op('y', 'Mul', [g.floats('a', [1e-30, 0.1]), g.floats('b', [1e-12, 3])]));
    const [tiny, third] = numbersOf((await evaluate(model, ['y'])).get('y')!);
    assert.equal(tiny, Math.fround(Math.fround(1e-30) * Math.fround(1e-12)));
    assert.equal(third, Math.fround(Math.fround(0.1) * 3));
  });

  test('reads side files', async (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(join(folder, 'w.bin'), new Uint8Array(Float32Array.of(1, 2, 3).buffer));
    const model = decodeModel(modelWith(externalTensor(3, { location: 'w.bin', length: 12 }), { node: [{ input: ['w'], output: ['y'], op_type: 'Neg' }], input: [] }), { directory: folder });
    assert.deepEqual([...numbersOf((await constantEvaluator(host, folder)(model, ['y'])).get('y')!)], [-1, -2, -3]);
  });

  test('leaves out what would take more than a bound, and what depends on it', async () => {
    const model = modelOf((g) => {
      g.op('huge', 'ConstantOfShape', [g.ints('dims', [2 ** 20, 2 ** 20])]);
      g.op('sum', 'ReduceSum', ['huge'], { attributes: { keepdims: 0 } });
      g.op('both', 'Add', ['sum', g.floats('c', [1, 2])]);
      g.op('small', 'Neg', ['c']);
    });
    assert.deepEqual([...(await evaluate(model, ['both', 'small', 'sum'])).keys()], ['small']);
    assert.deepEqual((await evaluate(model, ['both'])).size, 0);
    const bounded = constantEvaluator(host, '/nowhere', 16);
    const expand = modelOf((g) => g.op('y', 'Expand', [g.floats('c', [1]), g.ints('dims', [4])]));
    assert.deepEqual([...numbersOf((await bounded(expand, ['y'])).get('y')!)], [1, 1, 1, 1]);
    assert.equal((await constantEvaluator(host, '/nowhere', 15)(expand, ['y'])).size, 0);
  });

  test('an operator that fails is an error', async () => {
    const model = modelOf((g) => g.op('y', 'Gather', [g.floats('c', [1]), g.constant('i', tensorFromArray('int64', [1], BigInt64Array.of(7n)))]));
    await assert.rejects(evaluate(model, ['y']), { code: 'runtime-rejected' });
  });

  test('its results outlive the session', async () => {
    const model = modelOf((g) => g.op('y', 'Neg', [g.constant('c', { dtype: 'float32', dims: [1000], storage: memoryStorage(new Uint8Array(4000)) })]));
    const first = (await evaluate(model, ['y'])).get('y')!;
    const before = first.storage.read().slice();
    await evaluate(modelOf((g) => g.op('z', 'Exp', [g.weight('c', [1000])])), ['z']);
    assert.deepEqual(first.storage.read(), before);
  });
});
