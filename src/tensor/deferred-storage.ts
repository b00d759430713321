import type { TensorStorage } from './tensor.js';

/** What a deferred storage may know beside how to compute its bytes. */
export interface DeferredOptions {
  /** Fills `target`, which lies in shared memory, with the same bytes from `offset` on, in another thread. */
  readonly fill?: (offset: number, target: Uint8Array) => Promise<void>;
  /** Storages of the same identity have the same bytes, which then need be written only once. */
  readonly identity?: string;
}

/** Bytes that are computed whenever they are read, so that a large tensor need never be in memory as a whole. */
export class DeferredStorage implements TensorStorage {
  readonly byteLength: number;
  readonly identity: string | undefined;
  readonly #compute: (offset: number, length: number) => Uint8Array;
  /** Fills memory that threads share; undefined where only this thread can compute the bytes. */
  readonly fill: DeferredOptions['fill'];

  /** `compute` gives `length` bytes from `offset`, the same ones each time; it is never asked beyond `byteLength`. */
  constructor(byteLength: number, compute: (offset: number, length: number) => Uint8Array, options: DeferredOptions = {}) {
    this.byteLength = byteLength;
    this.identity = options.identity;
    this.#compute = compute;
    this.fill = options.fill;
  }

  read(): Uint8Array {
    return this.readRange(0, this.byteLength);
  }

  readRange(offset: number, length: number): Uint8Array {
    return this.#compute(offset, Math.max(0, Math.min(length, this.byteLength - offset)));
  }
}
