import { performance } from 'node:perf_hooks';

/** Phases of a quantization, as `durationMs` names them. */
export type Phase = 'read' | 'calibrate' | 'plan' | 'write' | 'verify';

/** Time by phase, in milliseconds. */
export type PhaseTimes = Readonly<Record<Phase | 'total', number>>;

/** Sums up how long phases take. */
export interface Stopwatch {
  /** Counts the time since the last lap for a phase. */
  lap(phase: Phase): void;
  read(): PhaseTimes;
}

/** A stopwatch that runs from now. */
export function startStopwatch(): Stopwatch {
  const start = performance.now();
  const laps: Record<Phase, number> = { read: 0, calibrate: 0, plan: 0, write: 0, verify: 0 };
  let last = start;
  return {
    lap(phase) {
      const now = performance.now();
      laps[phase] += now - last;
      last = now;
    },
    read: () => ({ ...laps, total: performance.now() - start }),
  };
}
