import type { SearchGoal } from './search-result.js';

/** Time in milliseconds that is left for further plans, where a run of the float model takes `floatMs`: what follows the search is taken off. Negative where it is late. */
export function timeLeft({ begunAt, endRuns, budget }: Pick<SearchGoal, 'begunAt' | 'endRuns'> & { readonly budget: Pick<SearchGoal['budget'], 'totalMs'> }, floatMs: number, now: number): number {
  return begunAt + budget.totalMs - endRuns * floatMs - now;
}

/** How many further plans there is time for, where one takes `planMs`; at least one where none is known yet that will do. */
export function plansInTime(leftMs: number, planMs: number, isEnough: boolean): number {
  return Math.max(isEnough ? 0 : 1, Math.floor(leftMs / Math.max(1e-3, planMs)));
}
