import { messageOf } from '../errors.js';
import { subgraphsOf } from './attributes.js';
import type { Graph, Node } from './model.js';
import { topologicalOrder } from './topology.js';

/**
 * What is wrong with a graph and the bodies inside it, in words; nothing where it is valid:
 * 1. each value is made once, by an input, a constant or a node, and no body makes it again (a constant may also be an input);
 * 2. what a node or an output reads is made before, in the graph or in one around it;
 * 3. values do not depend on each other in a circle;
 * 4. no input and no output is listed twice.
 */
export function checkGraph(graph: Graph): string[] {
  return checkScope(graph, () => false);
}

function checkScope(graph: Graph, isMadeOutside: (value: string) => boolean): string[] {
  const problems = [...twice(graph.inputs, 'input'), ...twice(graph.outputs, 'output')];
  const makers = new Map<string, string>();
  const make = (value: string, maker: string) => {
    const other = makers.get(value) ?? (isMadeOutside(value) ? 'the graph around' : undefined);
    if (other !== undefined) problems.push(`"${value}" is made by ${other} and by ${maker}`);
    makers.set(value, maker);
  };
  const inputs = new Set(graph.inputs.map((value) => value.name));
  for (const value of inputs) make(value, 'a graph input');
  for (const value of [...graph.initializers.keys(), ...graph.sparseInitializers]) if (!inputs.has(value)) make(value, 'a constant');
  const ready = new Set(makers.keys());
  const isReady = (value: string) => ready.has(value) || isMadeOutside(value);
  for (const node of graph.nodes) {
    for (const value of node.inputs) {
      if (value && !isReady(value)) problems.push(`${nodeText(node)} reads "${value}", which nothing before it makes`);
    }
    for (const body of subgraphsOf(node)) {
      problems.push(...checkScope(body, isReady).map((problem) => `in a body of ${nodeText(node)}: ${problem}`));
    }
    for (const value of node.outputs) {
      if (!value) continue;
      make(value, nodeText(node));
      ready.add(value);
    }
  }
  for (const { name } of graph.outputs) if (!isReady(name)) problems.push(`nothing makes the output "${name}"`);
  return [...problems, ...circle(graph.nodes)];
}

function twice(values: Graph['inputs'], kind: string): string[] {
  const names = values.map((value) => value.name);
  return names.filter((name, i) => names.indexOf(name) < i).map((name) => `the ${kind} "${name}" is listed twice`);
}

function circle(nodes: readonly Node[]): string[] {
  try {
    topologicalOrder(nodes);
    return [];
  } catch (error) {
    return [messageOf(error)];
  }
}

function nodeText(node: Node): string {
  return `${node.opType} "${node.name || (node.outputs.find(Boolean) ?? '')}"`;
}
