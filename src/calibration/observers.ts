import type { Scan } from './scan.js';

/**
 * A figure that is kept for each tensor. It must be the same however the samples are grouped and ordered, so `merge` is exact,
 * commutative and associative: extremes and counts are, sums of floats are not.
 */
export interface Observer<T extends number | null = number | null> {
  /** The figure of no samples at all; `merge` leaves the other one as it is. */
  readonly none: T;
  /** The figure of one sample. */
  readonly ofSample: (scan: Scan) => T;
  /** The figure of two disjoint sets of samples. */
  readonly merge: (a: T, b: T) => T;
}

type Take = (scan: Scan) => number;
const least = (take: Take): Observer => ({ none: null, ofSample: (scan) => finite(take(scan)), merge: pick(Math.min) });
const greatest = (take: Take): Observer => ({ none: null, ofSample: (scan) => finite(take(scan)), merge: pick(Math.max) });
const sum = (take: Take): Observer<number> => ({ none: 0, ofSample: take, merge: (a, b) => a + b });

/**
 * What is observed of every float tensor beside its histogram: a row gives a field of `TensorRecord` and of the table file.
 * A new row whose figure is not in `Scan` needs it there first.
 */
export const OBSERVERS = {
  /** Least finite element. */
  min: least((scan) => scan.min),
  /** Greatest finite element. */
  max: greatest((scan) => scan.max),
  /** Greatest of the samples' own minima: with `min`, how far the lower end varies. */
  sampleMinHigh: greatest((scan) => scan.min),
  /** Least of the samples' own maxima: with `max`, how far the upper end varies. */
  sampleMaxLow: least((scan) => scan.max),
  /** Elements that are NaN. */
  nan: sum((scan) => scan.nan),
  /** Elements that are infinite. */
  inf: sum((scan) => scan.inf),
};

/** The observers' figures of one tensor. */
export type Observed = { readonly [Field in keyof typeof OBSERVERS]: (typeof OBSERVERS)[Field]['none'] };

const ROWS = Object.entries(OBSERVERS) as [keyof Observed, Observer][];

/** The figures of samples that come one by one. */
export class Figures {
  // Changed in place: this is done for every tensor of every sample.
  readonly #figures = collect((_, { none }) => none) as Record<keyof Observed, number | null>;

  /** Takes what one sample's scan found. */
  add(scan: Scan): void {
    for (const [field, { ofSample, merge }] of ROWS) this.#figures[field] = merge(this.#figures[field], ofSample(scan));
  }

  /** The figures so far. */
  observed(): Observed {
    return { ...this.#figures } as Observed;
  }
}

/** The figures of two disjoint sets of samples. */
export function mergeObserved(a: Observed, b: Observed): Observed {
  return collect((field, { merge }) => merge(a[field], b[field]));
}

/** The figures among the fields of an object; undefined where one is missing or is no figure. */
export function readObserved(object: Readonly<Record<string, unknown>>): Observed | undefined {
  const valid = ROWS.every(([field, { none }]) => typeof object[field] === 'number' || (object[field] === null && none === null));
  return valid ? collect((field) => object[field] as number | null) : undefined;
}

function collect(figure: (field: keyof Observed, observer: Observer) => number | null): Observed {
  // Each row's own types hold; TypeScript cannot follow a row together with its field.
  return Object.fromEntries(ROWS.map(([field, observer]) => [field, figure(field, observer)])) as Observed;
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

function pick(choose: (a: number, b: number) => number): (a: number | null, b: number | null) => number | null {
  return (a, b) => (a === null ? b : b === null ? a : choose(a, b));
}
