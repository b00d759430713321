import { subgraphsOf } from '../graph/attributes.js';
import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Attribute, Graph, Model, Node } from '../graph/model.js';
import { allNodes } from '../graph/traversal.js';
import { moveOut, movableBranch, NamesAround } from './take-branches.js';

/** The attributes of an If that hold its branches. */
export const BRANCHES = ['then_branch', 'else_branch'] as const;

/**
 * Lets what stands in the branches of If nodes stand in the graph around them, so that it can be planned for as the rest is; the branches only hand
 * on values of that graph. What the model computes is the same where both branches can be computed: it is not to be run, but to be put back with
 * `closeBranches`. Only branches in which a node is worth that are opened, and the If nodes around those. The model itself where there are none.
 */
export function openBranches(model: Model, isWorth: (node: Node) => boolean): Model {
  let { graph } = model;
  const opened = new Set<string>();
  // What was inside the branch of another one is seen in the next round.
  for (let found = openable(graph, opened, isWorth); found.length > 0; found = openable(graph, opened, isWorth)) {
    graph = openIn(graph, found, opened);
  }
  return opened.size > 0 ? { ...model, graph, openBranches: opened } : model;
}

function openable(graph: Graph, opened: ReadonlySet<string>, isWorth: (node: Node) => boolean): Node[] {
  return graph.nodes.filter((node) => {
    if (node.opType !== 'If' || node.domain !== '' || opened.has(node.name)) return false;
    return BRANCHES.every((name) => movableBranch(node, name)) && subgraphsOf(node).some((body) => [...allNodes(body)].some(isWorth));
  });
}

function openIn(graph: Graph, found: readonly Node[], opened: Set<string>): Graph {
  const names = new NamesAround(graph, graph.nodes.filter((node) => !found.includes(node)));
  const editor = new GraphEditor(graph);
  for (const node of found) {
    const attributes = new Map(node.attributes);
    const moved = BRANCHES.flatMap((attribute) => {
      const branch = movableBranch(node, attribute)!;
      const { nodes, initializers, rename } = moveOut(branch, names, new Map());
      for (const [name, tensor] of initializers) editor.setInitializer(name, tensor);
      attributes.set(attribute, { kind: 'graph', value: handingOn(branch, rename, names) } satisfies Attribute);
      return nodes;
    });
    const name = node.name && !opened.has(node.name) ? node.name : names.unique(node.name || `If_${node.outputs.find(Boolean) ?? ''}`);
    opened.add(name);
    editor.replace(node, ...moved, { ...node, name, attributes });
  }
  return editor.finish();
}

/** A branch that gives values of the graph around it. */
function handingOn(branch: Graph, rename: (name: string) => string, names: NamesAround): Graph {
  const isOwn = (name: string) => branch.initializers.has(name) || indexOf(branch).producer(name) !== undefined;
  const outputs = branch.outputs.map((output) => ({ ...output, name: names.unique(`${output.name}_given`) }));
  const nodes = branch.outputs.map(({ name }, i) => {
    const given = outputs[i]!.name;
    return createNode({ name: names.unique(given), opType: 'Identity', inputs: [isOwn(name) ? rename(name) : name], outputs: [given] });
  });
  return { name: branch.name, nodes, initializers: new Map(), sparseInitializers: [], inputs: [], outputs, valueInfo: [] };
}
