import type { MedianInterval } from '../metrics/statistics.js';

/** What the best plan is, among those inside the error budget. */
export type Preference = 'speed' | 'integer' | 'size';

/** What a plan is chosen by. */
export interface Standing {
  /** Quality at the worst output on the samples that judged, in dB. */
  readonly sqnrDb: number;
  /** By how much the task metric got worse; null without labels. */
  readonly drop: number | null;
  /** Time of the float model over its own. */
  readonly speedup: MedianInterval | null;
  /** Nodes that multiply and run on integers; none in the float model after clean-up. */
  readonly integerNodes: number;
  readonly weightBytes: number;
}

/** What is asked of the plan that is chosen. */
export interface ChoiceRules {
  /** What every output is to have on unseen samples; `maxDrop` counts instead where it is given. */
  readonly minSqnrDb: number;
  /** What is asked on top on the samples that judge. */
  readonly marginDb: number;
  readonly maxDrop: number | undefined;
  readonly prefer: Preference;
  /** The least that is asked of a plan on the samples that judge, where the whole margin cannot be had. */
  readonly leastDb: number;
  /** Whether samples that gave neither ranges nor choices will confirm the choice, or refute it. */
  readonly isConfirmed: boolean;
}

/** What counts as faster than float. */
export const FASTER = 1.05;

/** Share of the margin that a plan must keep which is faster than float where those that keep all of it are not, or clearly slower. */
const LEAST_MARGIN = 0.6;

/** What a plan with fewer integer nodes must win in time to be kept instead of one with more: less is within the noise of timing. */
const MIN_GAIN = 1.02;

/** By what factor, at least, and outside the intervals of both, what has no integers or less of the margin must be faster to be taken instead. */
export const CLEARLY_FASTER = 1.1;

/** Where nothing wins: how much larger a plan with integer nodes may be than the smallest, to be taken all the same. */
const SIMILAR_SIZE = 1.25;

/** Whether a plan keeps the error budget with its margin. */
export function keepsBudget({ sqnrDb, drop }: Pick<Standing, 'sqnrDb' | 'drop'>, { minSqnrDb, marginDb, maxDrop, leastDb }: Omit<ChoiceRules, 'prefer' | 'isConfirmed'>): boolean {
  return maxDrop === undefined ? sqnrDb >= Math.max(minSqnrDb + marginDb, leastDb) : drop !== null && drop <= maxDrop;
}

/** Whether a plan keeps as much of the margin as it must to be taken for its speed, where the choice will be confirmed. */
export function keepsLeastMargin({ sqnrDb }: Pick<Standing, 'sqnrDb'>, rules: Omit<ChoiceRules, 'prefer'>): boolean {
  return rules.isConfirmed && rules.maxDrop === undefined && sqnrDb >= partOfMargin(rules);
}

/** Quality in dB with the part of the margin that a plan must keep to be taken for its speed. */
export function partOfMargin({ minSqnrDb, marginDb, leastDb }: Pick<ChoiceRules, 'minSqnrDb' | 'marginDb' | 'leastDb'>): number {
  return Math.max(minSqnrDb + LEAST_MARGIN * marginDb, leastDb);
}

/**
 * The best of the plans. For speed: the fastest on integers that keeps the budget with its margin, or a clearly faster one that keeps a part of the
 * margin and will be confirmed; where none of those is faster than float, the quietest faster one that keeps a part of the margin, or the least that
 * is asked; where there is none, nothing wins, and it is the smallest that keeps the budget and is not slower than float, on integers only if that
 * is smaller than float. Where nothing keeps the budget, the quietest that is faster, or the quietest of all.
 */
