import { isFloat } from '../tensor/dtype.js';
import { elementCount, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { agreeingRows, classRows } from './class-axis.js';
import { addErrors, emptyErrorSums, type ErrorSums } from './error-sums.js';

/** The `sqnrDb` of equal outputs, and the most that is reported: JSON has no Infinity, and float32 noise lies below 150 dB. */
export const MAX_SQNR_DB = 200;

/** Below this the error has more than half of the signal's power, and a float output counts as collapsed. */
export const COLLAPSED_SQNR_DB = 3;

/** A u8 range has 255 steps: a baseline that varies by more than two of them cannot come out constant by rounding. */
const CONSTANT_SPREAD = 0.01;

/**
 * How far one output of the candidate is from the baseline's, over all samples; b and c are the elements of the two.
 * A figure that could not be had is null. The error figures are null too where an element is NaN or infinite on one side and
 * not the same on the other, because the error is infinite then.
 */
export interface OutputError {
  readonly name: string;
  /**
   * 10·log₁₀(Σ b² / Σ (b − c)²), at most `MAX_SQNR_DB`, which stands for equal outputs; null where the baseline is all zero and
   * the candidate is not.
   */
  readonly sqnrDb: number | null;
  /** Σ bc / √(Σ b² · Σ c²); null where one side is all zero. */
  readonly cosine: number | null;
  /** max |b − c|, in the output's own unit. */
  readonly maxAbsError: number | null;
  /** Mean of |b − c|, in the output's own unit. */
  readonly meanAbsError: number | null;
  /** Share of the rows along the last axis (as `classRows` sees them) with the same argmax; null for ranks below 2. */
  readonly agreement: number | null;
  /** Share of equal elements of an integer, bool or string output (int64 beyond 2^53 as the nearest float64); null for floats. */
  readonly equalShare: number | null;
  /** Whether the baseline is zero in every sample, so that an SQNR says no more than whether the candidate is zero too. */
  readonly allZero: boolean;
  /** Samples compared; those of `shapeMismatches` come on top. */
  readonly samples: number;
  /** Elements compared. */
  readonly elements: number;
  /** Elements that are NaN or infinite on either side. Those that are the same on both sides are no error and enter no sum. */
  readonly nonFinite: number;
  /** Those of `nonFinite` that are not the same on both sides. */
  readonly nonFiniteMismatches: number;
  /** The first sample with such an element; null where there is none, or samples have no names. */
  readonly nonFiniteSample: string | null;
  /** Samples whose output had another shape, which enter none of the figures. */
  readonly shapeMismatches: number;
  /**
   * The candidate is useless here: NaN or infinite where the baseline is finite; or, for a float output, below
   * `COLLAPSED_SQNR_DB`, or one constant while the baseline varies by more than 1 % of its largest magnitude.
   */
  readonly collapsed: boolean;
}

/** Sums up the error of one output over any number of samples, in constant memory and in float64. */
export class OutputErrorAccumulator {
  readonly name: string;
  readonly #sums = emptyErrorSums();
  #elements = 0;
  #samples = 0;
  #shapeMismatches = 0;
  #nonFiniteSample: string | null = null;
  #rows = 0;
  #agreeingRows = 0;
  #discrete = 0;
  #equal = 0;

  constructor(name: string) {
    this.name = name;
  }

  /** Takes in one sample, named `sample` in the result where it is the first with NaN or infinity. Throws TypeError for element types without numbers other than strings (complex, float8). */
  add(baseline: Tensor, candidate: Tensor, sample: string | null = null): void {
    if (!sameShape(baseline.dims, candidate.dims)) {
      this.#shapeMismatches++;
      return;
    }
    const elements = elementCount(baseline.dims);
    if (baseline.dtype === 'string' || candidate.dtype === 'string') {
      this.#addEqual(elements, baseline.strings ?? [], candidate.strings ?? []);
    } else {
      const b = numbersOf(baseline);
      const c = numbersOf(candidate);
      const before = this.#sums.nonFinite;
      addErrors(this.#sums, b, c);
      if (before === 0 && this.#sums.nonFinite > 0) this.#nonFiniteSample = sample;
      const rows = classRows(baseline.dims);
      if (rows) {
        this.#rows += rows.rows;
        this.#agreeingRows += agreeingRows(b, c, rows);
      }
      if (!isFloat(baseline.dtype)) this.#addEqual(elements, b, c);
    }
    this.#samples++;
    this.#elements += elements;
  }

  /** The figures over all samples so far. */
  result(): OutputError {
    const sums = this.#sums;
    const measured = sums.count > 0 && sums.nonFiniteMismatches === 0;
    const sqnrDb = measured ? sqnrOf(sums) : null;
    return {
      name: this.name,
      sqnrDb,
      cosine: measured ? cosineOf(sums) : null,
      maxAbsError: measured ? sums.maxAbsError : null,
      meanAbsError: measured ? sums.absError / sums.count : null,
      agreement: share(this.#agreeingRows, this.#rows),
      equalShare: share(this.#equal, this.#discrete),
      allZero: sums.count > 0 && sums.signal === 0,
      samples: this.#samples,
      elements: this.#elements,
      nonFinite: sums.nonFinite,
      nonFiniteMismatches: sums.nonFiniteMismatches,
      nonFiniteSample: this.#nonFiniteSample,
      shapeMismatches: this.#shapeMismatches,
      collapsed: isCollapsed(sums, sqnrDb, this.#discrete === 0),
    };
  }

  #addEqual<T>(elements: number, b: ArrayLike<T>, c: ArrayLike<T>): void {
    this.#discrete += elements;
    for (let i = 0; i < elements; i++) {
      if (b[i] !== undefined && b[i] === c[i]) this.#equal++;
    }
  }
}

function sqnrOf({ maxAbsError, signal, noise }: ErrorSums): number | null {
  if (maxAbsError === 0) return MAX_SQNR_DB;
  const decibels = 10 * Math.log10(signal / noise);
  return Number.isFinite(decibels) ? Math.min(decibels, MAX_SQNR_DB) : null;
}

function cosineOf({ products, signal, candidateSquares }: ErrorSums): number | null {
  const cosine = products / (Math.sqrt(signal) * Math.sqrt(candidateSquares));
  return Number.isFinite(cosine) ? Math.max(-1, Math.min(1, cosine)) : null;
}

function isCollapsed(sums: ErrorSums, sqnrDb: number | null, float: boolean): boolean {
  if (sums.lost > 0) return true;
  if (!float) return false;
  if (sqnrDb !== null && sqnrDb < COLLAPSED_SQNR_DB) return true;
  const magnitude = Math.max(Math.abs(sums.baselineMin), Math.abs(sums.baselineMax));
  return sums.count > 1 && !sums.candidateVaries && sums.baselineMax - sums.baselineMin > CONSTANT_SPREAD * magnitude;
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dim, axis) => dim === b[axis]);
}

function share(part: number, whole: number): number | null {
  return whole > 0 ? part / whole : null;
}
