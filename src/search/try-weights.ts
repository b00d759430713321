import type { Change } from '../passes/pass.js';
import type { Contender, Proposal } from './contender.js';
import type { Choices, Planner } from './planner.js';
import type { SearchGoal } from './search-result.js';
import { judgeModels, type TrialJob } from './trials.js';
import { weightsLabel } from './wording.js';

/** Error that this machine's kernels may add to the rounding before other weights are tried. */
const SATURATION_DB = 1;

/** What a trial of weights takes. */
export interface WeightTools {
  readonly job: TrialJob;
  readonly planner: Planner;
  readonly goal: SearchGoal;
  readonly keepsBudget: (one: Contender) => boolean;
  readonly tryPlans: (those: readonly Proposal[]) => Promise<Contender[]>;
}

/** Where sums of products saturate on this machine: weights in fewer bits, or unsigned ones, for which it adds exactly. Undefined where those of `here` are as good. */
export async function tryWeights(here: Contender, { job, planner, goal, keepsBudget, tryPlans }: WeightTools): Promise<{ readonly choices: Choices; readonly change: Change } | undefined> {
  const { otherWeights, run, minSqnrDb } = goal;
  if (otherWeights.length === 0 || run !== 'here') return undefined;
  const { choices, label } = here;
  const [simulated] = await judgeModels(job, [planner.quantize(here.planned).model], 'simulated');
  const exact = simulated!.sqnrDb;
  const showsHere = here.sqnrDb < exact - SATURATION_DB;
  // What is dynamic saturates in a simulation as well.
  const mayHide = here.planned.others.size + planner.nodesInBodies().length > 0 && !keepsBudget(here);
  if (!showsHere && !mayHide) return undefined;
  const tried = await tryPlans(otherWeights.map((weights) => ({ label: `${label}, ${weightsLabel(weights)}`, choices: { ...choices, weights }, allStatic: true })));
  // Unsigned weights have slower kernels: they are tried as a whole only, unless nothing else is quiet enough.
  const signed = tried.filter(({ choices: { weights } }) => weights.weightType === 'int8');
  const best = [...signed, here].some(({ sqnrDb }) => sqnrDb >= minSqnrDb) ? signed[0] : [...tried].sort((a, b) => b.sqnrDb - a.sqnrDb)[0];
  if (!best || best.sqnrDb <= here.sqnrDb + SATURATION_DB) return undefined;
  const message = `${weightsLabel(best.choices.weights)} instead of s8 in 8 bits: sums of u8 × s8 products saturate on this machine, ${here.sqnrDb.toFixed(1)} → ${best.sqnrDb.toFixed(1)} dB (${showsHere ? `${exact.toFixed(1)} dB where they are exact; ` : ''}name the --target to rule this out)`;
  return { choices: best.choices, change: { pass: 'weights', names: [], message } };
}
