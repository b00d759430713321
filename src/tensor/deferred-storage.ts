import type { TensorStorage } from './tensor.js';

/** Bytes that are computed whenever they are read, so that a large tensor need never be in memory as a whole. */
export class DeferredStorage implements TensorStorage {
  readonly byteLength: number;
  readonly #compute: (offset: number, length: number) => Uint8Array;

  /** `compute` gives `length` bytes from `offset`, the same ones each time; it is never asked beyond `byteLength`. */
  constructor(byteLength: number, compute: (offset: number, length: number) => Uint8Array) {
    this.byteLength = byteLength;
    this.#compute = compute;
  }

  read(): Uint8Array {
    return this.readRange(0, this.byteLength);
  }

  readRange(offset: number, length: number): Uint8Array {
    return this.#compute(offset, Math.max(0, Math.min(length, this.byteLength - offset)));
  }
}
