import { isFloat } from '../tensor/dtype.js';
import { elementCount, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { BitHistogram, scanExtremes } from './bit-histogram.js';
import { mergeObserved, NOTHING_OBSERVED, observe } from './observers.js';
import { combineScans, EMPTY_SCAN, type Scan } from './scan.js';
import { mergeDims, NO_BINS, type TensorRecord } from './tensor-record.js';

/** The elements of one tensor in one sample, reduced: those on a grid, and the extremes of parts that cover all. */
export interface ReducedElements {
  readonly grid: readonly Float32Array[];
  /** None where the grid is every element. */
  readonly maxima: readonly Float32Array[];
  /** Greatest elements of the negated tensor; none where no element can be negative. */
  readonly negatedMinima: readonly Float32Array[];
}

/** Watches one value of the graph over samples and turns what it saw into a record. */
export class TensorObserver {
  readonly #histogram: BitHistogram | undefined;
  #record: Omit<TensorRecord, 'bins'>;

  /** For a value of the type and dimensions that it has in the first sample. */
  constructor({ dtype, dims }: Pick<Tensor, 'dtype' | 'dims'>) {
    this.#histogram = isFloat(dtype) ? new BitHistogram() : undefined;
    this.#record = { dtype, dims, samples: 0, count: 0, sampled: false, ...NOTHING_OBSERVED };
  }

  /** Takes every element. Returns what a scan of them found. */
  add(tensor: Tensor): Scan {
    const scan = this.#histogram ? this.#histogram.add(floatsOf(tensor)) : EMPTY_SCAN;
    return this.#take(tensor.dims, false, scan);
  }

  /** Takes what was kept of a tensor of these dimensions. Returns what a scan of it found. */
  addReduced(dims: readonly number[], elements: ReducedElements): Scan {
    const histogram = (this.#histogram ?? raise()).add.bind(this.#histogram);
    const grid = scanAll(elements.grid, histogram);
    const top = scanAll(elements.maxima, scanExtremes);
    const bottom = scanAll(elements.negatedMinima, scanExtremes);
    const scan: Scan = {
      min: Math.min(grid.min, top.min, 0 - bottom.max),
      max: Math.max(grid.max, top.max),
      // An element on the grid may be an extreme too, so that adding both up would count it twice.
      nan: Math.max(grid.nan, top.nan, bottom.nan),
      inf: Math.max(grid.inf, top.inf + bottom.inf),
    };
    return this.#take(dims, elements.maxima.length > 0, scan);
  }

  /** What was seen so far. */
  record(): TensorRecord {
    return { ...this.#record, bins: this.#histogram?.bins() ?? NO_BINS };
  }

  #take(dims: readonly number[], sampled: boolean, scan: Scan): Scan {
    const record = this.#record;
    this.#record = {
      ...record,
      ...mergeObserved(record, observe(scan)),
      dims: mergeDims(record.dims, dims),
      samples: record.samples + 1,
      count: record.count + elementCount(dims),
      sampled: record.sampled || sampled,
    };
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

function raise(): never {
  throw new TypeError('only float tensors are sampled');
}
