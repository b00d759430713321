import type { Numbers } from './class-axis.js';

/** Elements in a block: sums of blocks round less than one long sum, and a short loop is optimized on its first long tensor. */
const BLOCK = 4096;

/** Running sums over pairs of elements b (baseline) and c (candidate), in float64. */
export interface ErrorSums {
  /** Pairs that entered the sums: those with a finite difference. */
  count: number;
  /** Σ b² */
  signal: number;
  /** Σ c² */
  candidateSquares: number;
  /** Σ bc */
  products: number;
  /** Σ (b − c)² */
  noise: number;
  /** Σ |b − c| */
  absError: number;
  /** max |b − c| */
  maxAbsError: number;
  baselineMin: number;
  baselineMax: number;
  /** The candidate's first element; NaN before there is one. */
  candidateFirst: number;
  /** Whether any element of the candidate differs from its first. */
  candidateVaries: boolean;
  /** Pairs with NaN or an infinity on either side, which enter no sum. */
  nonFinite: number;
  /** Those of `nonFinite` that are not the same on both sides. */
  nonFiniteMismatches: number;
  /** Those of `nonFiniteMismatches` where only the candidate is not finite. */
  lost: number;
}

/** The sums over nothing. */
export function emptyErrorSums(): ErrorSums {
  return {
    count: 0,
    signal: 0,
    candidateSquares: 0,
    products: 0,
    noise: 0,
    absError: 0,
    maxAbsError: 0,
    baselineMin: Infinity,
    baselineMax: -Infinity,
    candidateFirst: NaN,
    candidateVaries: false,
    nonFinite: 0,
    nonFiniteMismatches: 0,
    lost: 0,
  };
}

/** Adds the pairs of two arrays of equal length to `sums`. */
export function addErrors(sums: ErrorSums, b: Numbers, c: Numbers): void {
  for (let start = 0; start < b.length; start += BLOCK) addBlock(sums, b, c, start, Math.min(start + BLOCK, b.length));
}

function addBlock(sums: ErrorSums, b: Numbers, c: Numbers, start: number, end: number): void {
  let count = 0;
  let signal = 0;
  let candidateSquares = 0;
  let products = 0;
  let noise = 0;
  let absError = 0;
  let { maxAbsError, baselineMin, baselineMax, candidateFirst, candidateVaries } = sums;
  for (let i = start; i < end; i++) {
    const x = b[i] as number;
    const y = c[i] as number;
    const error = Math.abs(x - y);
    // One test for NaN and infinities of either side keeps the loop short.
    if (!(error < Infinity)) {
      addNonFinite(sums, x, y);
      continue;
    }
    count++;
    signal += x * x;
    candidateSquares += y * y;
    products += x * y;
    noise += error * error;
    absError += error;
    if (error > maxAbsError) maxAbsError = error;
    if (x < baselineMin) baselineMin = x;
    if (x > baselineMax) baselineMax = x;
    if (y !== candidateFirst) {
      if (Number.isNaN(candidateFirst)) candidateFirst = y;
      else candidateVaries = true;
    }
  }
  sums.count += count;
  sums.signal += signal;
  sums.candidateSquares += candidateSquares;
  sums.products += products;
  sums.noise += noise;
  sums.absError += absError;
  Object.assign(sums, { maxAbsError, baselineMin, baselineMax, candidateFirst, candidateVaries });
}

function addNonFinite(sums: ErrorSums, x: number, y: number): void {
  sums.nonFinite++;
  if (Object.is(x, y)) return;
  sums.nonFiniteMismatches++;
  if (Number.isFinite(x) && !Number.isFinite(y)) sums.lost++;
}
