import { createHash } from 'node:crypto';
import { ExternalStorage } from '../onnx/external-data.js';
import { DeferredStorage } from '../tensor/deferred-storage.js';
import { elementCount, memoryStorage, type Tensor, type TensorStorage } from '../tensor/tensor.js';
import { isPooled, roundInPool } from './weight-work.js';
import { quantizeBytes, transposeBytes, type WeightRounding } from './weights.js';

/**
 * A weight as 8-bit integers: in memory where the floats are, otherwise computed from the side file each time they are read, by the threads of
 * the shared pool where several ranges are wanted at once. Weights with the same place in a side file that are rounded alike have the
 * same identity. `transposed` exchanges the axes of a matrix whose scales are its rows' or one.
 */
export function integerStorage(weight: Tensor, rounding: WeightRounding, transposed = false): TensorStorage {
  const count = elementCount(weight.dims);
  const compute = (from: number, to: number) => {
    const bytes = new Uint8Array(to - from);
    (transposed ? transposeBytes : quantizeBytes)(weight, rounding, from, to, bytes);
    return bytes;
  };
  if (!(weight.storage instanceof ExternalStorage)) return memoryStorage(compute(0, count));
  return new DeferredStorage(count, (offset, length) => compute(offset, offset + length), {
    identity: identityOf(weight.storage, weight, rounding, transposed),
    ...(isPooled(weight) && { fill: (offset: number, target: Uint8Array) => roundInPool(weight, rounding, transposed, offset, target) }),
  });
}

function identityOf({ path, offset }: ExternalStorage, { dtype, dims }: Tensor, { scales, ...rounding }: WeightRounding, transposed: boolean): string {
  const digest = createHash('sha256').update(new Uint8Array(Float64Array.from(scales).buffer)).digest('hex');
  return JSON.stringify([path, offset, dtype, dims, rounding, digest, transposed]);
}
