import { createHash } from 'node:crypto';
import { QdqError } from '../errors.js';
import { dtypeInfo, isFloat } from '../tensor/dtype.js';
import { numberToFloat16 } from '../tensor/float16.js';
import { elementCount, tensorFromArray, type Tensor } from '../tensor/tensor.js';
import type { DataWarning } from './data-spec.js';
import { describeInput, type ModelInput } from './model-inputs.js';
import type { SampleSource } from './sample.js';

/** Said wherever random samples are used. */
export const RANDOM_WARNING: DataWarning = {
  code: 'random-data',
  message: 'the samples are random numbers: speed can be judged by them, ranges and accuracy cannot',
  advice: 'give real samples with --data for calibration and comparison',
};

/** No input that a runtime takes at once is larger; a damaged model may declare any size. */
const MAX_SAMPLE_BYTES = 2 ** 30;

/** The number in `random:N`; undefined for other paths. Throws QdqError `usage` for a count that is not a positive integer. */
export function randomCount(path: string): number | undefined {
  if (!path.startsWith('random:')) return undefined;
  const count = Number(path.slice('random:'.length));
  if (Number.isSafeInteger(count) && count > 0) return count;
  throw new QdqError('usage', `--data ${path}: expected random:N with a positive integer N`, 'for example random:16');
}

/**
 * `count` samples of random numbers, the same on each run: floats are standard normal, 8-bit integers use their whole
 * range, wider integers and bool are 0 or 1 (valid as token ids, segment ids and indices), masks are all 1. Open dimensions are 1.
 * Throws QdqError `data-invalid` for inputs that cannot be made up.
 */
export function randomSources(count: number, inputs: readonly ModelInput[]): SampleSource[] {
  const shapes = inputs.map(randomDims);
  const digits = String(count - 1).length;
  return Array.from({ length: count }, (_, i) => {
    return {
      name: `random#${String(i).padStart(digits, '0')}`,
      load: async () => new Map(inputs.map((input, k) => [input.name, randomTensor(input, shapes[k]!, `${i}\0${input.name}`)])),
    };
  });
}

function randomDims(input: ModelInput): readonly number[] {
  if (input.frozen) return input.frozen.dims;
  if (input.shape && (isFloat(input.dtype) || /^u?int(8|16|32|64)$|^bool$/.test(input.dtype))) {
    const dims = input.shape.map((dim) => (typeof dim === 'number' ? dim : 1));
    const sizeBytes = elementCount(dims) * Math.ceil(dtypeInfo(input.dtype).bits / 8);
    if (sizeBytes <= MAX_SAMPLE_BYTES) return dims;
    throw new QdqError('data-invalid', `random samples: ${describeInput(input)} would take ${sizeBytes} bytes, more than ${MAX_SAMPLE_BYTES}`, 'give real samples');
  }
  const hint = input.shape ? 'give real samples' : `give --shape ${input.name}=…`;
  throw new QdqError('data-invalid', `random samples: ${describeInput(input)} cannot be made up`, hint);
}

function randomTensor({ name, dtype, frozen }: ModelInput, dims: readonly number[], seed: string): Tensor {
  if (frozen) return frozen;
  const length = elementCount(dims);
  const random = createRandom(seed);
  const bit = (): number => (/mask/i.test(name) || random() < 0.5 ? 1 : 0);
  switch (dtype) {
    case 'float32':
      return tensorFromArray(dtype, dims, Float32Array.from({ length }, () => normal(random)));
    case 'float64':
      return tensorFromArray(dtype, dims, Float64Array.from({ length }, () => normal(random)));
    case 'float16':
      return tensorFromArray(dtype, dims, Uint16Array.from({ length }, () => numberToFloat16(normal(random))));
    case 'bfloat16': {
      const bits = new Uint32Array(Float32Array.from({ length }, () => normal(random)).buffer);
      return tensorFromArray(dtype, dims, Uint16Array.from(bits, (value) => value >>> 16));
    }
    case 'int8':
    case 'uint8':
      return tensorFromArray(dtype, dims, Uint8Array.from({ length }, () => random() * 256));
    case 'int64':
    case 'uint64':
      return tensorFromArray(dtype, dims, BigInt64Array.from({ length }, () => BigInt(bit())));
    case 'int32':
    case 'uint32':
      return tensorFromArray(dtype, dims, Int32Array.from({ length }, bit));
    case 'int16':
    case 'uint16':
      return tensorFromArray(dtype, dims, Int16Array.from({ length }, bit));
    default:
      return tensorFromArray(dtype, dims, Uint8Array.from({ length }, bit));
  }
}

/** Numbers in [0, 1), by xorshift128 (Marsaglia 2003) from a hash of the seed. */
function createRandom(seed: string): () => number {
  const digest = createHash('sha256').update(seed).digest();
  let [x, y, z, w] = [0, 4, 8, 12].map((at) => digest.readInt32LE(at)) as [number, number, number, number];
  return () => {
    const t = x ^ (x << 11);
    [x, y, z] = [y, z, w];
    w = w ^ (w >>> 19) ^ t ^ (t >>> 8);
    return (w >>> 0) / 2 ** 32;
  };
}

/** A standard normal number, by the Box–Muller transform. */
function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
