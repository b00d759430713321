import { createHash } from 'node:crypto';
import { QdqError } from '../errors.js';

/** From this many samples on, every fourth is held out. */
export const HOLD_OUT_MIN_SAMPLES = 8;

/**
 * The names that a split keeps, in their order: `even` and `odd` by position, counted from 0; `N%` the first N percent (rounded,
 * at least one) in the order of a seeded hash of the name, so that the choice does not follow the order of the names. Throws
 * QdqError `usage`.
 */
export function splitNames(names: readonly string[], split: string): string[] {
  if (split === 'even' || split === 'odd') return names.filter((_, i) => i % 2 === (split === 'even' ? 0 : 1));
  const percent = Number(/^(\d+(?:\.\d+)?)%$/.exec(split)?.[1] ?? NaN);
  if (!(percent > 0 && percent <= 100)) {
    throw new QdqError('usage', `--split ${split}: expected even, odd or a percentage such as 20%`);
  }
  return drawNames(names, Math.max(1, Math.round((names.length * percent) / 100)), 'split');
}

/** The names to hold out from calibration: a quarter, drawn by a seeded hash of the name; none where there are fewer than eight. */
export function holdOut(names: readonly string[]): ReadonlySet<string> {
  return new Set(names.length < HOLD_OUT_MIN_SAMPLES ? [] : drawNames(names, Math.floor(names.length / 4), 'hold-out'));
}

/** From this many samples on, half of them judge plans whose ranges come from the other half. */
export const JUDGE_MIN_SAMPLES = 4;

/** Half of the names, drawn by a seeded hash of the name; all of them where there are fewer than four. */
export function judgingHalf(names: readonly string[]): string[] {
  return names.length < JUDGE_MIN_SAMPLES ? [...names] : drawNames(names, Math.floor(names.length / 2), 'judge');
}

/** At most `limit` names, evenly spaced, so that all classes of a sorted set are among them. */
export function limitNames(names: readonly string[], limit: number): string[] {
  checkLimit(limit);
  if (names.length <= limit) return [...names];
  return Array.from({ length: limit }, (_, i) => names[Math.floor((i * names.length) / limit)]!);
}

/** The names in an order whose first few are spread over all of them, halves and every other one alike: by multiples of the golden ratio. */
export function spreadNames(names: readonly string[]): string[] {
  const at = (i: number) => names[Math.floor(((i * GOLDEN_RATIO) % 1) * names.length)]!;
  return [...new Set([...names.map((_, i) => at(i)), ...names])];
}

const GOLDEN_RATIO = (Math.sqrt(5) - 1) / 2;

/** Throws QdqError `usage` where a limit is not a positive integer. */
export function checkLimit(limit: number): void {
  if (!Number.isSafeInteger(limit) || limit < 1) throw new QdqError('usage', `--limit ${limit}: expected a positive integer`);
}

function drawNames(names: readonly string[], count: number, seed: string): string[] {
  const drawn = new Set(
    names
      .map((name) => ({ name, hash: createHash('sha256').update(`${seed}\0${name}`).digest('hex') }))
      .sort((a, b) => (a.hash < b.hash ? -1 : 1))
      .slice(0, count)
      .map(({ name }) => name),
  );
  return names.filter((name) => drawn.has(name));
}
