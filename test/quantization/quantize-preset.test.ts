import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { quantize } from '../../src/quantize.js';
import { quantizePreset, transformersJsRecipes } from '../../src/quantize-preset.js';
import { describePreset } from '../../src/report/preset-report.js';
import { renderMarkdown } from '../../src/report/markdown.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

describe('transformers.js', () => {
  test('judged in onnxruntime-web: the table says so, with the threads that ran', async (t) => {
    const folder = temporaryFolder(t);
    const g = new GraphBuilder();
    g.output(g.op('y', 'MatMul', [g.input('x', [4, 64]), g.weight('w', [64, 64])]));
    const model = join(folder, 'model.onnx');
    writeFileSync(model, encodeModel(g.model()));
    const result = await quantizePreset({ preset: 'transformers.js', model, output: join(folder, 'onnx'), data: ['random:2'], runtime: 'web' });
    assert.equal(result.runtime, 'web');
    // Its own number of threads is half of the cores, four at most; for onnxruntime-node it would be 0, one for each core.
    for (const { suffix, check } of result.variants) assert.ok(check!.threads >= 1 && check!.threads <= 4 && check!.speedup! > 0, suffix);
    assert.match(renderMarkdown(describePreset(result, { warnings: false })), /in onnxruntime-web; speed-up: .* \d threads?/);
    // Blocks are multiplied as floats there, so that rounding of activations is no part of their error.
    const { options } = transformersJsRecipes(g.model()).find(({ suffix }) => suffix === '_q4')!;
    const inNode = await quantize({ ...options, model, output: join(folder, 'node.onnx'), data: ['random:2'] });
    assert.notEqual(result.variants.find(({ suffix }) => suffix === '_q4')!.check!.sqnrDb['y'], inNode.check!.sqnrDb['y']);
  });

  test('a file that cannot be is not there, and the table says why', async (t) => {
    const folder = temporaryFolder(t);
    const g = new GraphBuilder();
    g.output(g.op('y', 'Conv', [g.input('x', [1, 8, 12, 12]), g.weight('w', [8, 8, 3, 3])]));
    const model = join(folder, 'net.onnx');
    writeFileSync(model, encodeModel(g.model()));
    const result = await quantizePreset({ preset: 'transformers.js', model, output: join(folder, 'out') });
    assert.deepEqual(result.variants.filter(({ output }) => output).map(({ suffix }) => suffix), ['_fp16', '_quantized', '_uint8']);
    assert.deepEqual(readdirSync(join(folder, 'out')).sort(), ['net_fp16.onnx', 'net_quantized.onnx', 'net_uint8.onnx']);
    assert.match(renderMarkdown(describePreset(result, { warnings: false })), /net_q4\.onnx \| not written: .*Conv "y" stays float/);
  });

  test('options that differ from file to file are refused', async (t) => {
    const output = temporaryFolder(t);
    for (const [option, text] of [[{ weightType: 'int8' }, /--weight-type/], [{ mode: 'dynamic' }, /--mode/], [{ dryRun: true }, /--dry-run/]] as const) {
      await assert.rejects(quantizePreset({ preset: 'transformers.js', model: 'model.onnx', output, ...option }), { code: 'usage', message: text });
    }
  });
});
