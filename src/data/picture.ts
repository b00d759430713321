import type { ImageSize } from './data-spec.js';

/** A decoded picture: rows of interleaved 8-bit channels. */
export interface Picture extends ImageSize {
  readonly channels: number;
  readonly data: Uint8Array;
}

/** The luma of an RGB picture, by Pillow's formula for `convert('L')` (ITU-R 601-2 in 16-bit fixed point). */
export function toGray({ width, height, channels, data }: Picture): Picture {
  const gray = new Uint8Array(width * height);
  for (let i = 0, at = 0; i < gray.length; i++, at += channels) {
    gray[i] = (data[at]! * 19595 + data[at + 1]! * 38470 + data[at + 2]! * 7471 + 0x8000) >> 16;
  }
  return { width, height, channels: 1, data: gray };
}

/** The center of a picture, with black around it where the picture is smaller. Offsets round down, as in Hugging Face's `center_crop`. */
export function cropCenter(picture: Picture, { width, height }: ImageSize): Picture {
  const { channels } = picture;
  const top = Math.floor((picture.height - height) / 2);
  const left = Math.floor((picture.width - width) / 2);
  const from = Math.max(0, left);
  const to = Math.min(picture.width, left + width);
  const data = new Uint8Array(width * height * channels);
  for (let y = Math.max(0, -top); y < Math.min(height, picture.height - top); y++) {
    const row = (y + top) * picture.width;
    data.set(picture.data.subarray((row + from) * channels, (row + to) * channels), (y * width + from - left) * channels);
  }
  return { width, height, channels, data };
}
