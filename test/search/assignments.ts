import { createNode } from '../../src/graph/graph-editor.js';
import { indexOf } from '../../src/graph/graph-index.js';
import type { Graph, Node } from '../../src/graph/model.js';
import { OPERATOR_RULES } from '../../src/quantization/operator-rules.js';
import type { SelectedNode, SelectedValue, Selection } from '../../src/quantization/select.js';
import type { TimeTable } from '../../src/search/fastest-assignment.js';
import { seeded } from '../metrics/seeded.js';

/** A graph, what of it can run on integers, and what everything takes. */
export interface Problem {
  readonly graph: Graph;
  readonly selection: Selection;
  readonly times: TimeTable;
}

/** Times by node name and by value name, as tests write them; 0 where a name is absent. */
export interface WrittenTimes {
  readonly float?: Readonly<Record<string, number>>;
  readonly integer?: Readonly<Record<string, number>>;
  /** Of every Q, and of every DQ. */
  readonly quantize?: number;
  readonly dequantize?: number;
}

/** A table of the times written. */
export function written({ float = {}, integer = {}, quantize = 0, dequantize = 0 }: WrittenTimes): TimeTable {
  return {
    isMeasured: true,
    float: ({ node }) => float[node.name] ?? 0,
    floatOf: ({ name }) => float[name] ?? 0,
    integer: ({ node }) => integer[node.name] ?? 0,
    quantize: () => quantize,
    dequantize: () => dequantize,
  };
}

/**
 * What an assignment takes in all, by the rules of the graph: each node its time on its side; a value that is float and that an integer node
 * reads passes one Q; a value made as integers that a float reader or the graph's output takes passes one DQ.
 */
export function totalTime({ graph, selection, times }: Problem, inFloat: ReadonlySet<Node>): number {
  const index = indexOf(graph);
  const onIntegers = [...selection.nodes.values()].filter(({ node }) => !inFloat.has(node));
  const made = new Set(onIntegers.flatMap(({ quantizesOutput, ends }) => (quantizesOutput ? ends : [])));
  let time = 0;
  for (const selected of selection.nodes.values()) time += inFloat.has(selected.node) ? times.float(selected) : times.integer(selected);
  for (const value of selection.values.keys()) {
    const integerReads = onIntegers.flatMap(({ node, activations }) => activations.filter((input) => node.inputs[input] === value));
    const allReads = index.uses(value).length + (index.isOutput(value) ? 1 : 0);
    if (!made.has(value) && integerReads.length > 0) time += times.quantize(value);
    if (made.has(value) && integerReads.length < allReads) time += times.dequantize(value);
  }
  return time;
}

/** Every choice of nodes to leave in float. */
export function allAssignments({ nodes }: Selection): Set<Node>[] {
  const all = [...nodes.keys()];
  return Array.from({ length: 2 ** all.length }, (_, bits) => new Set(all.filter((_, i) => (bits >> i) & 1)));
}

/**
 * A random problem of up to nine nodes, seven of which at most can run on integers: values with several readers, inputs that are no
 * activations, nodes with two outputs, nodes that give float, values that are graph outputs too.
 */
export function randomProblem(seed: number): Problem {
  const next = seeded(seed);
  const below = (limit: number) => Math.floor(next() * limit);
  const chance = (share: number) => next() < share;
  const values = ['x', 'y'];
  const nodes: Node[] = [];
  const selected: SelectedNode[] = [];
  const count = 2 + below(8);
  for (let i = 0; i < count; i++) {
    const inputs = Array.from({ length: 1 + below(3) }, () => values[Math.max(0, values.length - 1 - below(4))]!);
    const outputs = chance(0.2) ? [`n${i}`, `n${i}b`] : [`n${i}`];
    const node = createNode({ name: `n${i}`, opType: 'Any', inputs, outputs });
    nodes.push(node);
    values.push(...outputs);
    if (selected.length === 7 || chance(0.2)) continue;
    const activations = inputs.flatMap((_, input) => (input === 0 || chance(0.7) ? [input] : []));
    selected.push({ node, rule: OPERATOR_RULES[0]!, activations, constants: [], weight: undefined, depthwise: undefined, biasAdd: undefined, absorbed: undefined, ends: outputs, quantizesOutput: chance(0.8) });
  }
  const outputs = values.slice(2).filter((_, i) => i === values.length - 3 || chance(0.15));
  const tensors = (names: readonly string[]) => names.map((name) => ({ name, type: { kind: 'none' } as const }));
  const graph: Graph = { name: 'random', nodes, initializers: new Map(), sparseInitializers: [], inputs: tensors(['x', 'y']), outputs: tensors(outputs), valueInfo: [] };
  const names = new Set(selected.flatMap(({ node, activations, ends, quantizesOutput }) => [...activations.map((i) => node.inputs[i]!), ...(quantizesOutput ? ends : [])]));
  const selectedValues = [...names].map((name): SelectedValue => ({ name, group: name, carried: false, fixedRange: undefined }));
  const drawn = (names: Iterable<string>, most: number) => new Map([...names].map((name) => [name, next() * most]));
  const floatTimes = drawn(nodes.map(({ name }) => name), 2);
  const integerTimes = drawn(nodes.map(({ name }) => name), 1.5);
  const quantizeTimes = drawn(names, 0.6);
  const dequantizeTimes = drawn(names, 0.6);
  const times: TimeTable = {
    isMeasured: true,
    float: ({ node }) => floatTimes.get(node.name)!,
    floatOf: ({ name }) => floatTimes.get(name)!,
    integer: ({ node }) => integerTimes.get(node.name)!,
    quantize: (value) => quantizeTimes.get(value)!,
    dequantize: (value) => dequantizeTimes.get(value)!,
  };
  return {
    graph,
    selection: { nodes: new Map(selected.map((node) => [node.node, node])), values: new Map(selectedValues.map((value) => [value.name, value])), floatReasons: new Map() },
    times,
  };
}
