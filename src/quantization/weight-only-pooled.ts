import { DeferredStorage } from '../tensor/deferred-storage.js';
import type { TensorStorage } from '../tensor/tensor.js';
import { matrixShape, type ChannelMatrix } from './weight-only-blocks.js';
import { roundChannels, stripeChannels, type BlockTarget } from './weight-only-fast.js';
import type { BlockFormat } from './weight-only-format.js';
import { plainWeight, weightFrom, type PlainWeight } from './weight-work.js';
import { defineWork } from './work.js';
import { sharedPool } from './work-pool.js';

interface StripeArguments {
  readonly weight: PlainWeight;
  readonly depthAxis: 0 | 1;
  readonly format: BlockFormat;
  readonly first: number;
  readonly end: number;
  /** Arrays in shared memory. */
  readonly target: BlockTarget;
}

/** Rounds a stripe of channels in a thread; says whether all of it is finite. */
export const stripeWork = defineWork(import.meta.url, 'stripeWork', ({ weight, depthAxis, format, first, end, target }: StripeArguments) =>
  roundChannels({ tensor: weightFrom(weight), depthAxis }, format, first, end, target),
);

type Part = keyof BlockTarget;
const PARTS = ['integers', 'scales', 'zeroPoints'] as const;

/** Bytes of each part of a whole weight. */
export type PartSizes = Readonly<Record<Part, number>>;

/**
 * The parts of a float32 weight in a side file, by channel, rounded to nearest by threads of the shared pool while they are written. The weight is read once for all
 * parts: scales and zero points wait in memory until each part has been read to its end, integers until their stripe has.
 * `compute` gives bytes of a part where this thread has to.
 */
export function pooledParts(
  matrix: ChannelMatrix,
  format: BlockFormat,
  sizes: PartSizes,
  refuse: () => Error,
  compute: (part: Part, offset: number, length: number) => Uint8Array,
): Readonly<Record<Part, TensorStorage>> {
  let rounding: Rounding | undefined;
  const storage = (part: Part) =>
    new DeferredStorage(sizes[part], (offset, length) => compute(part, offset, length), {
      fill: async (offset, target) => {
        const current = (rounding ??= new Rounding(matrix, format, sizes, refuse));
        await current.fill(part, offset, target);
        if (current.isRead && rounding === current) rounding = undefined;
      },
    });
  return { integers: storage('integers'), scales: storage('scales'), zeroPoints: storage('zeroPoints') };
}

interface StripeOfIntegers {
  readonly integers: Uint8Array;
  readonly done: Promise<void>;
}

/** One reading of a weight. */
class Rounding {
  readonly #matrix: ChannelMatrix;
  readonly #format: BlockFormat;
  readonly #sizes: PartSizes;
  readonly #refuse: () => Error;
  readonly #channels: number;
  /** Channels, and bytes of integers, of each stripe but the last. */
  readonly #height: number;
  readonly #stripeBytes: number;
  /** Bytes of float32. */
  readonly #scales: Uint8Array;
  readonly #zeroPoints: Uint8Array;
  readonly #stripes = new Map<number, StripeOfIntegers>();
  readonly #unread: Set<Part>;

  constructor(matrix: ChannelMatrix, format: BlockFormat, sizes: PartSizes, refuse: () => Error) {
    this.#matrix = matrix;
    this.#format = format;
    this.#sizes = sizes;
    this.#refuse = refuse;
    this.#channels = matrixShape(matrix).channels;
    this.#height = stripeChannels(matrix, format);
    this.#stripeBytes = (sizes.integers / this.#channels) * this.#height;
    this.#scales = sharedMemory.take(sizes.scales);
    this.#zeroPoints = sharedMemory.take(sizes.zeroPoints);
    this.#unread = new Set(PARTS.filter((part) => sizes[part] > 0));
  }

  /** Whether each part has been read to its end. */
  get isRead(): boolean {
    return this.#unread.size === 0;
  }

  async fill(part: Part, offset: number, target: Uint8Array): Promise<void> {
    const end = offset + target.length;
    if (part === 'integers') await this.#fillIntegers(offset, end, target);
    else await this.#fillParameters(part, offset, target);
    if (end === this.#sizes[part]) this.#unread.delete(part);
    if (this.isRead) [this.#scales, this.#zeroPoints].forEach((bytes) => sharedMemory.giveBack(bytes));
  }

  async #fillIntegers(offset: number, end: number, target: Uint8Array): Promise<void> {
    const first = Math.floor(offset / this.#stripeBytes);
    const wanted = Array.from({ length: Math.ceil(end / this.#stripeBytes) - first }, (_, i) => ({ at: first + i, stripe: this.#stripe(first + i) }));
    for (const { at, stripe } of wanted) {
      await stripe.done;
      const start = at * this.#stripeBytes;
      const part = stripe.integers.subarray(Math.max(0, offset - start), end - start);
      target.set(part, Math.max(0, start - offset));
      if (end >= start + stripe.integers.length) this.#release(at);
    }
  }

  async #fillParameters(part: 'scales' | 'zeroPoints', offset: number, target: Uint8Array): Promise<void> {
    for (let at = 0; at * this.#height < this.#channels; at++) await this.#stripe(at).done;
    target.set((part === 'scales' ? this.#scales : this.#zeroPoints).subarray(offset, offset + target.length));
  }

  #stripe(at: number): StripeOfIntegers {
    const stripe = this.#stripes.get(at) ?? this.#start(at);
    this.#stripes.set(at, stripe);
    return stripe;
  }

  #start(at: number): StripeOfIntegers {
    const first = at * this.#height;
    const end = Math.min(this.#channels, first + this.#height);
    const integers = sharedMemory.take((this.#sizes.integers / this.#channels) * (end - first));
    const partOf = (bytes: Uint8Array) => bytes.subarray((bytes.length / this.#channels) * first, (bytes.length / this.#channels) * end);
    const scales = partOf(this.#scales);
    const target = { integers, scales: new Float32Array(scales.buffer, scales.byteOffset, scales.length / 4), zeroPoints: partOf(this.#zeroPoints) };
    const { tensor, depthAxis } = this.#matrix;
    const done = sharedPool()
      .run(stripeWork, { weight: plainWeight(tensor), depthAxis, format: this.#format, first, end, target })
      .then((isFinite) => {
        if (!isFinite) throw this.#refuse();
      });
    // It is waited for by those who read it; until then nobody hears of a failure.
    done.catch(() => undefined);
    return { integers, done };
  }

  /** Integers that have been read are let go; that their stripe is done stays known, because parameters are waited for. */
  #release(at: number): void {
    const { integers, done } = this.#stripes.get(at)!;
    this.#stripes.set(at, { integers: new Uint8Array(0), done });
    sharedMemory.giveBack(integers);
  }
}

/** Shared memory that is used again and again: left to garbage collection alone, what one stripe took would long be there beside the next ones. */
class SharedMemory {
  #free: WeakRef<SharedArrayBuffer>[] = [];

  take(bytes: number): Uint8Array {
    const buffers = this.#free.flatMap((reference) => reference.deref() ?? []);
    const fitting = buffers.find(({ byteLength }) => byteLength >= bytes);
    this.#free = buffers.filter((buffer) => buffer !== fitting).map((buffer) => new WeakRef(buffer));
    return new Uint8Array(fitting ?? new SharedArrayBuffer(bytes), 0, bytes);
  }

  giveBack({ buffer }: Uint8Array): void {
    this.#free.push(new WeakRef(buffer as unknown as SharedArrayBuffer));
  }
}

const sharedMemory = new SharedMemory();
