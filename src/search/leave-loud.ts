import type { Contender, Proposal } from './contender.js';
import { loudNodes } from './loud-nodes.js';
import type { Choices, Planner } from './planner.js';
import type { RangeSource } from './range-source.js';
import type { SearchGoal } from './search-result.js';
import { withStored } from './store-weights.js';
import { judgeModels, type TrialJob } from './trials.js';
import { LEFT_IN_FLOAT } from './wording.js';

/** What nodes in bodies must win at the worst output to stay in float. */
const BODY_GAIN_DB = 1;

/** What loud nodes are found and left out with. */
export interface LeavingTools {
  readonly job: TrialJob;
  readonly planner: Planner;
  readonly ranges: RangeSource;
  readonly goal: SearchGoal;
  /** Quality in dB that is asked of a plan. */
  readonly wantedDb: number;
  readonly keepsBudget: (one: Contender) => boolean;
  readonly tryPlans: (those: readonly Proposal[]) => Promise<Contender[]>;
}

/** Nodes in bodies of control flow in float, where dynamic ones do not keep the budget: all of them, or those that make the noise. */
export async function tryBodies(before: Contender, tools: LeavingTools): Promise<Choices | undefined> {
  const { planner, keepsBudget, tryPlans } = tools;
  const { choices } = before;
  const names = planner.nodesInBodies().map(({ name }) => name);
  if (names.length === 0) return undefined;
  const kept = (those: readonly string[]): Choices => ({ ...choices, bodies: new Map(those.map((name) => [name, LEFT_IN_FLOAT] as const)) });
  const [allFloat] = await tryPlans([{ label: 'bodies in float', choices: kept(names), allStatic: false, isFloat: true }]);
  if (!allFloat || keepsBudget(before) || allFloat.sqnrDb <= before.sqnrDb + BODY_GAIN_DB) return undefined;
  const rest = 10 ** (-allFloat.sqnrDb / 10);
  // What made no difference did not run: it cannot be judged, where others like it are too loud.
  const loud = await loudAmong(names, tools, { rest, without: kept, isLoud: (noise) => noise === 0 });
  const [found] = loud.length < names.length ? await tryPlans([{ label: `${loud.length} of ${names.length} nodes in bodies in float`, choices: kept(loud), allStatic: false }]) : [];
  return (found ?? allFloat).choices;
}

/** The float model after clean-up, as it is and, where there is time, with weights that are integers in the file: what is written where no integers win. */
export async function tryFloat(choices: Choices, isTooLate: boolean, tools: LeavingTools): Promise<void> {
  const { planner, keepsBudget, tryPlans } = tools;
  const storing = (names: readonly string[]) => withStored(planner, choices, names);
  const storable = isTooLate ? [] : planner.storableNodes().map(({ name }) => name);
  const tried = (label: string, names: readonly string[]) => tryPlans([{ label, choices: storing(names), allStatic: false, isFloat: true }]);
  await tried('float after clean-up', []);
  const [found] = storable.length > 0 ? await tried('float, weights stored in 8 bits', storable) : [];
  if (!found || keepsBudget(found)) return;
  const loud = new Set(await loudAmong(storable, tools, { rest: 0, without: (others) => storing(storable.filter((name) => !others.includes(name))) }));
  const quiet = storable.filter((name) => !loud.has(name));
  if (quiet.length > 0) await tried(`float, weights of ${quiet.length} nodes stored in 8 bits`, quiet);
}

/** Those of nodes that make too much noise beside the rest. `without` gives choices in which nodes stay as they are. */
function loudAmong(
  names: readonly string[],
  { job, planner, ranges, goal, wantedDb }: LeavingTools,
  { rest, without, isLoud }: { readonly rest: number; readonly without: (names: readonly string[]) => Choices; readonly isLoud?: (noise: number) => boolean },
): Promise<string[]> {
  const judgeAlone = async (those: readonly string[]) => {
    const models = those.map((name) => planner.quantize(planner.plan(ranges, without(those.filter((other) => other !== name)))).model);
    return (await judgeModels(job, models, goal.run)).map(({ sqnrDb }) => sqnrDb);
  };
  return loudNodes(names, { rest, allowed: 10 ** (-wantedDb / 10), judgeAlone, ...(isLoud && { isLoud }) });
}
