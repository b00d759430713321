import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ResampleFilter } from '../../src/data/data-spec.js';
import { toGray, type Picture } from '../../src/data/picture.js';
import { resamplePicture } from '../../src/data/resample-picture.js';
import { typedArrayOf, type Tensor } from '../../src/tensor/tensor.js';
import { fixture, readArrays } from './support.js';

const pillow = await readArrays(fixture('pillow.npz'));
const source = toPicture(pillow.get('source')!);

function toPicture(tensor: Tensor): Picture {
  const [height = 0, width = 0, channels = 1] = tensor.dims;
  return { width, height, channels, data: typedArrayOf(tensor) as Uint8Array };
}

for (const filter of ['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos'] as const satisfies readonly ResampleFilter[]) {
  test(`resamplePicture gives the bytes that Pillow gives: ${filter}`, () => {
    for (const [name, tensor] of pillow) {
      if (!name.startsWith(`${filter}-`)) continue;
      const { width, height, data } = toPicture(tensor);
      assert.deepEqual(Buffer.from(resamplePicture(source, { width, height }, filter).data), Buffer.from(data), name);
    }
  });
}

test('resamplePicture keeps a picture that has the size already', () => {
  assert.equal(resamplePicture(source, source, 'lanczos'), source);
});

test('resamplePicture keeps flat pictures flat, up to a single row', () => {
  const flat: Picture = { width: 301, height: 1, channels: 1, data: new Uint8Array(301).fill(255) };
  for (const filter of ['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos'] as const) {
    assert.deepEqual([...new Set(resamplePicture(flat, { width: 7, height: 9 }, filter).data)], [255], filter);
  }
});

test('toGray gives the bytes that Pillow gives', () => {
  assert.deepEqual(Buffer.from(toGray(source).data), Buffer.from(typedArrayOf(pillow.get('gray')!).buffer, typedArrayOf(pillow.get('gray')!).byteOffset, 221));
});
