import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { channelMaximaTask } from '../../src/evaluation/channel-maxima.js';
import { floats } from '../metrics/tensors.js';
import { recordingContext, stage, writeSamples } from './workshop.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-maxima-'));
after(() => rmSync(folder, { recursive: true, force: true }));

describe('channelMaximaTask', () => {
  for (const opset of [13, 18]) {
    test(`largest magnitudes along the last axis over the samples named, operator set ${opset}`, async () => {
      const model = stage(folder, 'model.onnx', (g) => void g.output(g.op('z', 'Neg', [g.op('y', 'Mul', [g.input('x', ['n', 2, 3]), g.floats('two', [2], [])])])), opset);
      const data = writeSamples(folder, `data${opset}`, { a: { x: floats([1, 2, 3], [1, -2, 3, -4, 0, 0.5]) }, b: { x: floats([2, 2, 3], [0, 3, 1, 0, 0, 0, -1, -1, -1, 2, 2, 2]) }, c: { x: floats([1, 2, 3], [9, 9, 9, 9, 9, 9]) } });
      const found = await channelMaximaTask.run({ model, values: ['x', 'y'].map((name) => ({ name, channels: 3 })), data, only: ['a.npz', 'b.npz'] }, recordingContext());
      assert.deepEqual([...found].map(([name, maxima]) => [name, ...maxima]), [['x', 4, 3, 3], ['y', 8, 6, 6]]);
    });
  }
});
