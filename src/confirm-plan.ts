import { limitNames } from './data/split.js';
import type { Model } from './graph/model.js';
import { medianRatioInterval, type MedianInterval } from './metrics/statistics.js';
import type { Change } from './passes/pass.js';
import { stageModel, type StagedModel } from './runtime/staged-model.js';
import { showsGain } from './search/choose-plan.js';
import { timeModels } from './search/measure.js';
import type { Search } from './search/search.js';
import type { SearchGoal, SearchResult } from './search/search-result.js';
import { judgeStaged, type Trial, type TrialJob } from './search/trials.js';
import { ratioText } from './search/wording.js';

/** What a chosen plan, carried out as a whole, gave on samples that neither ranges nor choices have seen. */
export interface Confirmation {
  readonly label: string;
  readonly samples: number;
  /** Quality at the worst output in dB; null where it could not be had. */
  readonly sqnrDb: number | null;
  /** The same on samples that gave ranges; null where it could not be had, or was not looked for. */
  readonly seenDb: number | null;
  /** By how much the task metric got worse; null without labels. */
  readonly drop: number | null;
  /** Time of the float model over its own. */
  readonly speedup: MedianInterval | null;
  readonly holds: boolean;
}

/** Plans that are carried out and judged as a whole, at most. */
const MAX_CONFIRMATIONS = 4;
const TIME_BUDGET_MS = 1_500;

/**
 * What is asked on top where a plan does not keep the whole margin: other samples may lie as far apart again. Source: the median gap between samples
 * that judge and unseen ones, in an experiment on 29 real models.
 */
const OTHERS_DB = 1.7;

/** The same where they gave ranges too. Source: the same experiment. */
const SEEN_DB = 5.8;

/** Samples that gave ranges and are judged again, at most. */
const MAX_SEEN = 8;

const TIMED_SAMPLES = 4;

/** A plan that was settled, and what it was confirmed by. */
export interface Confirmed<T> {
  readonly found: SearchResult;
  readonly settled: T;
  readonly confirmations: readonly Confirmation[];
  readonly changes: readonly Change[];
}

/**
 * Carries out what a search chose and judges it as a whole on the samples of `trial`, and on those of `seen`, which flatter it: few samples say little
 * where some are far louder than others, and what fails on those that gave its ranges fails. Where it misses the budget, or is slower than float by the
 * whole of its interval, the search gives its next best plan; where none holds, it is the one that misses the least of those that were carried out.
 */
export async function confirmPlan<T extends { readonly model: Model }>(
  search: Search,
  first: SearchResult,
  settle: (found: SearchResult) => Promise<T>,
  { trial, seen, goal, isStopped }: { readonly trial: TrialJob; readonly seen: readonly string[]; readonly goal: SearchGoal; readonly isStopped: () => boolean },
): Promise<Confirmed<T>> {
  const tried: { found: SearchResult; settled: T; confirmation: Confirmation }[] = [];
  for (let found: SearchResult | undefined = first; found; ) {
    const settled = await settle(found);
    const confirmation = await confirm({ trial, seen: limitNames(seen, MAX_SEEN) }, settled.model, found, goal, search.floatMs);
    tried.push({ found, settled, confirmation });
    if (confirmation.holds || tried.length === MAX_CONFIRMATIONS || isStopped()) break;
    found = await search.next({ planned: found.planned, missingDb: missingOf(confirmation, goal, wantedOf(found, goal)), missingOfWholeDb: missingOf(confirmation, goal, { confirming: goal.minSqnrDb, seen: goal.minSqnrDb }) });
  }
  const last = tried.at(-1)!;
  const chosen = last.confirmation.holds ? last : tried.reduce((a, b) => (leastOf(b.confirmation) > leastOf(a.confirmation) ? b : a));
  const confirmations = tried.map(({ confirmation }) => confirmation);
  const candidates = last.found.candidates.map((candidate, i) => ({ ...candidate, chosen: chosen.found.candidates[i]?.chosen ?? false }));
  return { found: { ...chosen.found, candidates, noGain: noGainOf(chosen) }, settled: chosen.settled, confirmations, changes: describe(confirmations) };
}

