import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { readModel } from '../../src/onnx/read-model.js';
import { externalStorages } from '../../src/onnx/model-tensors.js';
import { writeModel } from '../../src/onnx/write-model.js';
import { quantizePreset } from '../../src/quantize-preset.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

/**
 * What transformers.js puts between the model's name and ".onnx" for each `dtype` that has to do with this preset; it has others, for 1 and 2 bits
 * and bnb4. Source: npm package @huggingface/transformers 4.3.1, src/utils/dtypes.js, DEFAULT_DTYPE_SUFFIX_MAPPING.
 */
const SUFFIX_BY_DTYPE = { fp32: '', fp16: '_fp16', int8: '_int8', uint8: '_uint8', q8: '_quantized', q4: '_q4', q4f16: '_q4f16' } as const;

/**
 * Where it looks for a model: in the sub-folder `onnx` (the default of `subfolder`, src/utils/hub.js), a file named by session, suffix and ending
 * (getCoreModelFile in src/utils/model-loader.js); encoders have the one session `model`.
 */
const fileOf = (folder: string, dtype: keyof typeof SUFFIX_BY_DTYPE) => join(folder, 'onnx', `model${SUFFIX_BY_DTYPE[dtype]}.onnx`);

/** The first side file of a model file, where `use_external_data_format` is set (getExternalDataChunkNames in src/utils/model-loader.js). */
const sideFileOf = (file: string) => `${file}_data`;

function product(): GraphBuilder {
  const g = new GraphBuilder();
  g.output(g.op('y', 'MatMul', [g.input('x', [4, 64]), g.weight('w', [64, 64])]));
  return g;
}

test('what transformers.js looks for is what the preset writes, side files with it', async (t) => {
  const folder = temporaryFolder(t);
  const model = join(folder, 'model.onnx');
  await writeModel(model, product().model(), { externalData: 'always' });
  const { variants } = await quantizePreset({ preset: 'transformers.js', model, output: join(folder, 'onnx'), data: ['random:2'] });
  const { fp32: _, ...others } = SUFFIX_BY_DTYPE;
  const looked = Object.keys(others).map((dtype) => fileOf(folder, dtype as keyof typeof others));
  const found = readdirSync(join(folder, 'onnx')).map((name) => join(folder, 'onnx', name));
  assert.deepEqual(found.sort(), looked.flatMap((file) => [file, sideFileOf(file)]).sort());
  for (const { output } of variants) {
    const sides = new Set(externalStorages(await readModel(output!.path)).map(({ location }) => location));
    assert.deepEqual([...sides], [basename(sideFileOf(output!.path))]);
  }
});
