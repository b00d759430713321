import { messageOf, QdqError } from '../errors.js';
import type { Picture } from './picture.js';

/**
 * The RGB pixels of an image file, turned upright as its EXIF data says. Embedded color profiles and transparency are ignored, as Pillow's
 * `convert('RGB')` ignores them. Throws QdqError `data-invalid` where the image is damaged.
 */
export async function decodeImage(path: string): Promise<Picture> {
  const { default: sharp } = await import('sharp');
  try {
    const { data, info } = await sharp(path, { ignoreIcc: true, failOn: 'error' })
      .autoOrient()
      .removeAlpha()
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    const { width, height, channels } = info;
    return channels >= 3 ? { width, height, channels, data } : spreadGray({ width, height, channels, data });
  } catch (cause) {
    const problem = `${path}: the image cannot be read: ${messageOf(cause).replaceAll('\n', ' ')}`;
    throw new QdqError('data-invalid', problem, 'open it in a viewer, or leave it out', { cause });
  }
}

function spreadGray({ width, height, channels, data }: Picture): Picture {
  const result = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) result.fill(data[i * channels]!, i * 3, i * 3 + 3);
  return { width, height, channels: 3, data: result };
}
