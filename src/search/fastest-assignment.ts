import { indexOf } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';
import type { SelectedNode, Selection } from '../quantization/select.js';
import { CutGraph } from './min-cut.js';
import type { OtherForm } from './planner.js';

/** Measured or estimated times in milliseconds. */
export interface TimeTable {
  /** Of a node with what it takes along, in the float model. */
  float(node: SelectedNode): number;
  /** Of any node alone, in the float model. */
  floatOf(node: Node): number;
  /** The same in the integer model, without the conversions at its edges. */
  integer(node: SelectedNode): number;
  /** Of quantizing a value, and of dequantizing it once. */
  quantize(value: string): number;
  dequantize(value: string): number;
}

/** More than any sum of times. */
const FORBIDDEN = 1e12;

/**
 * The nodes of a selection that had better stay in float, by time alone. Each node runs on integers or in float and takes its time there;
 * a value that crosses between the two is converted, and its Q or DQ takes time too. The cheapest assignment is a minimum cut with the
 * integers on the source's side, so that whole regions are weighed with the conversions at their edges, not single nodes.
 */
export function nodesBetterInFloat(graph: Graph, selection: Selection, times: TimeTable): Set<Node> {
  const index = indexOf(graph);
  const cut = new CutGraph();
  const vertices = new Map<Node, number>();
  const makers = new Map<string, number>();
  for (const selected of selection.nodes.values()) {
    const vertex = cut.addVertex();
    vertices.set(selected.node, vertex);
    cut.addEdge(vertex, CutGraph.SINK, times.integer(selected));
    cut.addEdge(CutGraph.SOURCE, vertex, times.float(selected));
    if (selected.quantizesOutput) for (const end of selected.ends) makers.set(end, vertex);
  }
  for (const value of selection.values.keys()) {
    const maker = makers.get(value) ?? CutGraph.SINK;
    const wantsIntegers = cut.addVertex();
    cut.addEdge(wantsIntegers, maker, times.quantize(value));
    const allowsIntegers = cut.addVertex();
    cut.addEdge(maker, allowsIntegers, maker === CutGraph.SINK ? 0 : times.dequantize(value));
    for (const { node, input } of index.uses(value)) {
      const selected = selection.nodes.get(node);
      if (selected?.activations.includes(input)) {
        const reader = vertices.get(node)!;
        cut.addEdge(reader, wantsIntegers, FORBIDDEN);
        cut.addEdge(allowsIntegers, reader, FORBIDDEN);
      } else {
        cut.addEdge(allowsIntegers, CutGraph.SINK, FORBIDDEN);
      }
    }
    if (index.isOutput(value)) cut.addEdge(allowsIntegers, CutGraph.SINK, FORBIDDEN);
  }
  const integers = cut.sourceSide();
  return new Set([...vertices].flatMap(([node, vertex]) => (integers.has(vertex) ? [] : [node])));
}

/** Steps in which the price of noise is found; each halves an interval of the exponent. */
const PRICE_STEPS = 40;
const PRICE_EXPONENTS: readonly [number, number] = [-12, 12];

/** What a node costs that is not static: its time, and its noise relative to the signal. */
export interface FormCost {
  readonly form: OtherForm | 'float';
  readonly timeMs: number;
  readonly noise: number;
}

/** What is weighed, node by node. */
export interface AssignmentCosts {
  readonly times: TimeTable;
  /** Noise of each static node relative to the signal, by node name; 0 where a name is absent. */
  readonly noise: ReadonlyMap<string, number>;
  /** Other forms than static and float that a node can take, by node name; also for nodes that are not selected. */
  readonly forms: ReadonlyMap<string, readonly FormCost[]>;
}

/**
 * How each node had better run so that the noises, which add up as powers, stay within a budget, at the least time: noise gets a price that is
 * added to the time, and the lowest price that keeps the budget is found by bisection. Gives the form of each node that is not to be static.
 */
export function fastestForms(graph: Graph, selection: Selection, { times, noise, forms }: AssignmentCosts, budget: number, bias = 1): Map<Node, FormCost['form']> {
  const noiseOf = (node: Node) => noise.get(node.name) ?? 0;
  const others = graph.nodes.filter((node) => !selection.nodes.has(node) && forms.has(node.name));
  const cheapest = (node: Node, floatMs: number, price: number): FormCost & { cost: number } => {
    const options = [{ form: 'float' as const, timeMs: floatMs, noise: 0 }, ...(forms.get(node.name) ?? [])];
    const costs = options.map((option) => ({ ...option, cost: option.timeMs * (option.form === 'float' ? bias : 1) + price * option.noise }));
    return costs.reduce((a, b) => (b.cost < a.cost ? b : a));
  };
  const assign = (price: number) => {
    const inFloat = nodesBetterInFloat(graph, selection, {
      ...times,
      integer: (selected) => times.integer(selected) + price * noiseOf(selected.node),
      float: (selected) => cheapest(selected.node, times.float(selected), price).cost,
    });
    let sum = 0;
    for (const { node } of selection.nodes.values()) if (!inFloat.has(node)) sum += noiseOf(node);
    const chosen = new Map<Node, FormCost['form']>();
    for (const node of [...inFloat, ...others]) {
      const selected = selection.nodes.get(node);
      const best = cheapest(node, selected ? times.float(selected) : times.floatOf(node), price);
      sum += best.noise;
      chosen.set(node, best.form);
    }
    return { chosen, sum };
  };
  const free = assign(0);
  if (free.sum <= budget) return free.chosen;
  let [low, high] = PRICE_EXPONENTS;
  for (let step = 0; step < PRICE_STEPS; step++) {
    const middle = (low + high) / 2;
    if (assign(10 ** middle).sum <= budget) high = middle;
    else low = middle;
  }
  return assign(10 ** high).chosen;
}
