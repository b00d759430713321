import type { IntegerNode, IntegerReport, TimeSplit } from '../runtime/integer-report.js';
import { facts, heading, paragraph, span, type Block, type Cell, type Column, type Fact, type Tone } from './document.js';
import { bytes, countOf, duration, groupThousands, NOT_AVAILABLE, orNotAvailable, percent, someOf } from './format.js';

const NAMES_SHOWN = 3;
const REASONS_SHOWN = 3;

/** The answer to "does it run on integers?": a sentence, its figures, and the compute nodes, those in float first. */
export function integerSection(integer: IntegerReport, options: { readonly title?: string; readonly floatNodesOnly?: boolean } = {}): Block[] {
  const nodes = sortFloatFirst(integer.nodes).filter((node) => !options.floatNodesOnly || node.runsAs !== 'integer');
  return [
    heading(options.title ?? 'Integers'),
    paragraph(span(integerSentence(integer), toneOf(integer))),
    facts(integerFacts(integer)),
    ...(nodes.length > 0 ? [nodeTable(nodes, totalsOf(integer))] : []),
  ];
}

/**
 * One sentence: "52 of 53 compute nodes, 99.8 % of the multiply–accumulates and 94 % of the time of all nodes run on integers (QLinearConv 50,
 * QGemm 2); 1 stayed float: head/ConvTranspose (ConvTranspose has no integer kernel in onnxruntime)".
 */
export function integerSentence(integer: IntegerReport): string {
  if (integer.computeNodes === 0) return 'the model has no compute nodes (Conv, MatMul, Gemm and their like)';
  const kernels = countKernels(integer.nodes.filter(({ runsAs }) => runsAs === 'integer'));
  const shares = [
    `${knownIntegers(integer)} of ${countOf(integer.computeNodes, 'compute node')}`,
    ...(integer.macsShare === null ? [] : [`${percent(integer.macsShare)} of the multiply–accumulates`]),
    ...(integer.timeShare === null ? [] : [`${percent(integer.timeShare)} of the time of all nodes`]),
  ];
  const subject = shares.length === 1 ? shares[0]! : `${shares.slice(0, -1).join(', ')} and ${shares.at(-1)!}`;
  return [
    `${subject} ${integer.computeNodes === 1 && shares.length === 1 ? 'runs' : 'run'} on integers${kernels ? ` (${kernels})` : ''}`,
    ...remaining(integer.nodes, 'mixed', 'in part on integers'),
    ...remaining(integer.nodes, 'float', 'stayed float'),
    ...remaining(integer.nodes, null, 'unknown'),
  ].join('; ');
}

/** The count, or the least that it can be where some kernels are not known. */
function knownIntegers({ integerNodes, nodes }: IntegerReport): string {
  return integerNodes === null ? `at least ${groupThousands(nodes.filter(({ runsAs }) => runsAs === 'integer').length)}` : groupThousands(integerNodes);
}

function remaining(nodes: readonly IntegerNode[], runsAs: IntegerNode['runsAs'], what: string): string[] {
  const those = nodes.filter((node) => node.runsAs === runsAs);
  return those.length > 0 ? [`${groupThousands(those.length)} ${what}: ${groupByReason(those)}`] : [];
}

function groupByReason(nodes: readonly IntegerNode[]): string {
  const groups = new Map<string, string[]>();
  for (const { name, reason } of nodes) {
    const key = reason ?? '';
    groups.set(key, [...(groups.get(key) ?? []), name]);
  }
  const largest = [...groups].sort(([, a], [, b]) => b.length - a.length);
  const shown = largest.slice(0, REASONS_SHOWN).map(([reason, names]) => `${someOf(names, NAMES_SHOWN)}${reason ? ` (${reason})` : ''}`);
  const others = largest.slice(REASONS_SHOWN).reduce((sum, [, names]) => sum + names.length, 0);
  return [...shown, ...(others > 0 ? [`${groupThousands(others)} for other reasons`] : [])].join(', ');
}

function countKernels(nodes: readonly IntegerNode[]): string {
  const counts = new Map<string, number>();
  for (const { kernel } of nodes) counts.set(kernel ?? NOT_AVAILABLE, (counts.get(kernel ?? NOT_AVAILABLE) ?? 0) + 1);
  return [...counts]
    .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
    .map(([kernel, count]) => `${kernel} ${count}`)
    .join(', ');
}

const OPERATORS_SHOWN = 4;

/** "2.10 ms a run: compute nodes on integers 38.0 %, other nodes on integers 4.00 %, conversion (Q, DQ) 8.00 %, Softmax 20.0 %, …". */
function describeTime({ totalMs, computeMs, otherIntegerMs, conversionMs, otherMs }: TimeSplit): string {
  const others = Object.entries(otherMs);
  const rest = others.slice(OPERATORS_SHOWN).reduce((sum, [, ms]) => sum + ms, 0);
  const parts: readonly (readonly [string, number])[] = [
    ['compute nodes on integers', computeMs.integer],
    ['compute nodes in float', computeMs.float],
    ['other nodes on integers', otherIntegerMs],
    ['conversion (Q, DQ)', conversionMs],
    ...others.slice(0, OPERATORS_SHOWN),
    [`${groupThousands(others.length - OPERATORS_SHOWN)} other operators`, rest],
  ];
  const shown = parts.filter(([, ms]) => ms > 0).map(([name, ms]) => `${name} ${percent(ms / totalMs)}`);
  return `${duration(totalMs)} of all nodes in one run: ${shown.join(', ')}`;
}

