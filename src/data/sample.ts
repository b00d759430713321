import { createHash } from 'node:crypto';
import type { Tensor } from '../tensor/tensor.js';

/** The tensors of one run by input name. */
export type InputTensors = ReadonlyMap<string, Tensor>;

/** One run's worth of data, bound to a model's inputs. */
export interface Sample {
  /** Unique in its data set; sorting by it gives the set's order. The path below the data folder, `#3` for rows of a stack. */
  readonly name: string;
  /** SHA-256 (hex) of the input names, types, shapes and bytes, computed when first read. The container does not count. */
  readonly digest: string;
  readonly inputs: InputTensors;
}

/** A sample that is known by name and read on demand. */
export interface SampleSource {
  readonly name: string;
  /** Reads the tensors, anew on each call; throws QdqError `data-invalid`, `file-not-found` or `file-unreadable`. */
  load(): Promise<InputTensors>;
}

/** A sample over tensors. */
export function createSample(name: string, inputs: InputTensors): Sample {
  let digest: string | undefined;
  return {
    name,
    inputs,
    get digest() {
      return (digest ??= digestOf(inputs));
    },
  };
}

function digestOf(inputs: InputTensors): string {
  const hash = createHash('sha256');
  for (const [name, tensor] of [...inputs].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(JSON.stringify([name, tensor.dtype, tensor.dims, tensor.strings ?? null]));
    hash.update(tensor.storage.read());
  }
  return hash.digest('hex');
}
