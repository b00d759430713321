import type { Node } from '../graph/model.js';
import { assignmentTime, fastestForms, type AssignmentCosts, type FormCost } from './fastest-assignment.js';
import { isComputeNode } from '../runtime/kernels.js';
import type { Choices, Planner } from './planner.js';
import type { WeighedNode } from './search-result.js';
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

/** What a run should win over the float model with these choices, by the times of its nodes that have several forms, in milliseconds. */
export function predictedGain(planner: Planner, choices: Choices, costs: AssignmentCosts): number {
  const { graph } = planner.float;
  const selection = planner.select();
  const timeOf = (forms: ReadonlyMap<Node, FormCost['form']>) => assignmentTime(graph, selection, costs, forms);
  const chosen = formsOf(planner, choices);
  const inFloat = [...selection.nodes.keys(), ...chosen.keys()].map((node) => [node, 'float'] as const);
  return timeOf(new Map(inFloat)) - timeOf(chosen);
}

/** The nodes that multiply, each with what its form wins beside all others as they are. */
export function weighNodes(planner: Planner, choices: Choices, costs: AssignmentCosts): WeighedNode[] {
  const { graph } = planner.float;
  const selection = planner.select();
  const chosen = formsOf(planner, choices);
  const timeWith = (node: Node, form: WeighedNode['form']) => {
    const changed = new Map(chosen);
    if (form === 'static') changed.delete(node);
    else changed.set(node, form);
    return assignmentTime(graph, selection, costs, changed);
  };
  return graph.nodes.flatMap((node): WeighedNode[] => {
    const selected = selection.nodes.get(node);
    const others = costs.forms.get(node.name) ?? [];
    if (!isComputeNode(node) || (!selected && others.length === 0)) return [];
    const form = chosen.get(node) ?? 'static';
    // A node in float is weighed against what it could be.
    const onIntegers = form !== 'float' ? form : selected ? 'static' : others[0]!.form;
    const noise = onIntegers === 'static' ? costs.noise.get(node.name) : others.find((cost) => cost.form === onIntegers)?.noise;
    const floatMs = selected ? costs.times.float(selected) : costs.times.floatOf(node);
    return [{ name: node.name, opType: node.opType, form, noiseDb: noise ? -10 * Math.log10(noise) : null, floatMs, wonMs: timeWith(node, 'float') - timeWith(node, onIntegers) }];
  });
}

/** Forms of the nodes that are not static. */
function formsOf(planner: Planner, choices: Choices): Map<Node, FormCost['form']> {
  const forms = planner.float.graph.nodes.flatMap((node): [Node, FormCost['form']][] => {
    const other = choices.others.get(node.name)?.form;
    const form = other === 'stored' || choices.float.has(node.name) ? 'float' : other;
    return form === undefined ? [] : [[node, form]];
  });
  return new Map(forms);
}
