import { performance } from 'node:perf_hooks';
import type { PairedTimes } from '../evaluation/time.js';
import { medianRatioInterval, statsOf, type MedianInterval } from '../metrics/statistics.js';
import { stageModel, type StagedModel } from '../runtime/staged-model.js';
import { FASTER } from './choose-plan.js';
import type { Contender } from './contender.js';
import { leastTimingMs, timeModels } from './measure.js';
import type { Planner } from './planner.js';
import type { SearchGoal } from './search-result.js';
import type { TrialJob } from './trials.js';

/** Plans that are timed at most, and at least, however long a run takes. */
const MAX_PLANS = 10;
const LEAST_PLANS = 2;

/** What is predicted may be so much less than what is measured: in profiles, plans of many small nodes seem slower than they are. */
const PREDICTION_ERROR = 0.7;

/** For a first look at all plans there is this share of the time. */
const FIRST_SHARE = 0.6;

/** Repetitions of timings that have not decided, the plans that they are for, and how far apart the ends of an interval may be among equals. */
const MAX_REPETITIONS = 4;
const MAX_RIVALS = 2;
const MAX_WIDTH = 1.05;

/** Time in which plans are timed once the search was stopped. */
const LAST_LOOK_MS = 4_000;

/** Time in which the float model after clean-up is timed. */
const CLEAN_BUDGET_MS = 1_500;

/** Time for the second measurement of a plan. */
const AGAIN_MS = 1_500;

/** How plans are timed. */
export interface TimingRules {
  /** Time of one run of the float model. */
  readonly floatMs: number;
  /** Whether a plan may be chosen. */
  readonly mayWin: (one: Contender) => boolean;
  readonly isStopped: () => boolean;
}

/**
 * Plans in the order in which they are worth timing, as there may be time for few: the fastest that is quiet enough and the fastest that may be chosen
 * for its speed, by what is predicted, and the first of all for comparison; then all that may be chosen and that may be as fast, as they were tried; then
 * the others from the quietest on.
 */
export function timingOrder<T extends Pick<Contender, 'sqnrDb'>>(plans: readonly T[], { good, mayWin }: Readonly<Record<'good' | 'mayWin', (one: T) => boolean>>, predictedSpeedup: (one: T) => number): T[] {
  const speeds = new Map(plans.map((one) => [one, predictedSpeedup(one)]));
  const fastestFirst = plans.filter(mayWin).sort((a, b) => speeds.get(b)! - speeds.get(a)!);
  const [quiet, bold] = [fastestFirst.find(good), fastestFirst.find((one) => !good(one))];
  const asFast = plans.filter((one) => mayWin(one) && speeds.get(one)! >= PREDICTION_ERROR * speeds.get(fastestFirst[0]!)!);
  return [...new Set([...[quiet, bold, plans[0]].filter((one) => one !== undefined), ...asFast, ...[...plans].sort((a, b) => b.sqnrDb - a.sqnrDb)])];
}

/** Times of plans, each taken in turn with the float model. */
export class PlanClock {
  readonly #job: TrialJob;
  readonly #planner: Planner;
  readonly #goal: SearchGoal;
  readonly #times = new Map<Contender, PairedTimes>();
  readonly #speedups = new Map<Contender, MedianInterval | null>();

  constructor(job: TrialJob, planner: Planner, goal: SearchGoal) {
    this.#job = job;
    this.#planner = planner;
    this.#goal = goal;
  }

  /** Time of one run of the float model after clean-up, in milliseconds, and what clean-up won. */
  async timeFloat(): Promise<{ readonly floatMs: number; readonly speedup: MedianInterval | null }> {
    const clean = await stageModel(this.#job.host, this.#planner.float, 'clean-float.onnx', this.#job.baseline.externalDataFolder);
    const [times] = await timeModels(this.#job, [clean], this.#goal.threads, CLEAN_BUDGET_MS);
    return { floatMs: Math.max(1e-3, statsOf(times!.candidateMs)?.median ?? 1), speedup: medianRatioInterval(times!.baselineMs, times!.candidateMs) };
  }

  /** Time of the float model over that of a plan; undefined where it was not timed. */
  speedup(one: Contender): MedianInterval | null | undefined {
    return this.#speedups.get(one);
  }

  /** Lets a plan have the speed-up of another model that runs alike. */
  set(one: Contender, speedup: MedianInterval | null): void {
    this.#speedups.set(one, speedup);
  }

  /** Times the plans that were not timed yet, as many of the first as there is time for, and those between which the clock has not decided again. */
  async time(plans: readonly Contender[], { floatMs, mayWin, isStopped }: TimingRules): Promise<void> {
    const timingMs = isStopped() ? Math.min(LAST_LOOK_MS, this.#goal.budget.timingMs) : this.#goal.budget.timingMs;
    const most = Math.max(LEAST_PLANS, Math.min(MAX_PLANS, Math.floor((FIRST_SHARE * timingMs) / leastTimingMs(floatMs))));
    await this.#add(plans.filter((one) => !this.#speedups.has(one)).slice(0, most), FIRST_SHARE * timingMs, floatMs);
    const rest = (1 - FIRST_SHARE) * timingMs;
    const end = performance.now() + rest;
    while (performance.now() < end && !isStopped()) {
      const rivals = this.#undecided(plans.filter(mayWin));
      if (rivals.length === 0 || rivals.length * leastTimingMs(floatMs) > end - performance.now()) break;
      await this.#add(rivals, rest / MAX_REPETITIONS, floatMs);
    }
  }

  /** Times a plan once more. Gives what this measurement alone shows. */
  async again(one: Contender, floatMs: number): Promise<MedianInterval | null> {
    const [times] = await this.#add([one], AGAIN_MS, floatMs);
    return times ? medianRatioInterval(times.baselineMs, times.candidateMs) : null;
  }

  /** Gives the new times. */
  async #add(those: readonly Contender[], budgetMs: number, floatMs: number): Promise<PairedTimes[]> {
    if (those.length === 0) return [];
    const staged: StagedModel[] = [];
    for (const [i, { planned, staged: kept }] of those.entries()) {
      staged.push(kept ?? (await stageModel(this.#job.host, this.#planner.quantize(planned).model, `search-${i}.onnx`, this.#job.baseline.externalDataFolder)));
    }
    const times = await timeModels(this.#job, staged, this.#goal.threads, budgetMs, floatMs);
    for (const [i, one] of those.entries()) {
      const before = this.#times.get(one);
      const baselineMs = [...(before?.baselineMs ?? []), ...times[i]!.baselineMs];
      const candidateMs = [...(before?.candidateMs ?? []), ...times[i]!.candidateMs];
      this.#times.set(one, { baselineMs, candidateMs });
      this.#speedups.set(one, medianRatioInterval(baselineMs, candidateMs));
    }
    return times;
  }

  /** The fastest and those that may be as fast, where it is open whether it is faster than float, or which of them is the fastest. */
  #undecided(plans: readonly Contender[]): Contender[] {
    const timed = plans.flatMap((one) => {
      const speedup = this.#times.has(one) ? this.#speedups.get(one) : null;
      return speedup ? [{ one, speedup }] : [];
    });
    const [best, ...others] = timed.sort((a, b) => b.speedup.median - a.speedup.median);
    if (!best) return [];
    const { low, high, median } = best.speedup;
    const rivals = others.filter(({ speedup }) => speedup.high > median).slice(0, MAX_RIVALS);
    const isOpen = (low < FASTER && high >= FASTER) || (rivals.length > 0 && high > MAX_WIDTH * low);
    return isOpen ? [best, ...rivals].map(({ one }) => one) : [];
  }
}
