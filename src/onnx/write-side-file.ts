import { availableParallelism } from 'node:os';
import { DeferredStorage } from '../tensor/deferred-storage.js';
import type { TensorStorage } from '../tensor/tensor.js';
import type { Layout } from './side-file-layout.js';

const CHUNK_BYTES = 8 * 2 ** 20;
const FLUSH_BYTES = 128 * 2 ** 20;

/** What bytes are appended to. */
export interface ByteSink {
  readonly write: (bytes: Uint8Array) => Promise<void>;
  /** Sends what was written so far to the disk. */
  readonly flush: () => Promise<void>;
}

/** Writes the storages of a layout to their places, in chunks. `onBytes` is told after each how many bytes are on their way. */
export async function writeLayout(file: ByteSink, layout: Layout, onBytes?: (done: number, total: number) => void): Promise<void> {
  let position = 0;
  // The next chunk is read or computed while the last one is being written.
  let writing = Promise.resolve();
  const write = async (bytes: Uint8Array, release?: () => void) => {
    await writing;
    writing = file.write(bytes).then(release);
    writing.catch(() => undefined);
  };
  // The disk works while chunks are computed, instead of afterwards.
  let flushing = Promise.resolve();
  let flushed = 0;
  try {
    for await (const { at, bytes, release } of readAhead(chunksOf(layout))) {
      if (at > position) await write(new Uint8Array(at - position));
      await write(bytes, release);
      position = at + bytes.length;
      onBytes?.(position, layout.sizeBytes);
      if (position - flushed < FLUSH_BYTES) continue;
      flushed = position;
      flushing = flushing.then(() => file.flush());
      flushing.catch(() => undefined);
    }
    await writing;
  } finally {
    // Nothing may be under way when the file is closed.
    await flushing;
  }
}

/** A range of a storage, and where it goes in the side file. */
interface Chunk {
  readonly storage: TensorStorage;
  readonly from: number;
  readonly length: number;
  readonly at: number;
}

function* chunksOf({ parts }: Layout): Generator<Chunk> {
  for (const { storage, offset } of parts) {
    for (let from = 0; from < storage.byteLength; from += CHUNK_BYTES) {
      yield { storage, from, length: Math.min(CHUNK_BYTES, storage.byteLength - from), at: offset + from };
    }
  }
}

/** Bytes of a chunk, to be released when they are written. */
interface ReadyChunk {
  readonly at: number;
  readonly bytes: Uint8Array;
  readonly release?: () => void;
}

/**
 * The bytes of chunks, in order. Those that other threads compute are asked for ahead, as many as keep all cores busy; they come in shared
 * memory that is used again and again.
 */
async function* readAhead(chunks: Iterable<Chunk>): AsyncGenerator<ReadyChunk> {
  const ahead = availableParallelism() + 1;
  const free: SharedArrayBuffer[] = [];
  const waiting: (() => ReadyChunk | Promise<ReadyChunk>)[] = [];
  for (const { storage, from, length, at } of chunks) {
    if (storage instanceof DeferredStorage && storage.fill) {
      const buffer = free.pop() ?? new SharedArrayBuffer(CHUNK_BYTES);
      const bytes = new Uint8Array(buffer, 0, length);
      const filled = storage.fill(from, bytes).then(() => ({ at, bytes, release: () => free.push(buffer) }));
      // It is waited for in its turn; until then nobody hears of a failure.
      filled.catch(() => undefined);
      waiting.push(() => filled);
    } else {
      waiting.push(() => ({ at, bytes: storage.readRange(from, length) }));
    }
    if (waiting.length > ahead) yield await waiting.shift()!();
  }
  for (const chunk of waiting) yield await chunk();
}
