import { readFile } from 'node:fs/promises';
import { messageOf, QdqError } from '../errors.js';
import type { ImageOptions, ImageSize, ResampleFilter } from './data-spec.js';
import { readError } from './open-file.js';

/** The file name under which Hugging Face keeps how images are prepared for a model. */
export const PREPROCESSOR_CONFIG = 'preprocessor_config.json';

type Config = Readonly<Record<string, unknown>>;

/** By Pillow's `Image.Resampling`. */
const FILTERS: readonly ResampleFilter[] = ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming'];

/** Processors whose size, where it is one number, is the shorter edge: those of transformers that set `default_to_square=False`. */
const SHORTER_EDGE = /^(CLIP|ChineseCLIP|ConvNext|Levit|PoolFormer|MobileViT|MobileNetV[12]|Bit)/;

/** Steps that change the picture and that are not done here. */
const NOT_DONE = ['do_pad', 'do_thumbnail', 'do_align_long_axis', 'do_crop_margin', 'do_image_splitting'];

/** Image options from a Hugging Face image processor's file, and what it asks for that they cannot say. */
export async function readPreprocessorConfig(path: string): Promise<{ options: ImageOptions; notes: string[] }> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw readError(path, error);
  });
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch (cause) {
    throw new QdqError('data-invalid', `${path}: is not JSON: ${messageOf(cause)}`, undefined, { cause });
  }
  if (typeof config !== 'object' || config === null || Array.isArray(config)) {
    throw new QdqError('data-invalid', `${path}: expected a JSON object`);
  }
  return parsePreprocessorConfig(config as Config, path);
}

function parsePreprocessorConfig(config: Config, path: string): { options: ImageOptions; notes: string[] } {
  const options: ImageOptions = {
    ...sizeOptions(config, path),
    ...valueOptions(config, path),
    ...(config['do_flip_channel_order'] === true && { channels: 'bgr' as const }),
  };
  return { options, notes: NOT_DONE.filter((key) => config[key] === true).map((key) => `${path}: ${key} is not applied`) };
}

function sizeOptions(config: Config, path: string): ImageOptions {
  const named = config['image_processor_type'] ?? config['feature_extractor_type'];
  const type = typeof named === 'string' ? named : '';
  const size = config['size'];
  const cropSize = config['crop_size'] === undefined ? undefined : readSize(config['crop_size'], `${path}: crop_size`);
  const crop = config['do_center_crop'] === true ? cropSize : undefined;
  const resample = config['resample'] === undefined ? undefined : FILTERS[Number(config['resample'])];
  if (config['resample'] !== undefined && !resample) {
    throw new QdqError('data-invalid', `${path}: resample ${JSON.stringify(config['resample'])}, expected 0 to ${FILTERS.length - 1}`);
  }
  const sizes = { ...(crop !== undefined && { crop }), ...(resample && { resample }) };
  if (config['do_resize'] === false || size === undefined || size === null) return sizes;

  const edge = shorterEdge(size, type ? SHORTER_EDGE.test(type) : crop !== undefined);
  if (edge === undefined) return { ...sizes, resize: readSize(size, `${path}: size`) };
  const share = cropShare(config, type);
  if (share === undefined) return { ...sizes, resize: edge };
  if (type.startsWith('ConvNext') && edge >= 384) return { ...sizes, resize: { width: edge, height: edge } };
  return { crop: edge, ...sizes, resize: Math.trunc(edge / share) };
}

function shorterEdge(size: unknown, numberIsEdge: boolean): number | undefined {
  if (typeof size === 'number') return numberIsEdge ? size : undefined;
  const { shortest_edge: edge, longest_edge: longest } = size as Config;
  return typeof edge === 'number' && longest === undefined ? edge : undefined;
}

/** Some processors resize to more than the size and then cut it out: this is the size's share of that. */
function cropShare(config: Config, type: string): number | undefined {
  const share = config['crop_pct'];
  if (typeof share === 'number' && share > 0) return share;
  return type.startsWith('ConvNext') || type.startsWith('Levit') ? 224 / 256 : undefined;
}

function readSize(value: unknown, where: string): ImageSize {
  if (typeof value === 'number') return { width: value, height: value };
  const { width, height } = (value ?? {}) as Config;
  if (typeof width === 'number' && typeof height === 'number') return { width, height };
  throw new QdqError(
    'data-invalid',
    `${where} is ${JSON.stringify(value)}, expected a number, { height, width } or { shortest_edge }`,
    'give --resize and --crop instead',
  );
}

function valueOptions(config: Config, path: string): ImageOptions {
  const scale = config['do_rescale'] === false ? 1 : (config['rescale_factor'] ?? 1 / 255);
  const normalize = config['do_normalize'] === true || (config['do_normalize'] === undefined && config['image_mean'] !== undefined);
  const mean = normalize ? config['image_mean'] : [0];
  const std = normalize ? config['image_std'] : [1];
  if (typeof scale !== 'number' || !isNumbers(mean) || !isNumbers(std)) {
    throw new QdqError('data-invalid', `${path}: expected numbers as rescale_factor, image_mean and image_std`);
  }
  // EfficientNet's offset takes 1 from the scaled pixels.
  const offset = config['rescale_offset'] === true && config['do_rescale'] !== false ? 1 : 0;
  return { scale, mean: mean.map((value) => value + offset), std };
}

function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'number');
}
