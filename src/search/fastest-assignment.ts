import { indexOf } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';
import type { SelectedNode, Selection } from '../quantization/select.js';
import { CutGraph } from './min-cut.js';
import type { OtherForm } from './planner.js';

/** Measured or estimated times in milliseconds; or, where integers are preferred at any speed, what stands for them. */
export interface TimeTable {
  readonly isMeasured: boolean;
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

/** By how much the exponent of the price falls from one assignment to the next, of those whose parts fill the budget. */
const FILL_STEP = 0.25;

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
 * added to the time, and the lowest price that keeps the budget is found by bisection. A price finds only assignments on the convex hull of time
 * over noise, so that what is left of the budget is filled with parts of those that are faster, the next one on it first.
 * Gives the form of each node that is not to be static.
 */
export function fastestForms(graph: Graph, selection: Selection, costs: AssignmentCosts, budget: number, bias = 1): Map<Node, FormCost['form']> {
  const { times, noise, forms } = costs;
  const noiseOf = (node: Node) => noise.get(node.name) ?? 0;
  const others = graph.nodes.filter((node) => !selection.nodes.has(node) && forms.has(node.name));
  const cheapest = (node: Node, floatMs: number, price: number): FormCost & { cost: number } => {
    const options = [{ form: 'float' as const, timeMs: floatMs, noise: 0 }, ...(forms.get(node.name) ?? [])];
    const costsOf = options.map((option) => ({ ...option, cost: option.timeMs * (option.form === 'float' ? bias : 1) + price * option.noise }));
    return costsOf.reduce((a, b) => (b.cost < a.cost ? b : a));
  };
  const assign = (price: number): Assignment => {
    const inFloat = nodesBetterInFloat(graph, selection, {
      ...times,
      integer: (selected) => times.integer(selected) + price * noiseOf(selected.node),
      float: (selected) => cheapest(selected.node, times.float(selected), price).cost,
    });
    const chosen = new Map<Node, FormCost['form']>();
    for (const node of [...inFloat, ...others]) {
      const selected = selection.nodes.get(node);
      chosen.set(node, cheapest(node, selected ? times.float(selected) : times.floatOf(node), price).form);
    }
    return { chosen, noise: assignmentNoise(selection, costs, chosen) };
  };
  const free = assign(0);
  if (free.noise <= budget) return free.chosen;
  let [low, high] = PRICE_EXPONENTS;
  for (let step = 0; step < PRICE_STEPS; step++) {
    const middle = (low + high) / 2;
    if (assign(10 ** middle).noise <= budget) high = middle;
    else low = middle;
  }
  let kept = assign(10 ** high);
  for (let exponent = low; kept.noise <= budget && exponent >= PRICE_EXPONENTS[0]; exponent -= FILL_STEP) {
    const faster = assign(10 ** exponent);
    kept = fillBudget(graph, selection, costs, budget, bias, kept, faster);
    if (faster.noise >= free.noise) break;
  }
  return kept.chosen;
}

/** Parts that are weighed against each other at most. */
const MAX_PARTS = 64;

interface Assignment {
  /** Forms of nodes that are not static. */
  readonly chosen: Map<Node, FormCost['form']>;
  readonly noise: number;
}

/** Lets parts of a faster assignment into one that keeps the budget, those that win the most time for their noise first, as long as it keeps it. */
function fillBudget(graph: Graph, selection: Selection, costs: AssignmentCosts, budget: number, bias: number, start: Assignment, faster: Assignment): Assignment {
  const differ = new Set(graph.nodes.filter((node) => start.chosen.get(node) !== faster.chosen.get(node)));
  const parts = [...connectedParts(graph, differ), ...[...differ].map((node) => [node])].slice(0, MAX_PARTS);
  const timeOf = (chosen: ReadonlyMap<Node, FormCost['form']>) => assignmentTime(graph, selection, costs, chosen, bias);
  let { chosen, noise } = start;
  for (let left = budget - noise; ; left = budget - noise) {
    const time = timeOf(chosen);
    let best: { chosen: Map<Node, FormCost['form']>; noise: number; rate: number } | undefined;
    for (const part of parts) {
      if (part.every((node) => chosen.get(node) === faster.chosen.get(node))) continue;
      const changed = new Map(chosen);
      for (const node of part) {
        const form = faster.chosen.get(node);
        if (form === undefined) changed.delete(node);
        else changed.set(node, form);
      }
      const more = assignmentNoise(selection, costs, changed) - noise;
      const won = time - timeOf(changed);
      const rate = won / Math.max(more, Number.MIN_VALUE);
      if (won > 0 && more <= left && (!best || rate > best.rate)) best = { chosen: changed, noise: noise + more, rate };
    }
    if (!best) return { chosen, noise };
    ({ chosen, noise } = best);
  }
}

/** The nodes in parts that hang together by values. */
function connectedParts(graph: Graph, nodes: ReadonlySet<Node>): Node[][] {
  const index = indexOf(graph);
  const parts: Node[][] = [];
  const seen = new Set<Node>();
  for (const start of nodes) {
    if (seen.has(start)) continue;
    const part: Node[] = [];
    const open = [start];
    for (let node = open.pop(); node; node = open.pop()) {
      if (seen.has(node) || !nodes.has(node)) continue;
      seen.add(node);
      part.push(node);
      for (const value of node.inputs) open.push(...[index.producer(value)].filter((maker) => maker !== undefined));
      for (const value of node.outputs) open.push(...index.uses(value).map((use) => use.node));
    }
    parts.push(part);
  }
  return parts;
}

function assignmentNoise(selection: Selection, { noise, forms }: AssignmentCosts, chosen: ReadonlyMap<Node, FormCost['form']>): number {
  let sum = 0;
  for (const node of selection.nodes.keys()) if (!chosen.has(node)) sum += noise.get(node.name) ?? 0;
  for (const [node, form] of chosen) sum += forms.get(node.name)?.find((cost) => cost.form === form)?.noise ?? 0;
  return sum;
}

/**
 * Time of an assignment, conversions included: a float value that an integer node reads passes one Q, and one that is made as integers and read
 * otherwise, or an output of the graph, one DQ. `chosen` has the forms of nodes that are not static. Float time counts `bias` times.
 */
export function assignmentTime(graph: Graph, selection: Selection, { times, forms }: Pick<AssignmentCosts, 'times' | 'forms'>, chosen: ReadonlyMap<Node, FormCost['form']>, bias = 1): number {
  const index = indexOf(graph);
  let time = 0;
  for (const selected of selection.nodes.values()) if (!chosen.has(selected.node)) time += times.integer(selected);
  for (const [node, form] of chosen) {
    const selected = selection.nodes.get(node);
    const own = forms.get(node.name)?.find((cost) => cost.form === form)?.timeMs;
    time += own ?? bias * (selected ? times.float(selected) : times.floatOf(node));
  }
  const isStatic = (node: Node) => selection.nodes.has(node) && !chosen.has(node);
  const makers = new Map<string, Node>();
  for (const { node, quantizesOutput, ends } of selection.nodes.values()) if (quantizesOutput) for (const end of ends) makers.set(end, node);
  for (const value of selection.values.keys()) {
    const uses = index.uses(value);
    const integerReads = uses.filter(({ node, input }) => isStatic(node) && selection.nodes.get(node)!.activations.includes(input)).length;
    const maker = makers.get(value);
    const isInteger = maker !== undefined && isStatic(maker);
    if (!isInteger && integerReads > 0) time += times.quantize(value);
    if (isInteger && integerReads < uses.length + (index.isOutput(value) ? 1 : 0)) time += times.dequantize(value);
  }
  return time;
}
