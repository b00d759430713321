import { createHash } from 'node:crypto';
import { ExternalStorage } from '../onnx/external-data.js';
import { DeferredStorage } from '../tensor/deferred-storage.js';
import { elementCount, memoryStorage, type Tensor, type TensorStorage } from '../tensor/tensor.js';
import { isPooled, roundInPool } from './weight-work.js';
import { quantizeBytes, transposeBytes, type WeightRounding } from './weights.js';

/** Forms of a weight that are remembered: a search goes back and forth between few. */
const MAX_FORMS = 2;

const known = new WeakMap<TensorStorage, Map<string, TensorStorage>>();

/**
 * A weight as 8-bit integers: in memory where the floats are, and remembered, because plans of one model are made over and over; otherwise computed from the side file each time they are read, by the threads of
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
  const form = formOf(weight, rounding, transposed);
  if (!(weight.storage instanceof ExternalStorage)) return remembered(weight.storage, form, () => memoryStorage(compute(0, count)));
  return new DeferredStorage(count, (offset, length) => compute(offset, offset + length), {
    identity: JSON.stringify([weight.storage.path, weight.storage.offset, form]),
    ...(isPooled(weight) && { fill: (offset: number, target: Uint8Array) => roundInPool(weight, rounding, transposed, offset, target) }),
  });
}

function formOf({ dtype, dims }: Tensor, { scales, ...rounding }: WeightRounding, transposed: boolean): string {
  const digest = createHash('sha256').update(new Uint8Array(Float64Array.from(scales).buffer)).digest('hex');
  return JSON.stringify([dtype, dims, rounding, digest, transposed]);
}

function remembered(weight: TensorStorage, form: string, compute: () => TensorStorage): TensorStorage {
  const forms = known.get(weight) ?? new Map<string, TensorStorage>();
  known.set(weight, forms);
  const storage = forms.get(form) ?? compute();
  // The one used last stays longest.
  forms.delete(form);
  forms.set(form, storage);
  const [oldest] = forms.keys();
  if (forms.size > MAX_FORMS) forms.delete(oldest!);
  return storage;
}
