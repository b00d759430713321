import type { NodeTime } from '../evaluation/profile-nodes.js';
import { indexOf } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';
import { isComputeNode } from '../runtime/kernels.js';
import { computeNodeBehind } from '../runtime/measured-report.js';
import type { SelectedNode } from '../quantization/select.js';
import type { FormCost, TimeTable } from './fastest-assignment.js';
import type { OtherForm } from './planner.js';

/** What the runtime spends on a node beside its kernel: the profile does not count it. */
const NODE_OVERHEAD_MS = 0.001;

/** Where no conversion was seen: time of one, and of each element. They are replaced by what this machine shows wherever it shows any. */
const CONVERSION_MS = 0.002;
const ELEMENT_MS = 0.3e-6;

/** Conversions of fewer elements say nothing of the time of one: it is lost in what a node takes whatever its size. */
const TELLING_ELEMENTS = 4096;

/**
 * The runtime's float and integer convolutions keep their values in different layouts, so that a conversion between them takes one of these along.
 * Where the integer model converts as well, it is there already.
 */
const LAYOUT_CHANGES = ['Transpose', 'ReorderInput', 'ReorderOutput'];

/** Times from a profile of the float model and one of the integer model, whose nodes have the same names. */
export function timeTable(graph: Graph, float: readonly NodeTime[], integer: readonly NodeTime[]): TimeTable {
  const index = indexOf(graph);
  const floatTimes = timesByName(float);
  const integerTimes = timesByName(integer);
  const elements = elementsByName([...integer, ...float]);
  const perElement = {
    QuantizeLinear: elementTime(integer, ['QuantizeLinear']),
    DequantizeLinear: elementTime(integer, ['DequantizeLinear']),
  };
  const perMoved = elementTime([...integer, ...float], LAYOUT_CHANGES);
  const isOfConvolution = (value: string) => [computeNodeBehind(graph, value), ...index.uses(value).map(({ node }) => node)].some((node) => node?.opType === 'Conv');
  const timeOf = (value: string, opType: 'QuantizeLinear' | 'DequantizeLinear', suffix: string): number => {
    const measured = integerTimes.get(`${value}${suffix}`);
    if (measured !== undefined) return NODE_OVERHEAD_MS + measured;
    const size = elements.get(`${value}${suffix}`) ?? elements.get(index.producer(value)?.name ?? '') ?? 0;
    const move = isOfConvolution(value) ? NODE_OVERHEAD_MS + CONVERSION_MS + size * perMoved : 0;
    return NODE_OVERHEAD_MS + CONVERSION_MS + size * perElement[opType] + move;
  };
  // Each cut and each sum asks for all of them again.
  const known = new Map<string, number>();
  const convert = (value: string, opType: 'QuantizeLinear' | 'DequantizeLinear', suffix: string): number => {
    const key = `${value}${suffix}`;
    const time = known.get(key) ?? timeOf(value, opType, suffix);
    known.set(key, time);
    return time;
  };
  const whole = (times: ReadonlyMap<string, number>, { node, biasAdd, absorbed }: SelectedNode): number =>
    [node, biasAdd, absorbed?.node].reduce((sum, part) => {
      const time = part && times.get(part.name);
      return time === undefined ? sum : sum + time + NODE_OVERHEAD_MS;
    }, 0);
  return {
    isMeasured: true,
    float: (node) => whole(floatTimes, node),
    floatOf: (node) => (floatTimes.get(node.name) ?? 0) + NODE_OVERHEAD_MS,
    integer: (node) => whole(integerTimes, node),
    quantize: (value) => convert(value, 'QuantizeLinear', '_Q'),
    dequantize: (value) => convert(value, 'DequantizeLinear', '_DQ'),
  };
}

/** Lets as many nodes that multiply run on integers as noise allows, then as many others, at any speed. */
export const INTEGERS_FIRST: TimeTable = {
  isMeasured: false,
  float: ({ node }) => (isComputeNode(node) ? 1 : 1e-3),
  floatOf: (node) => (isComputeNode(node) ? 1 : 1e-3),
  integer: () => 0,
  quantize: () => 1e-5,
  dequantize: () => 1e-5,
};

/** Suffixes of the nodes that a product becomes together with its own name, in case the runtime does not fuse them. */
const FORM_PARTS = ['', '_cast', '_scales', '_mul', '_bias'];

/** Time of a node by a profile of a model in which it is dynamic or in blocks; the quantization of its input is shared by those that read it. */
export function otherFormTime(profile: readonly NodeTime[]): (node: Node, readers: (value: string) => number) => number {
  const times = timesByName(profile);
  return (node, readers) => {
    const input = node.inputs[0]!;
    const parts = FORM_PARTS.flatMap((suffix) => times.get(`${node.name}${suffix}`) ?? []);
    const own = parts.reduce((sum, time) => sum + time + NODE_OVERHEAD_MS, 0);
    const quantize = times.get(`${input}_DynamicQuantize`);
    return own + (quantize === undefined ? 0 : (quantize + NODE_OVERHEAD_MS) / Math.max(1, readers(input)));
  };
}

/** Times of nodes by a profile of a model in which they are all in one form, none where there is no profile, and an equal share of its noise for each. */
export function costsOfForm(form: OtherForm, nodes: readonly Node[], sqnrDb: number, profile: readonly NodeTime[] | undefined): [string, FormCost][] {
  const timeOf = profile ? otherFormTime(profile) : () => 0;
  const noise = 10 ** (-sqnrDb / 10) / nodes.length;
  const readers = (value: string) => nodes.filter(({ inputs }) => inputs[0] === value).length;
  return nodes.map((node) => [node.name, { form, timeMs: timeOf(node, readers), noise }]);
}

function timesByName(times: readonly NodeTime[]): Map<string, number> {
  const byName = new Map<string, number>();
  for (const { names, timeMs } of times) {
    const [name] = names;
    if (name !== undefined) byName.set(name, (byName.get(name) ?? 0) + timeMs);
  }
  return byName;
}

function elementsByName(times: readonly NodeTime[]): Map<string, number> {
  return new Map(times.flatMap(({ names, elements }) => names.map((name) => [name, elements] as const)));
}

/** Median time of an element in conversions of these types, in milliseconds. */
function elementTime(times: readonly NodeTime[], opTypes: readonly string[]): number {
  const telling = times.filter(({ opType, elements }) => opTypes.includes(opType) && elements >= TELLING_ELEMENTS);
  const rates = telling.map((time) => Math.max(0, time.timeMs - CONVERSION_MS) / time.elements);
  return rates.sort((a, b) => a - b)[rates.length >> 1] ?? ELEMENT_MS;
}
