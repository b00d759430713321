import { BIN_COUNT, BIN_SHIFT, binOf, isFiniteBin } from './bins.js';
import { CHUNK_LENGTH, histogramKernel, type ChunkExtremes } from './histogram-kernel.js';
import { combineScans, EMPTY_SCAN, scanNumbers, type Scan } from './scan.js';
import type { Bins } from './tensor-record.js';

/** Below this many elements, emptying the kernel's bins takes longer than counting without it. */
const FEW = 512;
const NEGATIVE = BIN_COUNT / 2;
const EXPONENT_SHIFT = 23 - BIN_SHIFT;
const BINS_PER_EXPONENT = 1 << EXPONENT_SHIFT;

/**
 * Counts float32 values by their leading bits. Needs no range beforehand; two histograms add up exactly, in any order.
 * Counts are exact to 2^53.
 */
export class BitHistogram {
  // The system gives memory to pages at their first use: bins that nothing falls into take none.
  readonly #counts = new Float64Array(BIN_COUNT);
  /** By sign and exponent, whether any of their bins may hold something. */
  readonly #touched = new Uint8Array(BIN_COUNT / BINS_PER_EXPONENT);

  /** Counts the finite elements. Returns what a scan of the elements finds. */
  add(values: Float32Array): Scan {
    return values.length < FEW ? this.#addFew(values) : this.#addMany(values);
  }

  /** The bins that hold anything. */
  bins(): Bins {
    const index: number[] = [];
    const count: number[] = [];
    for (let exponent = 0; exponent < this.#touched.length; exponent++) {
      if (this.#touched[exponent] === 0) continue;
      const end = (exponent + 1) * BINS_PER_EXPONENT;
      for (let bin = end - BINS_PER_EXPONENT; bin < end; bin++) {
        if (this.#counts[bin] === 0) continue;
        index.push(bin);
        count.push(this.#counts[bin]!);
      }
    }
    return { index: Uint32Array.from(index), count: Float64Array.from(count) };
  }

  #addFew(values: Float32Array): Scan {
    const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
    for (const word of words) {
      const bin = word >>> BIN_SHIFT;
      if (!isFiniteBin(bin)) continue;
      this.#counts[bin]!++;
      this.#touched[bin >>> EXPONENT_SHIFT] = 1;
    }
    return scanNumbers(values);
  }

  #addMany(values: Float32Array): Scan {
    const kernel = histogramKernel();
    let scan = EMPTY_SCAN;
    let leastExponent = 255;
    let nonFinite = false;
    for (let start = 0; start < values.length; start += CHUNK_LENGTH) {
      const part = values.subarray(start, start + CHUNK_LENGTH);
      const padding = loadChunk(part);
      const extremes = kernel.count(part.length + padding);
      const first = binOf(part[0]!);
      if (isFiniteBin(first)) this.#counts[first]! -= padding;
      scan = combineScans(scan, scanOfChunk(part, extremes));
      leastExponent = Math.min(leastExponent, extremes.leastExponent);
      nonFinite ||= extremes.nonFinite;
    }
    this.#take(0, 4);
    this.#take(NEGATIVE, NEGATIVE + 4);
    const from = leastExponent * BINS_PER_EXPONENT;
    if (scan.max > 0) this.#take(from, binOf(scan.max) + 1);
    if (scan.min < 0) this.#take(NEGATIVE + from, binOf(scan.min) + 1);
    if (nonFinite) {
      kernel.take(NEGATIVE - BINS_PER_EXPONENT, NEGATIVE);
      kernel.take(BIN_COUNT - BINS_PER_EXPONENT, BIN_COUNT);
    }
    return scan;
  }

  /** Moves the kernel's counts of some bins into the histogram. */
  #take(from: number, to: number): void {
    const counts = this.#counts;
    const sums = histogramKernel().take(from, Math.ceil(to / 4) * 4);
    this.#touched.fill(1, from >>> EXPONENT_SHIFT, ((to - 1) >>> EXPONENT_SHIFT) + 1);
    for (let i = 0; i < sums.length; i++) if (sums[i] !== 0) counts[from + i]! += sums[i]!;
  }
}

/** What a scan of the elements finds, without counting them in bins. */
export function scanExtremes(values: Float32Array): Scan {
  if (values.length < FEW) return scanNumbers(values);
  const kernel = histogramKernel();
  let scan = EMPTY_SCAN;
  for (let start = 0; start < values.length; start += CHUNK_LENGTH) {
    const part = values.subarray(start, start + CHUNK_LENGTH);
    scan = combineScans(scan, scanOfChunk(part, kernel.extremes(part.length + loadChunk(part))));
  }
  return scan;
}

/** Copies values into the kernel, filled up with the first of them. Returns how many were added. */
function loadChunk(part: Float32Array): number {
  const { chunk } = histogramKernel();
  const padding = -part.length & 3;
  chunk.set(part);
  if (padding > 0) chunk.fill(part[0]!, part.length, part.length + padding);
  return padding;
}

function scanOfChunk(part: Float32Array, { min, max, nonFinite }: ChunkExtremes): Scan {
  // Adding 0 turns -0, which ties with 0 in whatever order they come, into 0.
  return nonFinite ? scanNumbers(part) : { min: min + 0, max: max + 0, nan: 0, inf: 0 };
}
