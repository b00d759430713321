import { indexOf } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';
import type { SelectedNode, Selection } from '../quantization/select.js';
import { CutGraph } from './min-cut.js';

/** Measured or estimated times in milliseconds. */
export interface TimeTable {
  /** Of a node with what it takes along, in the float model. */
  float(node: SelectedNode): number;
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
 * integers on the source's side, so that whole regions are weighed with the conversions at their edges, not single nodes. `bias` counts
 * float time so many times, which finds the next best assignments with more integers.
 */
export function nodesBetterInFloat(graph: Graph, selection: Selection, times: TimeTable, bias = 1): Set<Node> {
  const index = indexOf(graph);
  const cut = new CutGraph();
  const vertices = new Map<Node, number>();
  const makers = new Map<string, number>();
  for (const selected of selection.nodes.values()) {
    const vertex = cut.addVertex();
    vertices.set(selected.node, vertex);
    cut.addEdge(vertex, CutGraph.SINK, times.integer(selected));
    cut.addEdge(CutGraph.SOURCE, vertex, bias * times.float(selected));
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

/**
 * The nodes to leave in float so that the noises of the others, which add up as powers, stay within a budget, at the least time: noise gets a
 * price that is added to the time on integers, and the lowest price that keeps the budget is found by bisection. `noise` is relative to the
 * signal, by node name.
 */
export function nodesWithinNoise(
  graph: Graph,
  selection: Selection,
  times: TimeTable,
  noise: ReadonlyMap<string, number>,
  budget: number,
  bias = 1,
): Set<Node> {
  const noiseOf = (node: Node) => noise.get(node.name) ?? 0;
  const assign = (price: number) =>
    nodesBetterInFloat(graph, selection, { ...times, integer: (selected) => times.integer(selected) + price * noiseOf(selected.node) }, bias);
  const fits = (inFloat: ReadonlySet<Node>) => {
    let sum = 0;
    for (const { node } of selection.nodes.values()) if (!inFloat.has(node)) sum += noiseOf(node);
    return sum <= budget;
  };
  const free = assign(0);
  if (fits(free)) return free;
  let [low, high] = PRICE_EXPONENTS;
  for (let step = 0; step < PRICE_STEPS; step++) {
    const middle = (low + high) / 2;
    if (fits(assign(10 ** middle))) high = middle;
    else low = middle;
  }
  return assign(10 ** high);
}
