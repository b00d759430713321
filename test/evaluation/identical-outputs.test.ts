import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { identicalOutputsTask } from '../../src/evaluation/identical-outputs.js';
import type { StagedModel } from '../../src/runtime/staged-model.js';
import type { GraphBuilder } from '../helpers/graph-builder.js';
import { floats } from '../metrics/tensors.js';
import { recordingContext, stage, writeSamples } from './workshop.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-identical-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const data = writeSamples(folder, 'data', { a: { x: floats([1, 3], [1, -2, 3]) }, b: { x: floats([1, 3], [0, 0, 0]) } });

async function different(a: StagedModel, b: StagedModel, from = data): Promise<string[]> {
  return identicalOutputsTask.run({ a, b, data: from }, recordingContext());
}

/** Two outputs: u = x + c and v = −x. */
const model = (name: string, c: readonly number[], more: (g: GraphBuilder) => void = () => undefined): StagedModel =>
  stage(folder, name, (g) => {
    const x = g.input('x', ['n', 3]);
    g.output(g.op('u', 'Add', [x, g.floats('c', c)]), g.op('v', 'Neg', [x]));
    more(g);
  });

const original = model('original.onnx', [1, 2, 3]);

describe('identicalOutputsTask', () => {
  test('finds nothing where all bits are equal', async () => {
    assert.deepEqual(await different(original, model('same.onnx', [1, 2, 3])), []);
  });

  test('names the output that differs, be it in the last bit', async () => {
    assert.deepEqual(await different(original, model('bit.onnx', [1, 2, 3 + 2 ** -21])), ['u']);
  });

  test('looks at the first sample only', async () => {
    const product = (name: string, factor: number) => stage(folder, name, (g) => void g.output(g.op('y', 'Mul', [g.input('x', ['n', 3]), g.floats('c', [factor])])));
    const zeros = writeSamples(folder, 'zeros', { a: { x: floats([1, 3], [0, 0, 0]) }, b: { x: floats([1, 3], [1, 1, 1]) } });
    assert.deepEqual(await different(product('one.onnx', 1), product('two.onnx', 2), zeros), []);
    assert.deepEqual(await different(product('one.onnx', 1), product('two.onnx', 2)), ['y']);
  });

  test('an output that is missing, of another type or of another shape differs', async () => {
    const other = (name: string, build: (g: GraphBuilder, x: string) => string) =>
      stage(folder, name, (g) => {
        const x = g.input('x', ['n', 3]);
        g.output(g.op('v', 'Neg', [x]), build(g, x));
      });
    assert.deepEqual(await different(original, other('missing.onnx', (g, x) => g.op('w', 'Neg', [x]))), ['u']);
    assert.deepEqual(await different(original, other('double.onnx', (g, x) => g.op('u', 'Cast', [g.op('s', 'Add', [x, g.floats('c', [1, 2, 3])])], { attributes: { to: 11 } }))), ['u']);
    assert.deepEqual(await different(original, other('flat.onnx', (g, x) => g.op('u', 'Flatten', [g.op('s', 'Add', [x, g.floats('c', [1, 2, 3])])], { attributes: { axis: 0 } }))), []);
    assert.deepEqual(await different(original, other('tall.onnx', (g, x) => g.op('u', 'Flatten', [g.op('s', 'Add', [x, g.floats('c', [1, 2, 3])])], { attributes: { axis: 2 } }))), ['u']);
  });

  test('outputs that only the second model has do not count', async () => {
    assert.deepEqual(await different(original, model('more.onnx', [1, 2, 3], (g) => void g.output(g.op('w', 'Abs', ['x'])))), []);
  });

  test('NaN is what its bits are', async () => {
    const root = (name: string) => stage(folder, name, (g) => void g.output(g.op('y', 'Sqrt', [g.input('x', ['n', 3])])));
    assert.deepEqual(await different(root('root-a.onnx'), root('root-b.onnx')), []);
  });
});
