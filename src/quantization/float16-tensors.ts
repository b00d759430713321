import { ExternalStorage } from '../onnx/external-data.js';
import { DeferredStorage } from '../tensor/deferred-storage.js';
import { elementCount, memoryStorage, type Tensor } from '../tensor/tensor.js';
import { countOutsideFloat16, LARGEST_FLOAT16, SMALLEST_FLOAT16, toFloat16 } from '../tensor/to-float16.js';
import { weightPieces } from './weight-pieces.js';

/** A float32 tensor as float16: in memory where it is, otherwise computed from the side file each time it is read. */
export function halfTensor(tensor: Tensor): Tensor {
  const convert = (from: number, to: number) => {
    const halves = new Uint16Array(to - from);
    for (const { start, values } of weightPieces(tensor, from, to)) halves.set(toFloat16(values as Float32Array), start - from);
    return new Uint8Array(halves.buffer);
  };
  const byteLength = tensor.storage.byteLength / 2;
  if (!(tensor.storage instanceof ExternalStorage || tensor.storage instanceof DeferredStorage)) return { dtype: 'float16', dims: tensor.dims, storage: memoryStorage(convert(0, byteLength / 2)) };
  return { dtype: 'float16', dims: tensor.dims, storage: new DeferredStorage(byteLength, (offset, length) => convertBytes(convert, offset, length)) };
}

function convertBytes(convert: (from: number, to: number) => Uint8Array, offset: number, length: number): Uint8Array {
  const first = offset >> 1;
  return convert(first, (offset + length + 1) >> 1).subarray(offset - 2 * first, offset - 2 * first + length);
}

/** How many values of a float32 constant float16 does not hold, after its name and in words; undefined where it holds them all. */
export function clampedText(name: string, tensor: Tensor): string | undefined {
  let [large, small] = [0, 0];
  // Scales that are computed while they are written would be computed twice.
  for (const { values } of tensor.storage instanceof DeferredStorage ? [] : weightPieces(tensor)) {
    const found = countOutsideFloat16(values as Float32Array);
    large += found.large;
    // Near zero among others is as good as zero; alone it is an epsilon that keeps a division finite.
    if (elementCount(tensor.dims) === 1) small += found.small;
  }
  if (large + small === 0) return undefined;
  return `${name} (${[...(large > 0 ? [`${large} beyond ±${LARGEST_FLOAT16}`] : []), ...(small > 0 ? [`${small} below ${SMALLEST_FLOAT16.toExponential(1)}`] : [])].join(', ')})`;
}
