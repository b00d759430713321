import { ExternalStorage, type ExternalPlace } from '../onnx/external-data.js';
import type { ProgressListener } from '../progress.js';
import { elementCount, memoryStorage, type Tensor, type TensorStorage } from '../tensor/tensor.js';
import { PIECE_ELEMENTS } from './weight-pieces.js';
import { hasMaxima, maximaInRange, quantizeBytes, rememberMaxima, transposeBytes, type WeightRounding } from './weights.js';
import { defineWork } from './work.js';
import { mapThroughPool, sharedPool } from './work-pool.js';

/** A weight in the form that crosses between threads: where its bytes are, or the bytes themselves, which are copied. */
export type PlainWeight = Pick<Tensor, 'dtype' | 'dims'> & ({ readonly place: ExternalPlace } | { readonly bytes: Uint8Array });

/** The weight as plain data. One in a side file costs nothing; another thread then reads what it needs of it. */
export function plainWeight({ dtype, dims, storage }: Tensor): PlainWeight {
  return { dtype, dims, ...(storage instanceof ExternalStorage ? { place: storage.place } : { bytes: storage.read() }) };
}

/** The weight that plain data stands for. */
export function weightFrom({ dtype, dims, ...plain }: PlainWeight): Tensor {
  return { dtype, dims, storage: 'place' in plain ? ExternalStorage.at(plain.place) : memoryStorage(plain.bytes) };
}

/** A weight whose largest magnitudes are wanted, along an axis or in all. */
export interface MeasuredWeight {
  readonly tensor: Tensor;
  readonly axis: number | null;
}

/** Elements `from` … `to` of a weight. */
interface Part {
  readonly from: number;
  readonly to: number;
}

/** Elements that a thread takes at a time. */
const PART_ELEMENTS = 16 * PIECE_ELEMENTS;
/** Less than this is done before threads have started. */
const MIN_POOL_ELEMENTS = PART_ELEMENTS;

/** Finds maxima in a thread. */
export const maximaWork = defineWork(import.meta.url, 'maximaWork', ({ weight, axis, from, to }: Part & { readonly weight: PlainWeight; readonly axis: number | null }) =>
  maximaInRange(weightFrom(weight), axis, from, to),
);

/** Rounds in a thread, into shared memory. */
export const roundWork = defineWork(import.meta.url, 'roundWork', ({ weight, rounding, transposed, from, to, target }: Part & RoundArguments) =>
  (transposed ? transposeBytes : quantizeBytes)(weightFrom(weight), rounding, from, to, target),
);

/** How a weight is to be rounded. */
interface RoundArguments {
  readonly weight: PlainWeight;
  readonly rounding: WeightRounding;
  readonly transposed: boolean;
  readonly target: Uint8Array;
}

/** Whether a weight is in a side file, from which threads read it, and large enough to gain from that. */
export function isPooled({ dims, storage }: Tensor): boolean {
  return storage instanceof ExternalStorage && elementCount(dims) >= PIECE_ELEMENTS;
}

/**
 * Fills `target`, which must lie in shared memory, with the integers of a weight from element `from` on, in a thread of the shared pool. Throws
 * `external-data` where its side file cannot be read.
 */
export async function roundInPool(weight: Tensor, rounding: WeightRounding, transposed: boolean, from: number, target: Uint8Array): Promise<void> {
  await sharedPool().run(roundWork, { weight: plainWeight(weight), rounding, transposed, from, to: from + target.length, target });
}

/**
 * Finds the largest magnitudes of large weights in side files in threads of the shared pool, so that planning, which asks for them one by one,
 * need not read the weights. What it finds does not depend on the number of threads. Throws `external-data` where a side file cannot be read.
 */
export async function measureWeights(weights: readonly MeasuredWeight[], onProgress?: ProgressListener): Promise<void> {
  const wanted = distinct(weights).filter(({ tensor, axis }) => tensor.dtype === 'float32' && isPooled(tensor) && !hasMaxima(tensor, axis));
  const count = ({ tensor }: MeasuredWeight) => elementCount(tensor.dims);
  const total = wanted.reduce((sum, weight) => sum + count(weight), 0);
  if (total < MIN_POOL_ELEMENTS) return;
  const bytes = 4;
  let done = 0;
  const parts = function* () {
    for (const weight of wanted) {
      for (let from = 0; from < count(weight); from += PART_ELEMENTS) yield { weight, from, to: Math.min(count(weight), from + PART_ELEMENTS) };
    }
  };
  let current: Float64Array | undefined;
  const results = mapThroughPool(sharedPool(), parts(), maximaWork, ({ weight: { tensor, axis }, from, to }) => ({ weight: plainWeight(tensor), axis, from, to }));
  for await (const [{ weight, from, to }, maxima] of results) {
    current = from === 0 ? maxima : current!.map((largest, c) => Math.max(largest, maxima[c]!));
    done += to - from;
    onProgress?.({ stage: 'reading weights', done: done * bytes, total: total * bytes, unit: 'bytes' });
    if (to === count(weight)) rememberMaxima(weight.tensor, weight.axis, current);
  }
}

function distinct(weights: readonly MeasuredWeight[]): MeasuredWeight[] {
  const seen = new Map<TensorStorage, (number | null)[]>();
  return weights.filter(({ tensor: { storage }, axis }) => {
    const axes = seen.get(storage) ?? [];
    seen.set(storage, [...axes, axis]);
    return !axes.includes(axis);
  });
}
