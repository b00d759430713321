import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import sharp from 'sharp';
import type { ImageOptions } from '../../src/data/data-spec.js';
import type { ModelInput } from '../../src/data/model-inputs.js';
import { openData } from '../../src/data/open-data.js';
import { toGray, type Picture } from '../../src/data/picture.js';
import type { Sample } from '../../src/data/sample.js';
import { numbersOf } from '../../src/tensor/values.js';
import { assertFails, collect, folderWith, row, ROW_INPUT, valuesOf } from './support.js';

const nchw = (height: number | string, width: number | string, channels = 3): ModelInput[] => [
  { name: 'x', dtype: 'float32', shape: ['N', channels, height, width] },
];

/** A picture whose pixels all differ. */
function picture(width: number, height: number): Picture {
  return { width, height, channels: 3, data: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 37) % 256) };
}

function encode({ width, height, channels, data }: Picture, format: 'png' | 'webp' | 'jpeg' = 'png'): Promise<Buffer> {
  const image = sharp(data, { raw: { width, height, channels: channels as 3 } });
  return (format === 'webp' ? image.webp({ lossless: true }) : image.toFormat(format)).toBuffer();
}

async function loadOne(t: TestContext, file: string, bytes: Uint8Array, inputs: readonly ModelInput[], image?: ImageOptions): Promise<Sample> {
  const data = await openData({ paths: [folderWith(t, { [file]: bytes })], ...(image && { image }) }, inputs);
  return (await collect(data))[0]!;
}

/** Pixel values as [channel][row][column], by a formula. */
function expected({ width, height, data }: Picture, value: (pixel: number, channel: number) => number, order = [0, 1, 2]): number[] {
  return order.flatMap((source, channel) => Array.from({ length: width * height }, (_, i) => Math.fround(value(data[i * 3 + source]!, channel))));
}

test('images are scaled by 1/255 into the layout of the input', async (t) => {
  const source = picture(5, 4);
  const first = await loadOne(t, 'a.png', await encode(source), nchw(4, 5));
  assert.equal(first.name, 'a.png');
  assert.deepEqual(first.inputs.get('x')!.dims, [1, 3, 4, 5]);
  assert.deepEqual(valuesOf(first.inputs.get('x')), expected(source, (pixel) => pixel / 255));
  const last = await loadOne(t, 'a.png', await encode(source), [{ name: 'x', dtype: 'float32', shape: [1, 4, 5, 3] }]);
  assert.deepEqual(last.inputs.get('x')!.dims, [1, 4, 5, 3]);
  assert.deepEqual(valuesOf(last.inputs.get('x')), Array.from(source.data, (pixel) => Math.fround(pixel / 255)));
});

test('mean, std, scale and the order of channels are applied as NumPy would', async (t) => {
  const source = picture(3, 3);
  const image = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
  const sample = await loadOne(t, 'a.png', await encode(source), nchw(3, 3), image);
  const f = Math.fround;
  assert.deepEqual(
    valuesOf(sample.inputs.get('x')),
    expected(source, (pixel, c) => f(f(f(pixel * (1 / 255)) - f(image.mean[c]!)) / f(image.std[c]!))),
  );
  const bgr = await loadOne(t, 'a.png', await encode(source), nchw(3, 3), { scale: 1, mean: [104, 117, 123], channels: 'bgr' });
  assert.deepEqual(valuesOf(bgr.inputs.get('x')), expected(source, (pixel, c) => pixel - [104, 117, 123][c]!, [2, 1, 0]));
});

test('images become gray, bytes, half precision or unbatched as the input asks', async (t) => {
  const source = picture(2, 2);
  const png = await encode(source);
  const gray = await loadOne(t, 'a.png', png, nchw(2, 2, 1), { scale: 1 });
  assert.deepEqual(gray.inputs.get('x')!.dims, [1, 1, 2, 2]);
  assert.deepEqual(valuesOf(gray.inputs.get('x')), Array.from(toGray(source).data));
  const bytes = await loadOne(t, 'a.png', png, [{ name: 'x', dtype: 'uint8', shape: [1, 2, 2, 3] }]);
  assert.deepEqual(valuesOf(bytes.inputs.get('x')), Array.from(source.data));
  const half = await loadOne(t, 'a.png', png, [{ name: 'x', dtype: 'float16', shape: [3, 2, 2] }]);
  assert.deepEqual(half.inputs.get('x')!.dims, [3, 2, 2]);
  const error = expected(source, (pixel) => pixel / 255).map((value, i) => Math.abs(value - numbersOf(half.inputs.get('x')!)[i]!));
  assert.ok(Math.max(...error) <= 2 ** -12, `${Math.max(...error)}`);
});

