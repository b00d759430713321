import { isFloat, type DType } from '../tensor/dtype.js';
import { elementCount, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { BitHistogram, scanExtremes } from './bit-histogram.js';
import { takeGrid, type GridStep } from './grids.js';
import type { ReducedElements } from './joined-outputs.js';
import { Figures } from './observers.js';
import { combineScans, EMPTY_SCAN, type Scan } from './scan.js';
import { mergeDims, NO_BINS, type TensorRecord } from './tensor-record.js';

/** Watches one value of the graph over samples and turns what it saw into a record. */
export class TensorObserver {
  readonly #dtype: DType;
  readonly #histogram: BitHistogram | undefined;
  readonly #figures = new Figures();
  #dims: TensorRecord['dims'];
  #samples = 0;
  #count = 0;
  #sampled = false;

  /** For a value of the type and dimensions that it has in the first sample. Without `counts` it takes no bins, which is enough for extremes and faster. */
  constructor({ dtype, dims }: Pick<Tensor, 'dtype' | 'dims'>, counts = true) {
    this.#histogram = counts && isFloat(dtype) ? new BitHistogram() : undefined;
    this.#dtype = dtype;
    this.#dims = dims;
  }

  /** Takes every element. Returns what a scan of them found. */
  add(tensor: Tensor): Scan {
    const scan = isFloat(this.#dtype) ? this.#scan(floatsOf(tensor)) : EMPTY_SCAN;
    return this.#take(tensor.dims, false, scan);
  }

  /** Takes what was kept of a tensor of these dimensions. Returns what a scan of it found. */
  addReduced(dims: readonly number[], { grid, maxima, negatedMinima }: ReducedElements): Scan {
    const counted = scanAll(grid, (values) => this.#scan(values));
    const top = scanAll(maxima, scanExtremes);
    const bottom = scanAll(negatedMinima, scanExtremes);
    const scan = { ...counted, min: Math.min(counted.min, 0 - bottom.max), max: Math.max(counted.max, top.max) };
    return this.#take(dims, maxima.length > 0, scan);
  }

  /** Takes the extremes of a tensor of finite elements, where nothing is counted. Returns what a scan of it would have found. */
  addExtremes(dims: readonly number[], min: number, max: number): Scan {
    return this.#take(dims, false, { ...EMPTY_SCAN, min: min + 0, max: max + 0 });
  }

  /** Takes the grid and the extremes of a whole tensor of rank 4. Returns what a scan of all elements found. */
  addGrid(tensor: Tensor, step: GridStep): Scan {
    const values = floatsOf(tensor);
    this.#histogram?.add(takeGrid(values, tensor.dims, step));
    return this.#take(tensor.dims, true, scanExtremes(values));
  }

  /** Takes what a loop kept of a value of its body, of `count` elements in all rounds. Returns what a scan of all elements found. */
  addLoop(kept: Float32Array, scan: Scan, count: number): Scan {
    this.#histogram?.add(kept);
    return this.#take(null, true, scan, count);
  }

  /** What was seen so far. */
  record(): TensorRecord {
    return {
      dtype: this.#dtype,
      dims: this.#dims,
      samples: this.#samples,
      count: this.#count,
      sampled: this.#sampled,
      ...this.#figures.observed(),
      bins: this.#histogram?.bins() ?? NO_BINS,
    };
  }

  /** Takes floats into the bins, where there are any. */
  #scan(values: Float32Array): Scan {
    return this.#histogram?.add(values) ?? scanExtremes(values);
  }

  #take(dims: readonly number[] | null, sampled: boolean, scan: Scan, count = elementCount(dims ?? [])): Scan {
    this.#dims = mergeDims(this.#dims, dims);
    this.#samples++;
    this.#count += count;
    this.#sampled ||= sampled;
    this.#figures.add(scan);
    return scan;
  }
}

/** The elements of a float tensor as float32; float64 is rounded to it. */
export function floatsOf(tensor: Tensor): Float32Array {
  const numbers = numbersOf(tensor);
  return numbers instanceof Float32Array ? numbers : Float32Array.from(numbers);
}

function scanAll(parts: readonly Float32Array[], scan: (values: Float32Array) => Scan): Scan {
  return parts.reduce((sum, part) => combineScans(sum, scan(part)), EMPTY_SCAN);
}
