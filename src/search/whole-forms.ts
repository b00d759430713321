import type { NodeTime } from '../evaluation/profile-nodes.js';
import type { Node } from '../graph/model.js';
import { FASTER } from './choose-plan.js';
import type { Proposal } from './contender.js';
import { OTHER_FORMS, type Choices, type OtherForm, type Planner } from './planner.js';
import { FORM_NAMES, LEFT_IN_FLOAT } from './wording.js';

/** Share of the float model's time that products must take for other forms of them to be tried where static ones keep the budget: less is within the noise of timing. */
const LEAST_SHARE = 0.02;

/** All products of a model in another form than static. */
export interface WholeForm {
  readonly form: OtherForm;
  readonly nodes: readonly Node[];
  readonly others: Choices['others'];
  /** All that would be static, in float. */
  readonly float: Choices['float'];
  /** Share of the float model's time that they take. */
  readonly share: number;
}

/** The other forms that a model's products could take. Where static ones keep the budget (`isQuiet`), those are left out that have no time to win. `times` are of the float model, undefined where they are not known. */
export function wholeForms(planner: Planner, choices: Choices, times: readonly NodeTime[] | undefined, isQuiet: boolean): WholeForm[] {
  const selection = planner.select();
  return OTHER_FORMS.map((form) => {
    const nodes = planner.nodesFor(form).filter(({ name }) => !planner.fixed.has(name));
    const reason = `${form === 'dynamic' ? 'quantized dynamically' : 'its weight is in blocks'}, which was better than static by measurement`;
    const others = new Map([...choices.others, ...nodes.map(({ name }) => [name, { form, reason }] as const)]);
    const float = new Map([...selection.nodes.keys()].flatMap(({ name }) => (others.has(name) || planner.fixed.has(name) ? [] : [[name, LEFT_IN_FLOAT] as const])));
    return { form, nodes, others, float, share: times ? shareOf(nodes, times) : 1 };
  }).filter(({ nodes, share }) => nodes.length > 0 && !(isQuiet && share < LEAST_SHARE));
}

/** Plans with them: first the rest static, then the rest float, where that could be faster than the float model by what counts (`cleanSpeedup` is what clean-up won). */
export function proposalsOf(wholes: readonly WholeForm[], choices: Choices, isQuiet: boolean, cleanSpeedup: number): Proposal[] {
  // No more can be won than all of the products' time.
  const mayWin = ({ share }: WholeForm) => !isQuiet || cleanSpeedup >= FASTER * (1 - share);
  return [
    ...wholes.map(({ form, others }) => ({ label: `products ${FORM_NAMES[form]}, the rest static`, choices: { ...choices, others }, allStatic: false })),
    ...wholes.filter(mayWin).map(({ form, others, float }) => ({ label: `products ${FORM_NAMES[form]}, the rest float`, choices: { ...choices, others, float }, allStatic: false })),
  ];
}

function shareOf(nodes: readonly Node[], times: readonly NodeTime[]): number {
  const names = new Set(nodes.map(({ name }) => name));
  const sum = (those: readonly NodeTime[]) => those.reduce((total, { timeMs }) => total + timeMs, 0);
  return sum(times.filter((time) => time.names.some((name) => names.has(name)))) / Math.max(1e-9, sum(times));
}
