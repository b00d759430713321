import type { QuantizeCheck } from './check-quantized.js';
import type { MedianInterval } from './metrics/statistics.js';
import type { Warning } from './progress.js';

/** How far apart the ends of an interval may be, as a ratio; and where 1 lies between them. */
const MAX_WIDTH = 1.5;
const MAX_WIDTH_AROUND_ONE = 1.1;

/** Whether an interval is too wide to say how fast a model is, or even whether it is faster. */
export function isNoisy({ low, high }: MedianInterval): boolean {
  const width = high / low;
  return width > MAX_WIDTH || (low < 1 && high > 1 && width > MAX_WIDTH_AROUND_ONE);
}

/** Says that timing has not decided, with the interval; undefined where it has. */
export function timingWarning({ speedupInterval, runs }: Pick<QuantizeCheck, 'speedupInterval' | 'runs'>): Warning | undefined {
  if (!speedupInterval || !isNoisy(speedupInterval)) return undefined;
  const { median, low, high } = speedupInterval;
  const open = low < 1 && high > 1 ? 'whether the quantized model is faster is open' : 'how much faster or slower the quantized model is, is open';
  return {
    code: 'timing-noisy',
    message: `${open}: its speed-up of ${median.toFixed(2)} has a 95 % interval from ${low.toFixed(2)} to ${high.toFixed(2)} over ${runs} pairs of runs`,
    advice: 'Time it again with `qdq compare` when nothing else runs on this machine, with more --runs or with --threads 1; plans were chosen by times as noisy as these.',
  };
}
