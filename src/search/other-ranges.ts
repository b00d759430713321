import type { Change } from '../passes/pass.js';
import { PERCENTILES } from './choose-ranges.js';
import type { Choices, Planner } from './planner.js';
import { quietNodes } from './quiet-nodes.js';
import { rangeLabel, usableChoices, type RangeChoice, type RangeSource } from './range-source.js';
import type { SearchGoal } from './search-result.js';
import { judgeModels, type TrialJob } from './trials.js';
import { LEFT_IN_FLOAT } from './wording.js';

/** What another range method must win for the quiet nodes. */
const LEAST_GAIN_DB = 1;

/** Another range method, and what it won. */
export interface OtherRanges {
  readonly choices: Choices;
  readonly change: Change;
}

/**
 * The range method that suits the quiet nodes best, where the loudest are left in float: in a comparison of whole models these decide. `noise` is that
 * of nodes under `choices`, and `free` says which of them are static by time alone. Undefined where none is better, or `maxTried` are too few.
 */
export async function otherRanges(
  { job, planner, ranges, goal }: { readonly job: TrialJob; readonly planner: Planner; readonly ranges: RangeSource; readonly goal: SearchGoal },
  { choices, free, noise, maxTried }: { readonly choices: Choices; readonly free: Choices; readonly noise: ReadonlyMap<string, number>; readonly maxTried: number },
): Promise<OtherRanges | undefined> {
  const before = rangeLabel(choices.range);
  const ways = [choices.range, ...usableChoices(ranges.table, PERCENTILES).filter((range) => rangeLabel(range) !== before)];
  const quiet = quietNodes(noise);
  if (quiet.length === 0 || maxTried < ways.length) return undefined;
  const loud = [...noise.keys()].filter((name) => !quiet.includes(name));
  const float = new Map([...free.float, ...loud.map((name) => [name, LEFT_IN_FLOAT] as const)]);
  // Biases were corrected for the method before.
  const by = (range: RangeChoice) => ({ range, means: rangeLabel(range) === before ? choices.means : undefined });
  const models = ways.map((range) => planner.quantize(planner.plan(ranges, { ...free, float, ...by(range) })).model);
  const errors = (await judgeModels(job, models, goal.run)).map(({ sqnrDb }) => sqnrDb);
  const best = errors.indexOf(Math.max(...errors));
  if (!(errors[best]! >= errors[0]! + LEAST_GAIN_DB)) return undefined;
  const message = `without the loudest nodes, ranges by ${rangeLabel(ways[best]!)} instead of ${before}: ${errors[0]!.toFixed(1)} → ${errors[best]!.toFixed(1)} dB`;
  return { choices: { ...choices, ...by(ways[best]!) }, change: { pass: 'ranges', names: quiet, message } };
}
