import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { readPreprocessorConfig } from '../../src/data/preprocessor-config.js';
import { assertFails, folderWith } from './support.js';

const NORMAL = { image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] };

function read(t: TestContext, config: object | string) {
  const text = typeof config === 'string' ? config : JSON.stringify(config);
  return readPreprocessorConfig(join(folderWith(t, { 'preprocessor_config.json': text }), 'preprocessor_config.json'));
}

test('readPreprocessorConfig reads a ViT processor', async (t) => {
  const { options, notes } = await read(t, {
    image_processor_type: 'ViTImageProcessor',
    do_resize: true,
    size: { height: 224, width: 224 },
    resample: 2,
    do_rescale: true,
    rescale_factor: 0.00392156862745098,
    do_normalize: true,
    ...NORMAL,
  });
  assert.deepEqual(options, {
    resize: { width: 224, height: 224 },
    resample: 'bilinear',
    scale: 1 / 255,
    mean: NORMAL.image_mean,
    std: NORMAL.image_std,
  });
  assert.deepEqual(notes, []);
});

test('readPreprocessorConfig reads a CLIP processor, old and new', async (t) => {
  const common = { do_resize: true, resample: 3, do_center_crop: true, do_normalize: true, ...NORMAL };
  const expected = { resize: 224, crop: { width: 224, height: 224 }, resample: 'bicubic', scale: 1 / 255, mean: NORMAL.image_mean, std: NORMAL.image_std };
  const old = await read(t, { ...common, feature_extractor_type: 'CLIPFeatureExtractor', size: 224, crop_size: 224 });
  assert.deepEqual(old.options, expected);
  const today = await read(t, { ...common, image_processor_type: 'CLIPImageProcessor', size: { shortest_edge: 224 }, crop_size: { height: 224, width: 224 } });
  assert.deepEqual(today.options, expected);
});

test('readPreprocessorConfig takes one number as a square or as the shorter edge, by the processor', async (t) => {
  const resize = async (type: string | undefined, more: object = {}) => (await read(t, { ...(type && { feature_extractor_type: type }), size: 256, ...more })).options.resize;
  assert.deepEqual(await resize('ViTFeatureExtractor'), { width: 256, height: 256 });
  assert.deepEqual(await resize('DeiTFeatureExtractor', { do_center_crop: true, crop_size: 224 }), { width: 256, height: 256 });
  assert.equal(await resize('MobileViTFeatureExtractor', { do_center_crop: true, crop_size: 224 }), 256);
  assert.equal(await resize(undefined, { do_center_crop: true, crop_size: 224 }), 256);
  assert.deepEqual(await resize(undefined), { width: 256, height: 256 });
});

test('readPreprocessorConfig knows the enlarged resize of ConvNeXt and its kin', async (t) => {
  const sizes = async (config: object) => {
    const { resize, crop } = (await read(t, config)).options;
    return { resize, crop };
  };
  const type = { feature_extractor_type: 'ConvNextFeatureExtractor' };
  assert.deepEqual(await sizes({ ...type, size: 224, crop_pct: 0.875 }), { resize: 256, crop: 224 });
  assert.deepEqual(await sizes({ ...type, size: { shortest_edge: 224 } }), { resize: 256, crop: 224 });
  assert.deepEqual(await sizes({ ...type, size: 384 }), { resize: { width: 384, height: 384 }, crop: undefined });
  const pool = { image_processor_type: 'PoolFormerImageProcessor', size: { shortest_edge: 224 }, crop_pct: 0.9, do_center_crop: true, crop_size: { height: 224, width: 224 } };
  assert.deepEqual(await sizes(pool), { resize: 248, crop: { width: 224, height: 224 } });
});

test('readPreprocessorConfig follows the do_ switches', async (t) => {
  const off = await read(t, { do_resize: false, size: 8, do_center_crop: false, crop_size: 4, do_rescale: false, do_normalize: false, ...NORMAL });
  assert.deepEqual(off.options, { scale: 1, mean: [0], std: [1] });
  const flipped = await read(t, { do_flip_channel_order: true, do_normalize: false });
  assert.equal(flipped.options.channels, 'bgr');
});

test('readPreprocessorConfig moves the offset of EfficientNet into the mean', async (t) => {
  const { options } = await read(t, { rescale_factor: 1 / 127.5, rescale_offset: true, do_normalize: false });
  assert.deepEqual(options, { scale: 1 / 127.5, mean: [1], std: [1] });
});

test('readPreprocessorConfig notes steps that it does not do', async (t) => {
  assert.match((await read(t, { do_pad: true })).notes.join(), /do_pad is not applied/);
});

test('readPreprocessorConfig refuses what it does not understand', async (t) => {
  await assertFails(() => read(t, '{'), 'data-invalid', /is not JSON/);
  await assertFails(() => read(t, '[]'), 'data-invalid', /expected a JSON object/);
  await assertFails(() => read(t, { size: { longest_edge: 800, shortest_edge: 600 } }), 'data-invalid', /size is .*longest_edge/, /--resize/);
  await assertFails(() => read(t, { size: 'large' }), 'data-invalid', /size is "large"/);
  await assertFails(() => read(t, { resample: 9 }), 'data-invalid', /resample 9, expected 0 to 5/);
  await assertFails(() => read(t, { do_normalize: true }), 'data-invalid', /expected numbers as rescale_factor/);
  await assertFails(() => readPreprocessorConfig('/gone/preprocessor_config.json'), 'file-not-found', /gone/);
});