test('images are resized to the size of the input, or as told', async (t) => {
  const png = await encode(picture(12, 8));
  const dims = async (inputs: ModelInput[], image?: ImageOptions) => (await loadOne(t, 'a.png', png, inputs, image)).inputs.get('x')!.dims;
  assert.deepEqual(await dims(nchw(6, 7)), [1, 3, 6, 7]);
  assert.deepEqual(await dims(nchw('H', 'W')), [1, 3, 8, 12]);
  assert.deepEqual(await dims(nchw('H', 'W'), { resize: 4 }), [1, 3, 4, 6]);
  assert.deepEqual(await dims(nchw('H', 'W'), { resize: { width: 3, height: 5 } }), [1, 3, 5, 3]);
  assert.deepEqual(await dims(nchw(4, 4), { resize: 6, crop: 4 }), [1, 3, 4, 4]);
  const open: ModelInput[] = [{ name: 'x', dtype: 'float32', shape: ['N', 'A', 'B', 'C'] }];
  assert.deepEqual(await dims(open), [1, 3, 8, 12]);
  assert.deepEqual(await dims(open, { layout: 'nhwc', crop: { width: 2, height: 3 }, channels: 'gray' }), [1, 3, 2, 1]);
});

test('cropping takes the center and pads with black', async (t) => {
  const source = picture(5, 3);
  const png = await encode(source);
  const values = async (crop: number) => valuesOf((await loadOne(t, 'a.png', png, [{ name: 'x', dtype: 'uint8', shape: [1, 'H', 'W', 3] }], { crop })).inputs.get('x'));
  const pixel = (x: number, y: number) => Array.from(source.data.subarray((y * 5 + x) * 3, (y * 5 + x) * 3 + 3));
  assert.deepEqual(await values(2), [...pixel(1, 0), ...pixel(2, 0), ...pixel(1, 1), ...pixel(2, 1)]);
  const padded = await values(5);
  assert.deepEqual(padded.slice(0, 15), new Array(15).fill(0));
  assert.deepEqual(padded.slice(15, 60), Array.from(source.data));
  assert.deepEqual(padded.slice(60), new Array(15).fill(0));
});

test('png, webp and jpeg are read, with palette, alpha or gray', async (t) => {
  const flat: Picture = { width: 8, height: 8, channels: 3, data: new Uint8Array(192).fill(128) };
  const raw = sharp(flat.data, { raw: { width: 8, height: 8, channels: 3 } });
  const files = {
    'a.png': await raw.clone().png({ palette: true }).toBuffer(),
    'b.webp': await encode(flat, 'webp'),
    'c.JPG': await encode(flat, 'jpeg'),
    'd.png': await raw.clone().ensureAlpha(0.5).png().toBuffer(),
    'e.png': await raw.clone().toColourspace('b-w').png().toBuffer(),
    'f.gif': await raw.clone().gif().toBuffer(),
    'g.tiff': await raw.clone().tiff().toBuffer(),
  };
  const samples = await collect(await openData({ paths: [folderWith(t, files)], image: { scale: 1 } }, nchw(8, 8)));
  assert.equal(samples.length, 7);
  for (const { name, inputs } of samples) assert.deepEqual([...new Set(valuesOf(inputs.get('x')))], [128], name);
});

test('images are turned upright', async (t) => {
  const jpeg = await sharp(picture(16, 8).data, { raw: { width: 16, height: 8, channels: 3 } }).withMetadata({ orientation: 6 }).jpeg().toBuffer();
  assert.deepEqual((await loadOne(t, 'a.jpg', jpeg, nchw('H', 'W'))).inputs.get('x')!.dims, [1, 3, 16, 8]);
});

test('how images are prepared is noted', async (t) => {
  const folder = folderWith(t, { 'a.png': await encode(picture(4, 4)) });
  const { notes } = await openData({ paths: [folder] }, nchw(2, 2));
  assert.deepEqual(notes, ['images: resize 2x2 (bilinear), scale 1/255, rgb, nchw']);
});

