/** What stands for a figure that could not be had. */
export const NOT_AVAILABLE = 'n/a';

/** Up to `digits` significant digits, without an exponent where it reads well: 1234, 12.3, 0.00123, 1.2e-7. */
export function figure(value: number, digits = 3): string {
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size < 1e-4 || size >= 1e9) return value.toExponential(digits - 1);
  if (size >= 10 ** (digits - 1)) return groupThousands(Math.round(value));
  return value.toPrecision(digits);
}

/** A whole number with its thousands grouped: 1,234. */
export function groupThousands(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** A number of things: "1 sample", "1,200 samples". */
export function countOf(count: number, thing: string): string {
  return `${groupThousands(count)} ${thing}${count === 1 ? '' : 's'}`;
}

/** A size in decimal units: "512 B", "2.41 MB". */
export function bytes(size: number): string {
  const units = ['B', 'kB', 'MB', 'GB'];
  let unit = 0;
  let value = size;
  // 999.5 would be shown as 1000 of the smaller unit.
  while (unit < units.length - 1 && value >= 999.5) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : figure(value)} ${units[unit]}`;
}

/** A time: "12.3 µs", "12.3 ms", "1.23 s", "2 min 5 s". */
export function duration(ms: number): string {
  if (ms < 0.09995) return `${figure(ms * 1000)} µs`;
  if (ms < 999.5) return `${figure(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 119.5) return `${figure(seconds)} s`;
  const whole = Math.round(seconds);
  return `${groupThousands(Math.floor(whole / 60))} min ${whole % 60} s`;
}

/** A share 0 … 1 as a percentage, which says 0 % and 100 % only where that is exact. */
export function percent(share: number): string {
  if (share === 0 || share === 1) return `${share * 100} %`;
  const text = (share * 100).toFixed(1);
  if (text === '100.0' && share < 1) return '> 99.9 %';
  if (text === '0.0' && share > 0) return '< 0.1 %';
  return `${text} %`;
}

/** A ratio: "2.31×". */
export function times(ratio: number): string {
  return `${figure(ratio)}×`;
}

/** A ratio in decibels: "38.2 dB". */
export function decibels(value: number): string {
  return `${value.toFixed(1)} dB`;
}

/** The figure in its form, or that it could not be had. */
export function orNotAvailable<T>(value: T | null | undefined, format: (value: T) => string): string {
  return value === null || value === undefined ? NOT_AVAILABLE : format(value);
}

/** A shape: "[1, 3, ?, N]", or "of any shape" where it is not declared. */
export function shape(dims: readonly (number | string | null)[] | null): string {
  return dims === null ? 'of any shape' : `[${dims.map((dim) => dim ?? '?').join(', ')}]`;
}

/** The first names and how many more there are: "a, b and 3 more". */
export function someOf(names: readonly string[], limit: number): string {
  if (names.length <= limit) return names.join(', ');
  return `${names.slice(0, limit).join(', ')} and ${groupThousands(names.length - limit)} more`;
}

/** Characters that would move a terminal's cursor or break a line, as escapes. Names in models are not ours. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
