import { QdqError } from '../errors.js';
import type { Dim } from '../graph/model.js';
import { isFloat } from '../tensor/dtype.js';
import type { ImageOptions, ImageSize, ResampleFilter } from './data-spec.js';
import { describeInput, fitsShape, type ModelInput } from './model-inputs.js';

/** The longest edge that common image formats can hold. */
const MAX_PIXELS = 65535;

/** What is done to every picture, decided once for a data set. Plain data. */
export interface ImagePlan {
  readonly input: ModelInput;
  /** A number is the length of the shorter edge. */
  readonly resize: number | ImageSize | undefined;
  readonly crop: ImageSize | undefined;
  readonly resample: ResampleFilter;
  readonly channels: 'rgb' | 'bgr' | 'gray';
  readonly layout: 'nchw' | 'nhwc';
  readonly hasBatchAxis: boolean;
  readonly scale: number;
  /** For each channel. */
  readonly mean: readonly number[];
  /** For each channel. */
  readonly std: readonly number[];
}

/**
 * Fills in what the options leave open from the model's input: its layout, its channels, and its size where neither resize nor
 * crop is given; floats are scaled by 1/255, bytes are kept. Throws QdqError `usage` where options contradict each other or the
 * input, `data-invalid` where the input takes no picture.
 */
export function planImages(options: ImageOptions, input: ModelInput): ImagePlan {
  const { shape } = input;
  const isBytes = input.dtype === 'uint8';
  if (shape?.length === 4 && typeof shape[0] === 'number' && shape[0] !== 1) {
    throw new QdqError(
      'data-invalid',
      `a picture fills one row, but ${describeInput(input)} takes exactly ${shape[0]}`,
      'give batches as .npz files or from a reader module',
    );
  }
  if ((!isFloat(input.dtype) && !isBytes) || (shape && shape.length !== 3 && shape.length !== 4)) throw notPicture(input);
  const axes = shape?.slice(-3);
  const layout = options.layout ?? (isChannels(axes?.[0]) || !isChannels(axes?.[2]) ? 'nchw' : 'nhwc');
  const [declared, height, width] = (layout === 'nchw' ? axes : axes && [axes[2]!, axes[0]!, axes[1]!]) ?? [];
  if (typeof declared === 'number' && !isChannels(declared)) throw notPicture(input);
  const channels = options.channels ?? (declared === 1 ? 'gray' : 'rgb');
  const count = channels === 'gray' ? 1 : 3;
  if (typeof declared === 'number' && declared !== count) throw misfit(input, `${channels} has ${count} channels, but`);

  const crop = typeof options.crop === 'number' ? { width: options.crop, height: options.crop } : options.crop;
  const fixed = typeof height === 'number' && typeof width === 'number' ? { width, height } : undefined;
  const resize = options.resize ?? (crop ? undefined : fixed);
  const final = crop ?? (typeof resize === 'object' ? resize : undefined);
  if (final && !fitsShape([final.width, final.height], [width ?? null, height ?? null])) {
    throw misfit(input, `pictures become ${sizeText(final)}, but`);
  }
  for (const pixels of [resize, crop].flatMap((size) => (typeof size === 'object' ? [size.width, size.height] : (size ?? [])))) {
    if (Number.isSafeInteger(pixels) && pixels > 0 && pixels <= MAX_PIXELS) continue;
    throw new QdqError('usage', `image size ${pixels}: expected pixels, 1 to ${MAX_PIXELS}`);
  }
  return {
    input,
    resize,
    crop,
    resample: options.resample ?? 'bilinear',
    channels,
    layout,
    hasBatchAxis: shape?.length !== 3,
    ...planValues(options, count, isBytes, input),
  };
}

/** The plan in words, for the report. */
export function describeImagePlan({ resize, crop, resample, scale, mean, std, channels, layout }: ImagePlan): string {
  const size = typeof resize === 'number' ? `shorter edge to ${resize}` : resize && sizeText(resize);
  const steps = [
    size === undefined ? 'no resizing' : `resize ${size} (${resample})`,
    ...(crop ? [`crop ${sizeText(crop)}`] : []),
    `scale ${scale === 1 / 255 ? '1/255' : scale}`,
    ...(mean.some((value) => value !== 0) ? [`mean ${mean.join(' ')}`] : []),
    ...(std.some((value) => value !== 1) ? [`std ${std.join(' ')}`] : []),
  ];
  return `${steps.join(', ')}, ${channels}, ${layout}`;
}

function sizeText({ width, height }: ImageSize): string {
  return `${width}x${height}`;
}

function planValues(options: ImageOptions, count: number, isBytes: boolean, input: ModelInput): Pick<ImagePlan, 'scale' | 'mean' | 'std'> {
  if (isBytes && (options.scale ?? options.mean ?? options.std) !== undefined) throw misfit(input, 'scale, mean and std give floats, but');
  const scale = options.scale ?? (isBytes ? 1 : 1 / 255);
  const mean = spread(options.mean ?? [0], count, 'mean');
  const std = spread(options.std ?? [1], count, 'std');
  if (!Number.isFinite(scale)) throw new QdqError('usage', `image scale ${scale}: expected a number`);
  if (std.includes(0)) throw new QdqError('usage', `image std ${std.join(',')}: expected numbers other than 0`);
  if (options.scale === undefined && mean.some((value) => Math.abs(value) > 2)) {
    throw new QdqError(
      'usage',
      `image mean ${mean.join(',')} is meant for pixels 0…255, but pixels are scaled by 1/255 first`,
      'give --scale 1, or mean and std divided by 255',
    );
  }
  return { scale, mean, std };
}

function spread(values: readonly number[], count: number, option: string): readonly number[] {
  if ((values.length !== 1 && values.length !== count) || !values.every(Number.isFinite)) {
    throw new QdqError('usage', `image ${option} ${values.join(',')}: expected one number${count > 1 ? `, or ${count}` : ''}`);
  }
  return values.length === count ? values : Array.from({ length: count }, () => values[0]!);
}

function isChannels(dim: Dim | undefined): boolean {
  return dim === 1 || dim === 3;
}

function misfit(input: ModelInput, what: string): QdqError {
  return new QdqError('usage', `${what} the model expects ${describeInput(input)}`);
}

function notPicture(input: ModelInput): QdqError {
  return new QdqError(
    'data-invalid',
    `images do not fit ${describeInput(input)}: expected a float or uint8 input with 1 or 3 channels`,
    'give the prepared data as .npz files or from a reader module',
  );
}