/** Why a plan shows no gain, now that it was timed as a whole too. */
function noGainOf({ found: { noGain, integerNodes, candidates }, confirmation: { speedup } }: { readonly found: SearchResult; readonly confirmation: Confirmation }): string | null {
  if (integerNodes === 0 || !speedup) return noGain;
  if (showsGain({ integerNodes, speedup })) return null;
  const before = candidates.find(({ chosen }) => chosen)?.speedupInterval ?? null;
  return noGain ?? `it has ${ratioText(before)} the speed of float by the times that it was chosen by, and ${ratioText(speedup)} measured again as a whole`;
}

/** What is asked of a plan in dB: on samples that confirm, and on those that gave ranges. */
function wantedOf({ sqnrDb }: SearchResult, { minSqnrDb, marginDb }: SearchGoal): { readonly confirming: number; readonly seen: number } {
  const isBold = sqnrDb < minSqnrDb + marginDb;
  return { confirming: minSqnrDb + (isBold ? OTHERS_DB : 0), seen: minSqnrDb + (isBold ? SEEN_DB : 0) };
}

/** By how much a plan misses what is asked in dB; by nothing where the budget is a drop of the task metric. */
function missingOf({ sqnrDb, seenDb }: Confirmation, { maxDrop }: SearchGoal, { confirming, seen }: ReturnType<typeof wantedOf>): number {
  return maxDrop === undefined ? Math.max(0, confirming - (sqnrDb ?? confirming), seen - (seenDb ?? seen)) : 0;
}

const leastOf = ({ sqnrDb, seenDb }: Confirmation): number => Math.min(sqnrDb ?? -Infinity, seenDb ?? Infinity);

interface ConfirmJob {
  readonly trial: TrialJob;
  readonly seen: readonly string[];
}

async function confirm({ trial, seen }: ConfirmJob, model: Model, found: SearchResult, goal: SearchGoal, floatMs: number): Promise<Confirmation> {
  const { label, integerNodes } = found;
  const staged = await stageModel(trial.host, model, 'confirmed.onnx', trial.baseline.externalDataFolder);
  const [{ sqnrDb, drop }] = (await judgeStaged(trial, [staged], goal.run)) as [Trial];
  const isMet = goal.maxDrop === undefined ? sqnrDb >= wantedOf(found, goal).confirming : drop === null || drop <= goal.maxDrop;
  const again = isMet && goal.maxDrop === undefined && seen.length > 0 ? (await judgeStaged({ ...trial, samples: seen }, [staged], goal.run))[0]!.sqnrDb : Infinity;
  const inBudget = isMet && again >= wantedOf(found, goal).seen;
  const speedup = inBudget && integerNodes > 0 ? await time(trial, staged, goal, floatMs) : null;
  const finite = (quality: number) => (Number.isFinite(quality) ? quality : null);
  return { label, samples: trial.samples.length, sqnrDb: finite(sqnrDb), seenDb: finite(again), drop, speedup, holds: inBudget && !(goal.prefer === 'speed' && speedup !== null && speedup.high < 1) };
}

async function time(trial: TrialJob, staged: StagedModel, { threads }: SearchGoal, floatMs: number): Promise<MedianInterval | null> {
  const [times] = await timeModels({ ...trial, samples: trial.samples.slice(0, TIMED_SAMPLES) }, [staged], threads, TIME_BUDGET_MS, floatMs);
  return medianRatioInterval(times!.baselineMs, times!.candidateMs);
}

/** What came of it, in words; that samples which confirm have also chosen is said where they have. */
function describe(confirmations: readonly Confirmation[]): Change[] {
  const given = confirmations.filter(({ holds }) => !holds);
  if (given.length === 0) return [];
  const figures = confirmations.map(({ label, sqnrDb, seenDb, drop, speedup, holds }) => {
    const seen = seenDb !== null && seenDb < (sqnrDb ?? seenDb) ? ` and ${seenDb.toFixed(1)} dB on those that gave ranges` : '';
    const error = drop === null ? `${sqnrDb?.toFixed(1) ?? 'no'} dB${seen}` : `a drop of ${drop.toPrecision(3)}`;
    return `"${label}" ${error}${speedup ? `, ${speedup.median.toFixed(2)} × the speed of float` : ''}${holds ? '' : ', given up'}`;
  });
  const { samples } = confirmations[0]!;
  return [{ pass: 'confirmation', names: [], message: `on the ${samples} samples that gave neither ranges nor choices until then: ${figures.join('; ')}. They have chosen among ${confirmations.length} plans by that` }];
}
