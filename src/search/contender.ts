import type { MedianInterval } from '../metrics/statistics.js';
import type { Change } from '../passes/pass.js';
import type { ProgressEvent } from '../progress.js';
import { isComputeOperator } from '../runtime/kernels.js';
import type { StagedModel } from '../runtime/staged-model.js';
import type { AssignmentCosts } from './fastest-assignment.js';
import type { Choices, PlannedModel } from './planner.js';
import type { SearchCandidate } from './search-result.js';
import type { Trial } from './trials.js';
import { describeForms } from './wording.js';

/** A plan that was tried. */
export interface Contender extends Trial {
  readonly label: string;
  readonly choices: Choices;
  readonly planned: PlannedModel;
  readonly weightBytes: number;
  /** Where it lies, where it was kept. */
  readonly staged: StagedModel | undefined;
  readonly integerNodes: number;
  /** Nothing was left in float, or put into another form, by measurement. */
  readonly allStatic: boolean;
  /** Equal for plans that are carried out alike. */
  readonly key: string;
}

/** Choices to try. */
export interface Proposal extends Pick<Contender, 'label' | 'choices' | 'allStatic'> {
  /** Whether it may bring nothing to integers. */
  readonly isFloat?: boolean;
}

/** What nodes cost, and the choices that they were measured with. */
export interface MeasuredCosts {
  readonly choices: Choices;
  readonly costs: AssignmentCosts;
}

/** A contender with its time. */
export interface Timed extends Contender {
  readonly speedup: MedianInterval | null;
}

/** The same, and which one it was. */
export interface TimedContender extends Timed {
  readonly contender: Contender;
}

/** What was chosen, in words, with the names of the nodes that are not static; nothing where all are. */
export function describe(best: Timed, timed: readonly Timed[]): Change[] {
  const { float, others, bodies } = best.choices;
  if (best.allStatic) return [];
  const all = timed.findLast(({ allStatic }) => allStatic);
  const ratio = (one: Timed | undefined) => (one?.speedup ? `${one.speedup.median.toFixed(2)} ×` : 'not timed');
  const message = `measured on this machine: ${describeForms(best.choices)}, ${ratio(best)} the speed of float at ${best.sqnrDb.toFixed(1)} dB; all on integers ${ratio(all)} at ${all ? `${all.sqnrDb.toFixed(1)} dB` : 'unknown'}`;
  return [{ pass: 'search', names: [...float.keys(), ...others.keys(), ...bodies.keys()], message }];
}

/** What static nodes make of the noise at least, where the shares of other forms would leave them less. */
const LEAST_STATIC_SHARE = 0.1;

/** The noises of static nodes alone, in proportion so that they add up to what all of them together make in a plan, beside what its other forms make. */
export function noiseInProportion(noise: ReadonlyMap<string, number>, { choices: { others }, sqnrDb }: Pick<Contender, 'choices' | 'sqnrDb'>, { forms }: Pick<AssignmentCosts, 'forms'>): Map<string, number> {
  const all = 10 ** (-sqnrDb / 10);
  const ofOthers = [...others].reduce((sum, [name, { form }]) => sum + (forms.get(name)?.find((cost) => cost.form === form)?.noise ?? 0), 0);
  const together = Math.max(all - ofOthers, LEAST_STATIC_SHARE * all);
  const sum = [...noise.values()].reduce((total, power) => total + power, 0);
  const factor = sum > 0 && Number.isFinite(together) ? together / sum : 1;
  return new Map([...noise].map(([name, power]) => [name, power * factor]));
}

/** Nodes that multiply and run on integers by plan. */
export function integerNodes({ plan, others }: PlannedModel): number {
  const isInteger = (name: string, decision: string) => (others.has(name) ? others.get(name)!.form !== 'stored' : decision === 'quantized');
  return plan.nodes.filter(({ name, opType, decision }) => isComputeOperator(opType) && isInteger(name, decision)).length;
}

/** Equal for plans that are carried out alike. */
export function planKey({ plan, others, biases, bodies, migration }: PlannedModel): string {
  const forms = [...others].map(([name, { form }]) => [name, form]);
  return JSON.stringify([migration?.scales, plan.tensors, plan.weightType, plan.nodes.map(({ decision, constants }) => [decision, constants]), forms, Object.keys(biases), [...bodies.keys()]]);
}

/** All plans that were tried, with their figures. */
export function candidatesOf(contenders: readonly Contender[], timed: readonly Timed[], best: Timed): SearchCandidate[] {
  return contenders.map((one) => {
    const { speedup = null } = timed.find(({ planned }) => planned === one.planned) ?? {};
    return {
      label: one.label,
      integerNodes: one.integerNodes,
      sqnrDb: Number.isFinite(one.sqnrDb) ? one.sqnrDb : null,
      drop: one.drop,
      speedup: speedup?.median ?? null,
      speedupInterval: speedup,
      weightBytes: one.weightBytes,
      chosen: one.planned === best.planned,
    };
  });
}

/** How far a search is. */
export function progressOf(contenders: readonly Contender[], totalMs: number): ProgressEvent {
  const quietest = Math.max(...contenders.map(({ sqnrDb }) => sqnrDb));
  return { stage: `searching for up to ${(totalMs / 60e3).toFixed(0)} min: ${contenders.length} plans, the best ${quietest.toFixed(1)} dB`, done: contenders.length, unit: 'plans' };
}
