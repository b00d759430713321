import { DeferredStorage } from '../tensor/deferred-storage.js';
import type { TensorStorage } from '../tensor/tensor.js';
import { ExternalStorage } from './external-data.js';
import { isExternal, type StoredTensor } from './model-tensors.js';

/** Tensors smaller than this stay in the model file, where shapes and scales must be for the runtime's own folding. */
const SMALLEST_BYTES = 1024;
/** Page size: the runtime maps large tensors into memory instead of reading them. */
const PAGE_BYTES = 4096;
/** Small tensors are aligned to a cache line only. */
const LINE_BYTES = 64;

/** Where each tensor's bytes stand in a side file. */
export interface Layout {
  /** Without overlap, by rising offset. */
  readonly parts: readonly { readonly storage: TensorStorage; readonly offset: number }[];
  /** Offset of each storage; several storages of the same bytes have the same one. */
  readonly offsets: ReadonlyMap<TensorStorage, number>;
  readonly sizeBytes: number;
}

/**
 * Places initializers, and other tensors that were in a side file already, one after the other in file order. Tensors that share
 * their bytes share their place.
 */
export function layOut(tensors: readonly StoredTensor[]): Layout {
  const parts: { storage: TensorStorage; offset: number }[] = [];
  const offsets = new Map<TensorStorage, number>();
  const known = new Places();
  let sizeBytes = 0;
  for (const { message, field, storage } of tensors) {
    if (storage.byteLength < SMALLEST_BYTES || !(field === 'initializer' || isExternal(message))) continue;
    let offset = known.find(storage);
    if (offset === undefined) {
      const alignment = storage.byteLength >= PAGE_BYTES ? PAGE_BYTES : LINE_BYTES;
      offset = Math.ceil(sizeBytes / alignment) * alignment;
      parts.push({ storage, offset });
      known.add(storage, offset);
      sizeBytes = offset + storage.byteLength;
    }
    offsets.set(storage, offset);
  }
  return { parts, offsets, sizeBytes };
}

/** Recognizes the same bytes behind different storage objects: same memory, or same part of the same file. Deferred ones are not computed for it. */
class Places {
  readonly #byMemory = new Map<ArrayBufferLike, Map<string, number>>();
  readonly #byFile = new Map<string, number>();
  readonly #deferred = new Map<TensorStorage | string, number>();

  find(storage: TensorStorage): number | undefined {
    if (storage instanceof ExternalStorage) return this.#byFile.get(fileKey(storage));
    if (storage instanceof DeferredStorage) return this.#deferred.get(storage.identity ?? storage);
    const bytes = storage.read();
    return this.#byMemory.get(bytes.buffer)?.get(memoryKey(bytes));
  }

  add(storage: TensorStorage, offset: number): void {
    if (storage instanceof ExternalStorage) {
      this.#byFile.set(fileKey(storage), offset);
      return;
    }
    if (storage instanceof DeferredStorage) {
      this.#deferred.set(storage.identity ?? storage, offset);
      return;
    }
    const bytes = storage.read();
    const places = this.#byMemory.get(bytes.buffer) ?? new Map<string, number>();
    this.#byMemory.set(bytes.buffer, places.set(memoryKey(bytes), offset));
  }
}

function fileKey(storage: ExternalStorage): string {
  return `${storage.path}:${storage.offset}:${storage.byteLength}`;
}

function memoryKey(bytes: Uint8Array): string {
  return `${bytes.byteOffset}:${bytes.byteLength}`;
}