function integerFacts({ danglingQdqNodes, weightBytes, runtime, provider, threads, cpu, time }: IntegerReport): Fact[] {
  const { total, integer, residentInteger } = weightBytes;
  const share = total > 0 ? ` (${percent(integer / total)})` : '';
  return [
    ...(time ? [['time', describeTime(time)] as const] : []),
    ['Q/DQ', danglingQdqNodes === null ? 'not known whether any are left over' : danglingQdqNodes === 0 ? 'no dangling Q/DQ' : span(`${countOf(danglingQdqNodes, 'dangling Q/DQ node')}: they convert for no integer kernel and cost time`, 'warning')],
    ['weights', `${bytes(total)} in the file, ${bytes(integer)}${share} of them as integers; ${residentInteger === null ? 'not known how much stays integers' : `${bytes(residentInteger)} of integers`} in the runtime's memory`],
    ['runtime', `${runtime}, ${provider}${threads === undefined ? '' : `, ${countOf(threads, 'thread')}`} (${cpu})`],
    ...(provider === 'wasm' ? [['proof', 'from the profile of a run: onnxruntime-web cannot write the graph that it fused'] as const] : []),
  ];
}

function toneOf({ computeNodes, integerNodes }: IntegerReport): Tone {
  if (computeNodes === 0) return 'plain';
  if (integerNodes === computeNodes) return 'good';
  return integerNodes === 0 ? 'bad' : 'warning';
}

/** What shares are shares of: the multiply–accumulates of all compute nodes, the time of all nodes. */
interface Totals {
  readonly macs: number;
  readonly timeMs: number;
}

/** A column that is there only where nodes have something to say in it. */
interface NodeColumn extends Column {
  readonly isNeeded?: (nodes: readonly IntegerNode[]) => boolean;
  readonly cell: (node: IntegerNode, totals: Totals) => Cell;
}

const NODE_COLUMNS: readonly NodeColumn[] = [
  { title: 'node', cell: ({ name }) => name },
  { title: 'operator', cell: ({ opType }) => opType },
  { title: 'runs as', cell: ({ runsAs }) => (runsAs === 'integer' ? span(runsAs, 'good') : span(runsAs ?? 'unknown', 'warning')) },
  { title: 'kernel', cell: ({ kernel }) => kernel ?? NOT_AVAILABLE },
  { title: 'weights', cell: ({ weights }) => weights ?? 'none' },
  { title: 'MACs', align: 'right', isNeeded: haveMacs, cell: ({ macs }) => orNotAvailable(macs, groupThousands) },
  { title: 'share of MACs', isNeeded: haveMacs, cell: ({ macs }, totals) => ({ share: (macs ?? 0) / (totals.macs || 1) }) },
  { title: 'time', align: 'right', isNeeded: haveTimes, cell: ({ timeMs }) => orNotAvailable(timeMs, duration) },
  { title: 'share of time', isNeeded: haveTimes, cell: ({ timeMs }, totals) => ({ share: (timeMs ?? 0) / (totals.timeMs || 1) }) },
  { title: 'why not integer', isNeeded: haveSeveralReasons, cell: ({ reason }) => reason ?? '' },
];

function nodeTable(nodes: readonly IntegerNode[], totals: Totals): Block {
  const columns = NODE_COLUMNS.filter(({ isNeeded }) => !isNeeded || isNeeded(nodes));
  return { kind: 'table', columns, rows: nodes.map((node) => columns.map(({ cell }) => cell(node, totals))) };
}

function totalsOf({ nodes, time }: IntegerReport): Totals {
  const sum = (values: readonly (number | null)[]) => values.reduce((total: number, value) => total + (value ?? 0), 0);
  return { macs: sum(nodes.map(({ macs }) => macs)), timeMs: time?.totalMs ?? sum(nodes.map(({ timeMs }) => timeMs)) };
}

function haveMacs(nodes: readonly IntegerNode[]): boolean {
  return nodes.some(({ macs }) => macs !== null);
}

function haveTimes(nodes: readonly IntegerNode[]): boolean {
  return nodes.some(({ timeMs }) => timeMs !== null);
}

/** A reason that all share stands in the sentence above already. */
function haveSeveralReasons(nodes: readonly IntegerNode[]): boolean {
  return new Set(nodes.map(({ reason }) => reason).filter((reason) => reason !== null)).size > 1;
}

function sortFloatFirst(nodes: readonly IntegerNode[]): IntegerNode[] {
  return [...nodes.filter(({ runsAs }) => runsAs !== 'integer'), ...nodes.filter(({ runsAs }) => runsAs === 'integer')];
}
