import { mapSubgraphs } from '../graph/attributes.js';
import { createNode, GraphEditor, renameInputs } from '../graph/graph-editor.js';
import { indexOf, type GraphIndex } from '../graph/graph-index.js';
import type { Graph, Model, Node, ValueInfo } from '../graph/model.js';
import { Names } from '../graph/names.js';
import { elementCount, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { passResult, type Pass } from './pass.js';

/** A constant of the graphs around; undefined where they have none of that name. */
type OuterConstant = (value: string) => Tensor | undefined;

/**
 * Puts the branch that is taken in the place of an If whose condition is constant, in bodies too: its nodes then stand where ranges are observed
 * and weights are found. Names stay, unless the graph around has them already.
 */
export const takeBranches: Pass = (model) => {
  const taken: string[] = [];
  const graph = takeIn(model.graph, () => undefined, taken);
  if (taken.length === 0) return { model, changes: [] };
  const message = `${taken.length} If nodes with a constant condition were replaced by the branch that they take`;
  return passResult(model, graph, [{ pass: 'take-branches', names: taken, message }]);
};

/** Whether a graph has an If at all, outside the bodies of others. */
export function hasBranches({ graph }: Model): boolean {
  return graph.nodes.some(isIf);
}

const isIf = ({ opType, domain }: Node) => opType === 'If' && domain === '';

function takeIn(graph: Graph, outer: OuterConstant, taken: string[]): Graph {
  const index = indexOf(graph);
  const constant: OuterConstant = (value) => index.constant(value) ?? (index.isInput(value) || index.producer(value) ? undefined : outer(value));
  const inside = graph.nodes.map((node) => mapSubgraphs(node, (body) => takeIn(body, constant, taken)));
  const branches = inside.map((node) => branchOf(node, constant));
  if (inside.every((node, i) => node === graph.nodes[i]) && branches.every((branch) => !branch)) return graph;

  const editor = new GraphEditor(graph);
  const names = new NamesAround(graph, inside.filter((_, i) => !branches[i]));
  const valueInfo: ValueInfo[] = [];
  graph.nodes.forEach((original, i) => {
    const [node, branch] = [inside[i]!, branches[i]];
    if (!branch) {
      if (node !== original) editor.replace(original, node);
      return;
    }
    const adopted = adopt(node, branch, names);
    editor.replace(original, ...adopted.nodes);
    for (const [name, tensor] of adopted.initializers) editor.setInitializer(name, tensor);
    valueInfo.push(...adopted.valueInfo);
    taken.push(node.name || (node.outputs.find(Boolean) ?? node.opType));
  });
  const edited = editor.finish();
  return valueInfo.length > 0 ? { ...edited, valueInfo: [...edited.valueInfo, ...valueInfo] } : edited;
}

/** The branch of an If under a name; undefined where it holds what cannot be moved out of it. */
export function movableBranch(node: Node, name: 'then_branch' | 'else_branch'): Graph | undefined {
  const branch = node.attributes.get(name);
  if (branch?.kind !== 'graph') return undefined;
  const { inputs, sparseInitializers, outputs } = branch.value;
  return inputs.length === 0 && sparseInitializers.length === 0 && outputs.length === node.outputs.length ? branch.value : undefined;
}

/** The branch that an If takes; undefined where that is not known, or where it holds what cannot be moved. */
function branchOf(node: Node, constant: OuterConstant): Graph | undefined {
  if (!isIf(node)) return undefined;
  const condition = constant(node.inputs[0] ?? '');
  if (condition?.dtype !== 'bool' || elementCount(condition.dims) !== 1) return undefined;
  return movableBranch(node, numbersOf(condition)[0] ? 'then_branch' : 'else_branch');
}

/** What leaves a branch. */
export interface MovedBranch {
  readonly nodes: readonly Node[];
  readonly initializers: ReadonlyMap<string, Tensor>;
  /** What its values are called now. */
  readonly rename: (name: string) => string;
}

/** The nodes and constants of a branch under names for the graph around; `renamed` holds names that are settled. */
export function moveOut(branch: Graph, names: NamesAround, renamed: Map<string, string>): MovedBranch {
  const own = [...branch.initializers.keys(), ...branch.nodes.flatMap(({ outputs }) => outputs.filter(Boolean))];
  for (const name of own) if (!renamed.has(name)) renamed.set(name, names.unique(name));
  const rename = (name: string) => renamed.get(name) ?? name;
  // Many exporters name a node after its output.
  const nameOf = ({ name, outputs }: Node) => (outputs.includes(name) ? rename(name) : names.unique(name));
  return {
    nodes: branch.nodes.map((each) => ({ ...renameInputs(each, rename), name: each.name && nameOf(each), outputs: each.outputs.map(rename) })),
    initializers: new Map([...branch.initializers].map(([name, tensor]) => [rename(name), tensor])),
    rename,
  };
}

interface Adopted {
  readonly nodes: readonly Node[];
  readonly initializers: ReadonlyMap<string, Tensor>;
  readonly valueInfo: readonly ValueInfo[];
}

/** The nodes and constants of a branch under names for the graph around. */
function adopt(node: Node, branch: Graph, names: NamesAround): Adopted {
  const index: GraphIndex = indexOf(branch);
  const renamed = new Map<string, string>();
  branch.outputs.forEach(({ name }, i) => {
    const output = node.outputs[i];
    if (output && index.producer(name) && !renamed.has(name)) renamed.set(name, output);
  });
  const { nodes, initializers, rename } = moveOut(branch, names, renamed);
  // An output that the branch only hands on, or gives twice.
  const handedOn = branch.outputs.flatMap(({ name }, i) => {
    const output = node.outputs[i];
    if (!output || rename(name) === output) return [];
    return [createNode({ name: names.unique(`${output}_Identity`), opType: 'Identity', inputs: [rename(name)], outputs: [output] })];
  });
  const moved = (value: ValueInfo): ValueInfo => ({ ...value, name: rename(value.name) });
  const outputs = new Set(node.outputs);
  return {
    nodes: [...nodes, ...handedOn],
    initializers,
    valueInfo: branch.valueInfo.map(moved).filter(({ name }) => !outputs.has(name)),
  };
}

/** Names for what leaves a body: its own where the graph without the bodies that go has none such. */
export class NamesAround {
  readonly #remaining: Names;
  readonly #all: Names;
  readonly #given = new Set<string>();

  constructor(graph: Graph, remaining: readonly Node[]) {
    this.#remaining = new Names({ ...graph, nodes: remaining });
    this.#all = new Names(graph);
  }

  unique(name: string): string {
    let found = this.#remaining.unique(name);
    if (found !== name) {
      do found = this.#all.unique(name);
      while (this.#given.has(found));
    }
    this.#given.add(found);
    return found;
  }
}