test('a preprocessor_config.json in the folder or its parent decides, unless an option is given', async (t) => {
  const config = JSON.stringify({ do_resize: true, size: { height: 2, width: 2 }, resample: 0, do_rescale: true, rescale_factor: 0.5, do_normalize: false });
  const folder = folderWith(t, { 'preprocessor_config.json': config, 'images/cat/a.png': await encode(picture(4, 4)) });
  const paths = [join(folder, 'images')];
  const note = async (spec: { image?: ImageOptions; paths?: string[] }) => (await openData({ paths, ...spec }, nchw(2, 2))).notes[0];
  const found = `images as ${join(folder, 'preprocessor_config.json')} says: resize 2x2 (nearest), scale 0.5, rgb, nchw`;
  assert.equal(await note({}), found);
  assert.equal(await note({ image: { scale: 1 } }), 'images: resize 2x2 (bilinear), scale 1, rgb, nchw');
  assert.equal(await note({ paths: [...paths, join(folder, 'preprocessor_config.json')], image: { scale: 1 } }), found.replace('0.5', '1'));
  const [sample] = await collect(await openData({ paths }, nchw(2, 2)));
  assert.equal(sample!.name, 'cat/a.png');
  await assertFails(() => openData({ paths }, nchw(3, 3)), 'usage', /^as .*preprocessor_config\.json says, pictures become 2x2/, /--resize/);
});

test('images that cannot be read or do not fit are refused', async (t) => {
  const png = await encode(picture(32, 32));
  const folder = folderWith(t, { 'a.png': png, 'cut/a.png': png.subarray(0, png.length / 2), 'fake/a.jpg': 'no image' });
  const read = (name: string, inputs = nchw(8, 8), image?: ImageOptions) => async () =>
    collect(await openData({ paths: [join(folder, name)], ...(image && { image }) }, inputs));
  await assertFails(read('cut'), 'data-invalid', /cut\/a\.png: the image cannot be read/);
  await assertFails(read('fake'), 'data-invalid', /fake\/a\.jpg: the image cannot be read/);
  await assertFails(read('a.png', ROW_INPUT as ModelInput[]), 'data-invalid', /images do not fit input "x" float32\[N,3\]/, /\.npz/);
  await assertFails(read('a.png', nchw(8, 8, 4)), 'data-invalid', /images do not fit input "x" float32\[N,4,8,8\]/);
  await assertFails(read('a.png', [...nchw(8, 8), ...ROW_INPUT]), 'data-invalid', /images fill one input, but the model has 2/);
  const eight: ModelInput[] = [{ name: 'x', dtype: 'float32', shape: [8, 3, 8, 8] }];
  await assertFails(read('a.png', eight), 'data-invalid', /a picture fills one row, but input "x" .* takes exactly 8/);
  await assertFails(read('a.png', nchw(8, 8), { crop: 9 }), 'usage', /pictures become 9x9, but the model expects input "x" float32\[N,3,8,8\]/);
  await assertFails(read('a.png', nchw(8, 9), { resize: 8 }), 'data-invalid', /a\.png: the picture becomes float32\[1,3,8,8\], expected/, /--crop/);
  await assertFails(read('a.png', nchw(8, 8), { channels: 'gray' }), 'usage', /gray has 1 channels/);
  await assertFails(read('a.png', nchw(8, 8), { mean: [123, 116, 103] }), 'usage', /meant for pixels 0…255/, /--scale 1/);
  await assertFails(read('a.png', nchw(8, 8), { std: [0] }), 'usage', /image std 0/);
  await assertFails(read('a.png', nchw(8, 8), { std: [1, 2] }), 'usage', /image std 1,2: expected one number, or 3/);
  await assertFails(read('a.png', nchw('H', 'W'), { resize: 0 }), 'usage', /image size 0/);
  await assertFails(read('a.png', [{ name: 'x', dtype: 'uint8', shape: [1, 3, 8, 8] }], { scale: 1 }), 'usage', /scale, mean and std give floats/);
});

test('images and arrays may stand in one folder', async (t) => {
  const inputs = nchw(4, 4);
  const folder = folderWith(t, { 'b.png': await encode(picture(4, 4)), 'a.npz': row(1), 'c.npz': row(2) });
  assert.deepEqual(await (await openData({ paths: [folder] }, inputs)).names(), ['a.npz', 'b.png', 'c.npz']);
});
