import type { Tensor } from '../tensor/tensor.js';
import { subgraphsOf } from './attributes.js';
import type { Graph, Node, ValueInfo } from './model.js';

/** One place where a value is read. */
export interface Use {
  readonly node: Node;
  /** Index among the node's inputs; -1 where a body of the node reads it from outside. */
  readonly input: number;
}

/** Who makes and who reads each value of one graph (bodies count as readers, their own values do not appear). */
export interface GraphIndex {
  producer(value: string): Node | undefined;
  uses(value: string): readonly Use[];
  /** A constant that callers of the model cannot override. */
  constant(value: string): Tensor | undefined;
  isInput(value: string): boolean;
  isOutput(value: string): boolean;
  /** Whether a node, a body or the graph's own output reads the value. */
  isRead(value: string): boolean;
  /** The declaration among inputs, outputs and value_info. */
  info(value: string): ValueInfo | undefined;
}

const cache = new WeakMap<Graph, GraphIndex>();
const NO_USES: readonly Use[] = [];

/** The index of a graph, built once for each graph. */
export function indexOf(graph: Graph): GraphIndex {
  let index = cache.get(graph);
  if (!index) cache.set(graph, (index = buildIndex(graph)));
  return index;
}

/** The node that alone reads a value, itself and not through a body; undefined where others do, or the graph's output is it. */
export function soleReader(index: GraphIndex, value: string): Node | undefined {
  const uses = index.uses(value);
  return uses.length === 1 && uses[0]!.input >= 0 && !index.isOutput(value) ? uses[0]!.node : undefined;
}

/** Values that a graph's nodes read but that the graph does not define: captures of an outer scope. */
export function capturedValues(graph: Graph): Set<string> {
  const defined = new Set<string>([
    ...graph.inputs.map((value) => value.name),
    ...graph.initializers.keys(),
    ...graph.sparseInitializers,
    ...graph.nodes.flatMap((node) => node.outputs),
  ]);
  const captured = new Set<string>();
  const read = (name: string) => {
    if (name && !defined.has(name)) captured.add(name);
  };
  for (const node of graph.nodes) {
    node.inputs.forEach(read);
    for (const body of subgraphsOf(node)) capturedValues(body).forEach(read);
  }
  for (const output of graph.outputs) read(output.name);
  return captured;
}

function buildIndex(graph: Graph): GraphIndex {
  const producers = new Map<string, Node>();
  const uses = new Map<string, Use[]>();
  const addUse = (value: string, use: Use) => {
    const list = uses.get(value);
    if (list) list.push(use);
    else uses.set(value, [use]);
  };
  for (const node of graph.nodes) {
    for (const output of node.outputs) if (output) producers.set(output, node);
    node.inputs.forEach((value, input) => value && addUse(value, { node, input }));
    for (const body of subgraphsOf(node)) {
      for (const value of capturedValues(body)) addUse(value, { node, input: -1 });
    }
  }
  const inputs = new Set(graph.inputs.map((value) => value.name));
  const outputs = new Set(graph.outputs.map((value) => value.name));
  const infos = new Map([...graph.valueInfo, ...graph.inputs, ...graph.outputs].map((value) => [value.name, value]));
  return {
    producer: (value) => producers.get(value),
    uses: (value) => uses.get(value) ?? NO_USES,
    constant: (value) => (inputs.has(value) ? undefined : graph.initializers.get(value)),
    isInput: (value) => inputs.has(value),
    isOutput: (value) => outputs.has(value),
    isRead: (value) => uses.has(value) || outputs.has(value),
    info: (value) => infos.get(value),
  };
}
