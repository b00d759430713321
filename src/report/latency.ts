import type { MedianInterval, Stats } from '../metrics/statistics.js';
import { duration, NOT_AVAILABLE, times } from './format.js';

/** "12.3 ms ± 0.42 ms": the median and, where there is more than one run, the standard deviation. */
export function medianText({ median, stddev }: Stats): string {
  return stddev === null ? duration(median) : `${duration(median)} ± ${duration(stddev)}`;
}

/** "11.9 ms … 14.0 ms". */
export function rangeText({ min, max }: Stats): string {
  return `${duration(min)} … ${duration(max)}`;
}

/** "2.31× [2.25×, 2.40×]". */
export function speedupText(speedup: MedianInterval | null): string {
  return speedup ? `${times(speedup.median)} [${times(speedup.low)}, ${times(speedup.high)}]` : NOT_AVAILABLE;
}

/** "one thread a core" or "2 threads". */
export function threadsText(threads: number): string {
  if (threads === 0) return 'one thread for each core';
  return threads === 1 ? '1 thread' : `${threads} threads`;
}
