import type { CalibrationTable, Observations } from '../calibration/calibration-table.js';
import { chooseRange, needsEveryElement, RANGE_METHODS, type RangeMethod, type RangeOptions } from '../calibration/choose-range.js';
import { QdqError } from '../errors.js';
import type { Range } from '../quantization/plan-static.js';

/** A way to choose ranges: a method, and for the percentile method which. */
export interface RangeChoice {
  readonly method: RangeMethod;
  /** Percent of the elements inside the range; for the method `percentile` only. */
  readonly percentile?: number;
}

/** A choice in words, such as "percentile 99.99". */
export function rangeLabel({ method, percentile }: RangeChoice): string {
  return percentile === undefined ? method : `${method} ${percentile}`;
}

/** The ranges of a table under any choice; each is computed once. */
export class RangeSource {
  readonly table: CalibrationTable;
  readonly #options: Omit<RangeOptions, 'percentile'>;
  readonly #overrides: Readonly<Record<string, Range>>;
  readonly #known = new Map<string, Range>();
  readonly #with = new WeakMap<Observations['tensors'], RangeSource>();

  constructor(table: CalibrationTable, options: Omit<RangeOptions, 'percentile'>, overrides: Readonly<Record<string, Range>>) {
    this.table = table;
    this.#options = options;
    this.#overrides = overrides;
  }

  /** The same ranges, but for values that these records are of. */
  with(records: Observations['tensors']): RangeSource {
    let source = this.#with.get(records);
    if (!source) this.#with.set(records, (source = new RangeSource({ ...this.table, tensors: { ...this.table.tensors, ...records } }, this.#options, this.#overrides)));
    return source;
  }

  /** The range of a value; undefined where it was not observed. Throws `data-invalid` where no element was finite. */
  rangeOf(value: string, choice: RangeChoice): Range | undefined {
    const fixed = this.#overrides[value];
    if (fixed) return fixed;
    const record = this.table.tensors[value];
    if (!record) return undefined;
    if (record.min === null && record.dtype === 'float32') throw noFiniteElement(value, this.table);
    const key = `${rangeLabel(choice)}\0${value}`;
    let range = this.#known.get(key);
    if (!range) {
      const { min, max } = chooseRange(record, choice.method, { percentile: 100, ...this.#options, ...choice });
      this.#known.set(key, (range = [min, max]));
    }
    return range;
  }
}

function noFiniteElement(value: string, table: CalibrationTable): QdqError {
  const [seen] = table.nonFinite.filter(({ tensor }) => tensor === value);
  return new QdqError(
    'data-invalid',
    `calibration saw no finite number at "${value}"${seen ? `: sample "${seen.sample}" made it NaN or infinite` : ''}`,
    'Look at the samples named by `qdq calibrate` for NaN, and leave them out.',
  );
}

/** The choices that are tried, those that a table can serve: a sampled histogram misses the tails that some methods decide by. */
export function usableChoices(table: CalibrationTable, percentiles: readonly number[]): RangeChoice[] {
  return RANGE_METHODS.filter((method) => !(table.sampled && needsEveryElement(method))).flatMap((method): RangeChoice[] =>
    method === 'percentile' ? percentiles.map((percentile) => ({ method, percentile })) : [{ method }],
  );
}
