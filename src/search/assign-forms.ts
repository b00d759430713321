import type { Node } from '../graph/model.js';
import { assignmentTime, fastestForms, type AssignmentCosts, type FormCost } from './fastest-assignment.js';
import type { Choices, Planner } from './planner.js';
import { measuredReason } from './wording.js';

/** Choices with the forms of nodes that are fastest by what was measured, under a noise budget in dB (Infinity: any noise). Float time counts `bias` times. */
export function assignForms(planner: Planner, choices: Choices, costs: AssignmentCosts, budgetDb: number, bias: number): Choices {
  const selection = planner.select();
  const tables = new Set(planner.tables().map(({ name }) => name));
  const { fixed, float: model } = planner;
  const budget = budgetDb === Infinity ? Infinity : 10 ** (-budgetDb / 10);
  const assigned = [...fastestForms(model.graph, selection, costs, budget, bias)].filter(([{ name }]) => !fixed.has(name));
  const kept = [...choices.others].filter(([name]) => fixed.has(name) || tables.has(name));
  const reasonOf = (node: Node) => measuredReason(node, selection.nodes.get(node), costs);
  const float = new Map(assigned.flatMap(([node, form]) => (form === 'float' ? [[node.name, reasonOf(node)] as const] : [])));
  const others = new Map([...kept, ...assigned.flatMap(([node, form]) => (form === 'float' ? [] : [[node.name, { form, reason: reasonOf(node) }] as const]))]);
  return { ...choices, float, others };
}

/** What a run should take with these choices, by the times of its nodes that have several forms, in milliseconds. */
export function predictedTime(planner: Planner, choices: Choices, costs: AssignmentCosts): number {
  const { graph } = planner.float;
  const forms = graph.nodes.flatMap((node): [Node, FormCost['form']][] => {
    const other = choices.others.get(node.name)?.form;
    const form = other === 'stored' || choices.float.has(node.name) ? 'float' : other;
    return form === undefined ? [] : [[node, form]];
  });
  return assignmentTime(graph, planner.select(), costs, new Map(forms));
}
