import type { ImageSize, ResampleFilter } from './data-spec.js';
import type { Picture } from './picture.js';

/** A filter over |x| ≥ 0 and how far it reaches. Source: Pillow, src/libImaging/Resample.c. */
interface Kernel {
  readonly support: number;
  weight(x: number): number;
}

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

const KERNELS: Readonly<Record<Exclude<ResampleFilter, 'nearest' | 'box'>, Kernel>> = {
  bilinear: { support: 1, weight: (x) => (x < 1 ? 1 - x : 0) },
  hamming: { support: 1, weight: (x) => (x < 1 ? sinc(x) * (0.54 + 0.46 * Math.cos(Math.PI * x)) : 0) },
  // Keys' cubic with a = −0.5
  bicubic: { support: 2, weight: (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0) },
  lanczos: { support: 3, weight: (x) => (x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** Fraction bits of the fixed-point weights. */
const PRECISION = 22;

/**
 * The picture at another size, with the bytes that Pillow's `Image.resize` gives: antialiased where it shrinks, columns first,
 * 8 bits between the two steps.
 */
export function resamplePicture(picture: Picture, { width, height }: ImageSize, filter: ResampleFilter): Picture {
  if (filter === 'nearest') return resampleNearest(picture, { width, height });
  const narrow = width === picture.width ? picture : resampleRows(picture, createTaps(picture.width, width, filter));
  return height === picture.height ? narrow : resampleColumns(narrow, createTaps(picture.height, height, filter));
}

/** For each output position, where its inputs start, how many there are, and their weights. */
interface Taps {
  readonly count: number;
  readonly starts: Int32Array;
  readonly lengths: Int32Array;
  /** `size` weights for each position. */
  readonly weights: Int32Array;
  readonly size: number;
}

function createTaps(from: number, to: number, filter: Exclude<ResampleFilter, 'nearest'>): Taps {
  const scale = from / to;
  const stretch = Math.max(1, scale);
  // Unlike the others, the box is open at its left edge.
  const support = (filter === 'box' ? 0.5 : KERNELS[filter].support) * stretch;
  const weight = filter === 'box' ? (x: number) => (x > -0.5 && x <= 0.5 ? 1 : 0) : (x: number) => KERNELS[filter].weight(Math.abs(x));
  const size = Math.ceil(support) * 2 + 1;
  const taps: Taps = { count: to, starts: new Int32Array(to), lengths: new Int32Array(to), weights: new Int32Array(to * size), size };
  for (let i = 0; i < to; i++) {
    const center = (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(from, Math.trunc(center + support + 0.5));
    const raw = Array.from({ length: end - start }, (_, k) => weight((k + start - center + 0.5) * (1 / stretch)));
    const sum = raw.reduce((a, b) => a + b, 0);
    taps.starts[i] = start;
    taps.lengths[i] = raw.length;
    raw.forEach((value, k) => {
      const share = (sum ? value / sum : value) * 2 ** PRECISION;
      taps.weights[i * size + k] = Math.trunc(share < 0 ? share - 0.5 : share + 0.5);
    });
  }
  return taps;
}

function resampleRows({ width, height, channels, data }: Picture, taps: Taps): Picture {
  const result = new Uint8ClampedArray(taps.count * height * channels);
  for (let y = 0, target = 0; y < height; y++) {
    for (let x = 0; x < taps.count; x++) {
      const source = (y * width + taps.starts[x]!) * channels;
      for (let channel = 0; channel < channels; channel++) result[target++] = weigh(data, source + channel, channels, taps, x);
    }
  }
  return { width: taps.count, height, channels, data: new Uint8Array(result.buffer) };
}

function resampleColumns({ width, channels, data }: Picture, taps: Taps): Picture {
  const stride = width * channels;
  const result = new Uint8ClampedArray(taps.count * stride);
  for (let y = 0, target = 0; y < taps.count; y++) {
    const source = taps.starts[y]! * stride;
    for (let x = 0; x < stride; x++) result[target++] = weigh(data, source + x, stride, taps, y);
  }
  return { width, height: taps.count, channels, data: new Uint8Array(result.buffer) };
}

function weigh(data: Uint8Array, source: number, stride: number, { weights, lengths, size }: Taps, position: number): number {
  let sum = 1 << (PRECISION - 1);
  const end = position * size + lengths[position]!;
  for (let k = position * size, at = source; k < end; k++, at += stride) sum = (sum + Math.imul(data[at]!, weights[k]!)) | 0;
  return sum >> PRECISION;
}

function resampleNearest({ width, height, channels, data }: Picture, size: ImageSize): Picture {
  const columns = nearestPositions(width, size.width);
  const result = new Uint8Array(size.width * size.height * channels);
  let target = 0;
  for (const y of nearestPositions(height, size.height)) {
    for (const x of columns) {
      const source = (y * width + x) * channels;
      for (let channel = 0; channel < channels; channel++) result[target++] = data[source + channel]!;
    }
  }
  return { ...size, channels, data: result };
}

/** Added up step by step, as Pillow does, since that decides where a position falls between two pixels. */
function nearestPositions(from: number, to: number): Int32Array {
  const positions = new Int32Array(to);
  for (let i = 0, at = from / to / 2; i < to; i++, at += from / to) positions[i] = Math.min(from - 1, Math.floor(at));
  return positions;
}