export function choosePlan<T extends Standing>(plans: readonly T[], rules: ChoiceRules): T {
  const { prefer, maxDrop, leastDb } = rules;
  const good = plans.filter((plan) => keepsBudget(plan, rules));
  const fast = plans.filter((plan) => isInteger(plan) && speedOf(plan) >= FASTER);
  if (prefer === 'size' && good.length > 0) return smallest(good);
  if (prefer === 'integer' && good.some(isInteger)) return mostIntegers(good);
  // Where timing is noisy, those first that are faster beyond doubt.
  for (const those of [fast.filter(({ speedup }) => speedup!.low >= FASTER), fast.filter(({ speedup }) => speedup!.low > 1), fast]) {
    const winners = good.filter((plan) => those.includes(plan));
    if (winners.length > 0) {
      const quiet = fastest(winners);
      const bold = those.filter((plan) => keepsLeastMargin(plan, rules) && isClearlyFaster(plan, quiet, boldness(plan, rules)));
      const best = bold.length > 0 ? fastest(bold) : quiet;
      const float = good.filter((plan) => !isInteger(plan));
      return float.find((plan) => isClearlyFaster(plan, best)) ?? best;
    }
    for (const least of maxDrop === undefined ? [partOfMargin(rules), leastDb] : []) {
      const nearly = those.filter(({ sqnrDb }) => sqnrDb >= least);
      if (nearly.length > 0) return quietest(nearly);
    }
  }
  // Integers that are neither faster nor smaller than float bring nothing.
  const floats = plans.filter((plan) => !isInteger(plan));
  const floatBytes = floats.length > 0 ? Math.max(...floats.map(({ weightBytes }) => weightBytes)) : Infinity;
  const notSlower = good.filter((plan) => !isInteger(plan) || (speedOf(plan) >= 1 && plan.weightBytes < floatBytes));
  if (notSlower.length > 0) return smallest(notSlower, SIMILAR_SIZE);
  return good.length > 0 ? fastest(good) : quietest(fast.length > 0 ? fast : plans);
}

/** Whether a plan is faster than float by what counts, and beyond doubt faster at all. */
export function showsGain({ integerNodes, speedup }: Pick<Standing, 'integerNodes' | 'speedup'>): boolean {
  return integerNodes > 0 && speedup !== null && speedup.median >= FASTER && speedup.low > 1;
}

/** The fastest plan on integers of those that keep the budget, or where none does, of all; undefined where none was timed. */
export function fastestOnIntegers<T extends Standing>(plans: readonly T[], keeps: (plan: T) => boolean): T | undefined {
  const timed = plans.filter((plan) => isInteger(plan) && plan.speedup !== null);
  const good = timed.filter(keeps);
  return (good.length > 0 ? good : timed).sort((a, b) => speedOf(b) - speedOf(a))[0];
}

/** The fastest, or one with more integer nodes, or as many and smaller, that is as fast as far as the clock can tell. */
function fastest<T extends Standing>(plans: readonly T[]): T {
  const most = Math.max(...plans.map(speedOf));
  const asFast = plans.filter((plan) => most <= MIN_GAIN * speedOf(plan) && most <= (plan.speedup?.high ?? most));
  return mostIntegers([...asFast].sort((a, b) => a.weightBytes - b.weightBytes));
}

/** The smallest, or one with more integer nodes that is at most `similar` times as large. */
function smallest<T extends Standing>(plans: readonly T[], similar = 1): T {
  const least = Math.min(...plans.map(({ weightBytes }) => weightBytes));
  return mostIntegers(plans.filter(({ weightBytes }) => weightBytes <= similar * least));
}

function isClearlyFaster({ speedup }: Standing, { speedup: other }: Standing, factor = CLEARLY_FASTER): boolean {
  return speedup !== null && other !== null && speedup.median >= factor * other.median && speedup.low > other.high;
}

/** By what factor a plan must be faster for what it lacks of the margin: the less it keeps, the more. */
function boldness({ sqnrDb }: Standing, { minSqnrDb, marginDb }: ChoiceRules): number {
  const lackDb = Math.max(0, minSqnrDb + marginDb - sqnrDb);
  return 1 + (CLEARLY_FASTER - 1) * Math.min(1, lackDb / ((1 - LEAST_MARGIN) * marginDb));
}

const isInteger = ({ integerNodes }: Standing) => integerNodes > 0;
const speedOf = ({ speedup }: Standing) => speedup?.median ?? 0;
const quietest = <T extends Standing>(plans: readonly T[]) => plans.reduce((a, b) => (b.sqnrDb > a.sqnrDb ? b : a));
const mostIntegers = <T extends Standing>(plans: readonly T[]) => plans.reduce((a, b) => (b.integerNodes > a.integerNodes ? b : a));
