import type { Choices, OtherNode, Planner } from './planner.js';

const BECAUSE = 'nothing wins by integers, by measurement';

/** Choices in which nothing runs on integers, and nodes of these names have weights that are integers in the file. */
export function withStored(planner: Planner, choices: Choices, names: readonly string[]): Choices {
  const left = (those: readonly string[]) => new Map(those.map((name) => [name, `left in float: ${BECAUSE}`] as const));
  const others = new Map(names.map((name): [string, OtherNode] => [name, { form: 'stored', reason: `its weight is stored in 8 bits and read as float: ${BECAUSE}` }]));
  const selected = [...planner.select().nodes.keys()].map(({ name }) => name);
  return {
    ...choices,
    migration: undefined,
    means: undefined,
    ranges: new Map(),
    bodies: left(planner.nodesInBodies().map(({ name }) => name)),
    others,
    float: left(selected.filter((name) => !others.has(name))),
  };
}
