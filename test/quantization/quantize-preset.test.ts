import assert from 'node:assert/strict';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { readModel } from '../../src/onnx/read-model.js';
import { writeModel } from '../../src/onnx/write-model.js';
import { quantizePreset } from '../../src/quantize-preset.js';
import { describePreset } from '../../src/report/preset-report.js';
import { renderMarkdown } from '../../src/report/markdown.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { floatSampleModels } from '../helpers/shared-models.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

const SUFFIXES = ['_fp16', '_quantized', '_int8', '_uint8', '_q4', '_q4f16'];

describe('transformers.js', () => {
  for (const { name, path } of floatSampleModels()) {
    test(`every file of samples/${name} is loaded and judged`, async (t) => {
      const output = join(temporaryFolder(t), 'onnx');
      const result = await quantizePreset({ preset: 'transformers.js', model: path, output, data: [join(dirname(path), 'test')], limit: 4, threads: 1, target: 'ort-x64' });
      assert.deepEqual(readdirSync(output).sort(), SUFFIXES.map((suffix) => `model${suffix}.onnx`).sort());
      assert.deepEqual(result.variants.map(({ suffix }) => suffix), SUFFIXES);
      for (const { suffix, check, output: written } of result.variants) {
        for (const sqnrDb of Object.values(check!.sqnrDb)) assert.ok(sqnrDb! > (suffix.startsWith('_q4') ? 15 : 20), `${suffix}: ${sqnrDb}`);
        assert.ok(check!.speedup! > 0);
        // What browsers lack: convolutions with s8 weights.
        const { graph } = await readModel(written!.path);
        for (const { opType, inputs } of graph.nodes) if (opType === 'ConvInteger') assert.equal(graph.initializers.get(inputs[1]!)?.dtype, 'uint8');
      }
      const sizeOf = (suffix: string) => result.variants.find((variant) => variant.suffix === suffix)!.output!.sizeBytes;
      assert.ok(sizeOf('_q4f16') < sizeOf('_fp16') && sizeOf('_fp16') < result.model.sizeBytes * 0.55);
      const text = renderMarkdown(describePreset(result, { warnings: true }));
      for (const suffix of SUFFIXES) assert.ok(text.includes(`| model${suffix}.onnx |`), text);
    });
  }

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
    const inNode = await quantizePreset({ preset: 'transformers.js', model, output: join(folder, 'node'), data: ['random:2'] });
    const q4 = ({ variants }: typeof result) => variants.find(({ suffix }) => suffix === '_q4')!.check!.sqnrDb['y']!;
    assert.notEqual(q4(result), q4(inNode));
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

  test('side files are named as transformers.js looks for them', async (t) => {
    const folder = temporaryFolder(t);
    const g = new GraphBuilder();
    g.output(g.op('y', 'MatMul', [g.input('x', [4, 64]), g.weight('w', [64, 64])]));
    const model = join(folder, 'model.onnx');
    await writeModel(model, g.model(), { externalData: 'always' });
    await quantizePreset({ preset: 'transformers.js', model, output: folder, data: ['random:2'] });
    for (const suffix of SUFFIXES) assert.ok(existsSync(join(folder, `model${suffix}.onnx_data`)), suffix);
    await readModel(join(folder, 'model_q4.onnx'));
  });

  test('options that differ from file to file are refused', async (t) => {
    const output = temporaryFolder(t);
    for (const [option, text] of [[{ weightType: 'int8' }, /--weight-type/], [{ mode: 'dynamic' }, /--mode/], [{ dryRun: true }, /--dry-run/]] as const) {
      await assert.rejects(quantizePreset({ preset: 'transformers.js', model: 'model.onnx', output, ...option }), { code: 'usage', message: text });
    }
  });
});
