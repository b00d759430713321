import type { DType } from '../tensor/dtype.js';
import { numberToFloat16 } from '../tensor/float16.js';
import { tensorFromArray, type Tensor } from '../tensor/tensor.js';
import type { ImageSize } from './data-spec.js';
import type { ImagePlan } from './image-plan.js';
import { cropCenter, toGray, type Picture } from './picture.js';
import { resamplePicture } from './resample-picture.js';

/** The tensor that a plan makes of an RGB picture. */
export function imageTensor(source: Picture, plan: ImagePlan): Tensor {
  const colored = plan.channels === 'gray' ? toGray(source) : source;
  const resized = plan.resize === undefined ? colored : resamplePicture(colored, targetSize(source, plan.resize), plan.resample);
  const picture = plan.crop ? cropCenter(resized, plan.crop) : resized;
  const { width, height, channels } = picture;
  const dims = plan.layout === 'nchw' ? [channels, height, width] : [height, width, channels];
  return tensorFromArray(plan.input.dtype, plan.hasBatchAxis ? [1, ...dims] : dims, placeValues(picture, plan));
}

/** The size for a shorter edge keeps the proportions, rounded down as torchvision and Hugging Face do. */
function targetSize({ width, height }: ImageSize, resize: number | ImageSize): ImageSize {
  if (typeof resize === 'object') return resize;
  return width <= height
    ? { width: resize, height: Math.trunc((resize * height) / width) }
    : { width: Math.trunc((resize * width) / height), height: resize };
}

/** A byte has 256 values, so that each channel's arithmetic is done once, in a table. */
function placeValues({ width, height, channels, data }: Picture, plan: ImagePlan) {
  const area = width * height;
  const pixels = createArray(plan.input.dtype, area * channels);
  for (let channel = 0; channel < channels; channel++) {
    const table = valueTable(plan, channel);
    const source = plan.channels === 'bgr' ? channels - 1 - channel : channel;
    const [start, step] = plan.layout === 'nchw' ? [channel * area, 1] : [channel, channels];
    for (let i = 0, from = source, to = start; i < area; i++, from += channels, to += step) pixels[to] = table[data[from]!]!;
  }
  return pixels;
}

/** Values by pixel, with the roundings to float32 that NumPy makes on the way, in the bits of the input's type. */
function valueTable({ scale, mean, std, input: { dtype } }: ImagePlan, channel: number): ArrayLike<number> {
  const table = createArray(dtype, 256);
  for (let pixel = 0; pixel < 256; pixel++) {
    const centered = Math.fround(Math.fround(pixel * scale) - Math.fround(mean[channel]!));
    const value = Math.fround(centered / Math.fround(std[channel]!));
    table[pixel] = dtype === 'float16' ? numberToFloat16(value) : dtype === 'bfloat16' ? float32Bits(value) >>> 16 : value;
  }
  return table;
}

function createArray(dtype: DType, length: number) {
  switch (dtype) {
    case 'float32':
      return new Float32Array(length);
    case 'float64':
      return new Float64Array(length);
    case 'uint8':
      return new Uint8Array(length);
    default:
      return new Uint16Array(length);
  }
}

function float32Bits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!;
}
