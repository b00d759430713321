import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { Model } from '../../src/graph/model.js';
import { decodeModel } from '../../src/onnx/model-codec.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import { inferTypes } from '../../src/runtime/infer-types.js';
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

const tensor = (dtype: string, shape?: readonly (number | string | null)[]) => ({ kind: 'tensor', dtype, ...(shape ? { shape } : {}) });

describe('inferTypes', () => {
  test('tells types and shapes of inputs, outputs and values inside', async () => {
    const types = await inferTypes(
      host,
      modelOf((g) => {
        const conv = g.op('conv', 'Conv', [g.input('x', ['n', 3, 'h', 'w']), g.weight('w', [8, 3, 3, 3])], { attributes: { pads: [1, 1, 1, 1] } });
        const flat = g.op('flat', 'Flatten', [g.op('pool', 'GlobalAveragePool', [conv])]);
        g.output(g.op('y', 'Gemm', [flat, g.weight('v', [8, 4])]), g.op('size', 'Shape', [conv]), g.op('is', 'Greater', [flat, g.floats('zero', [0], [])]));
      }),
      '/nowhere',
    );
    assert.deepEqual(types.get('x'), tensor('float32', ['n', 3, 'h', 'w']));
    assert.deepEqual(types.get('conv'), tensor('float32', ['n', 8, null, null]));
    assert.deepEqual(types.get('pool'), tensor('float32', ['n', 8, 1, 1]));
    assert.deepEqual(types.get('flat'), tensor('float32', ['n', 8]));
    assert.deepEqual(types.get('y'), tensor('float32', ['n', 4]));
    assert.deepEqual(types.get('size'), tensor('int64', [4]));
    assert.deepEqual(types.get('is'), tensor('bool', ['n', 8]));
  });

  test('claims no shape for scalars and unknown ranks', async () => {
    const types = await inferTypes(
      host,
      modelOf((g) => {
        const x = g.input('x', [4]);
        g.output(g.op('sum', 'ReduceSum', [x], { attributes: { keepdims: 0 } }), g.op('shaped', 'Reshape', [x, g.input('shape', ['rank'], 'int64')]));
      }),
      '/nowhere',
    );
    assert.deepEqual(types.get('sum'), tensor('float32'));
    assert.deepEqual(types.get('shaped'), tensor('float32'));
  });

  test('knows what is no tensor, and types below float32', async () => {
    const types = await inferTypes(
      host,
      modelOf((g) => g.output(g.op('list', 'SequenceConstruct', [g.op('half', 'Cast', [g.input('x', [2])], { attributes: { to: 10 } })]))),
      '/nowhere',
    );
    assert.deepEqual(types.get('list'), { kind: 'opaque' });
    assert.deepEqual(types.get('half'), tensor('float16', [2]));
  });

  test('does not read large weights, and needs no side file of theirs', async () => {
    const unreadable = { byteLength: 4 * 64 * 64, read: () => assert.fail('the weight was read'), readRange: () => assert.fail('the weight was read') };
    const types = await inferTypes(
      host,
      modelOf((g) => g.output(g.op('y', 'MatMul', [g.input('x', ['n', 64]), g.constant('w', { dtype: 'float32', dims: [64, 64], storage: unreadable })]))),
      '/nowhere',
    );
    assert.deepEqual(types.get('y'), tensor('float32', ['n', 64]));
  });

  test('keeps small constants, which shapes follow from', async () => {
    const types = await inferTypes(host, modelOf((g) => g.output(g.op('y', 'Reshape', [g.input('x', [4, 6]), g.ints('shape', [3, 8])]))), '/nowhere');
    assert.deepEqual(types.get('y'), tensor('float32', [3, 8]));
  });

  test('reads small constants from the folder of the side files', async (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(join(folder, 'w.bin'), new Uint8Array(12));
    const model = decodeModel(modelWith(externalTensor(3, { location: 'w.bin', length: 12 })), { directory: folder });
    assert.deepEqual((await inferTypes(host, model, folder)).get('y'), tensor('float32', [3]));
  });

  test('takes weights that are inputs or outputs too, and values that bodies read', async () => {
    const types = await inferTypes(
      host,
      modelOf((g) => {
        const w = g.weight('w', [64, 64]);
        const then_branch = new GraphBuilder(17);
        then_branch.output(then_branch.op('then_y', 'MatMul', ['m', w]));
        const else_branch = new GraphBuilder(17);
        else_branch.output(else_branch.op('else_y', 'Neg', ['m']));
        g.op('m', 'MatMul', [g.input('x', ['n', 64]), g.weight('v', [64, 64])]);
        const attributes = { then_branch: { kind: 'graph', value: then_branch.graph() }, else_branch: { kind: 'graph', value: else_branch.graph() } } as const;
        g.output(g.op('y', 'If', [g.input('c', [], 'bool')], { attributes }), w);
        g.input('v', [64, 64]);
      }),
      '/nowhere',
    );
    assert.deepEqual(types.get('m'), tensor('float32', ['n', 64]));
    assert.deepEqual(types.get('w'), tensor('float32', [64, 64]));
    assert.ok(types.has('y'));
  });

  test('refuses what the runtime refuses', async () => {
    await assert.rejects(inferTypes(host, modelOf((g) => g.output(g.op('y', 'Relu', [g.input('x', [1], 'string')]))), '/nowhere'), { code: 'runtime-rejected' });
  });

  test('knows what is declared where the runtime lacks an operator', async () => {
    const types = await inferTypes(host, modelOf((g) => g.output(g.op('y', 'NoSuchOperator', [g.op('m', 'Neg', [g.input('x', ['n', 2])])]))), '/nowhere');
    assert.deepEqual([...types], [['x', tensor('float32', ['n', 2])]]);
  });

  test('leaves out values of types that the binding cannot describe, and knows the others', async () => {
    const types = await inferTypes(
      host,
      modelOf((g) => {
        const rounded = g.op('rounded', 'Cast', [g.op('m', 'Neg', [g.input('x', [2, 3])])], { attributes: { to: 16 } });
        g.output(g.op('y', 'Cast', [rounded], { attributes: { to: 1 } }));
      }),
      '/nowhere',
    );
    assert.deepEqual([types.get('m'), types.get('y'), types.has('rounded')], [tensor('float32', [2, 3]), tensor('float32', [2, 3]), false]);
  });
});
