import type { Change } from '../passes/pass.js';
import type { Contender, Proposal } from './contender.js';
import { proposeMigrations, scaledMeans, type RangeSamples } from './migrate-scales.js';
import type { Migration } from './migration.js';
import type { Choices, Planner } from './planner.js';
import type { SearchGoal } from './search-result.js';
import { judgeModels, type TrialJob } from './trials.js';
import { weightsLabel } from './wording.js';

/** What moved scales must win at the worst output to be kept, and how near the float model must stay to what it was. */
const GAIN_DB = 1;
const SAME_FLOAT_DB = 60;

/** What a trial of migrations takes. */
export interface MigrationTools {
  readonly job: TrialJob;
  readonly planner: Planner;
  readonly rangeSamples: RangeSamples;
  readonly goal: SearchGoal;
  readonly tryPlans: (those: readonly Proposal[]) => Promise<Contender[]>;
}

/** Moves scales from activations into weights with several shares. Gives the plans that were tried, and the choices that are better than before. */
export async function tryMigration(before: Contender, { job, planner, rangeSamples, goal, tryPlans }: MigrationTools): Promise<{ kept: Choices | undefined; tried: readonly Contender[] }> {
  const migrations = await proposeMigrations(job, planner, rangeSamples);
  const { choices, label } = before;
  const sites = planner.migrationSites();
  const tried = await tryPlans(
    migrations.map((migration) => ({
      label: `${label}, scales moved into weights (α = ${migration.alpha})`,
      choices: { ...choices, migration, means: choices.means && scaledMeans(choices.means, sites, migration) },
      allStatic: true,
    })),
  );
  // They are equally fast: the quietest stands for all.
  const [best] = [...tried].sort((a, b) => b.sqnrDb - a.sqnrDb);
  if (!best || best.sqnrDb <= before.sqnrDb + GAIN_DB || !(await staysSame(job, best.choices.migration!))) return { kept: undefined, tried };
  const signed = await trySigned(best, goal, tryPlans);
  return signed ? { kept: signed.choices, tried: [...tried, signed] } : { kept: best.choices, tried };
}

/** Whether the float model gives what it gave before, but for rounding. */
async function staysSame(job: TrialJob, { float }: Migration): Promise<boolean> {
  const [judged] = await judgeModels(job, [float], 'simulated');
  return judged!.sqnrDb >= SAME_FLOAT_DB;
}

/** Signed weights, whose kernels are faster, where unsigned ones were taken because nothing else was quiet enough before. */
async function trySigned({ label, choices }: Contender, { otherWeights, minSqnrDb }: SearchGoal, tryPlans: MigrationTools['tryPlans']): Promise<Contender | undefined> {
  const weights = otherWeights.find(({ weightType }) => weightType === 'int8');
  if (choices.weights.weightType !== 'uint8' || !weights) return undefined;
  const [signed] = await tryPlans([{ label: `${label}, ${weightsLabel(weights)}`, choices: { ...choices, weights }, allStatic: true }]);
  return signed && signed.sqnrDb >= minSqnrDb ? signed : undefined;
}

/** What moved scales won, where the chosen plan has any. */
export function describeMigration({ choices: { migration } }: Pick<Contender, 'choices'>, contenders: readonly Contender[]): Change[] {
  if (!migration) return [];
  const figure = (those: readonly Contender[]) => `${Math.max(...those.map(({ sqnrDb }) => sqnrDb)).toFixed(1)} dB`;
  const wholes = contenders.filter(({ allStatic }) => allStatic);
  const [without, moved] = [wholes.filter((one) => !one.choices.migration), wholes.filter((one) => one.choices.migration === migration)];
  const message = `the channels of ${migration.scales.length} activations were scaled, and the weights that they meet the other way (α = ${migration.alpha}): ${figure(without)} → ${figure(moved)}`;
  return [{ pass: 'scale-migration', names: migration.scales.map(({ value }) => value), message }];
}
