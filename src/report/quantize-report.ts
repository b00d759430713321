import { basename } from 'node:path';
import type { QuantizedNode, QuantizeResult } from '../quantize.js';
import type { QuantizeCheck } from '../check-quantized.js';
import { facts, heading, paragraph, span, type Block, type Fact, type ReportDocument, type Text } from './document.js';
import { bytes, countOf, decibels, duration, groupThousands, NOT_AVAILABLE, orNotAvailable, percent, someOf, times } from './format.js';
import { integerSection } from './integer-section.js';
import { speedupText, threadsText } from './latency.js';
import { planSection } from './plan-section.js';
import { staticGainSection } from './static-gain-section.js';
import { warningsSection, type DescribeOptions } from './warnings-section.js';

const REASONS_SHOWN = 3;
const NAMES_SHOWN = 3;

/** A difference of SQNR beyond what the order of additions makes. */
const NOTABLE_DB = 0.5;

/** What `qdq quantize` did, or with --dry-run would do, in words. */
export function describeQuantize(result: QuantizeResult, model: string, options: DescribeOptions): ReportDocument {
  const { output, plan, integer, check } = result;
  return {
    title: output ? `Quantized ${model} to ${output.path}` : `Plan for ${model} (dry run: nothing was written)`,
    blocks: [
      facts([
        output && ['size', `${bytes(output.sizeBytes)}${check ? `, ${percent(check.sizeRatio)} of ${basename(model)}` : ''}`],
        output && ['SHA-256', output.sha256],
        ['mode', `${result.mode} for target ${result.target}${result.mode === 'static' ? `, ranges by ${result.ranges}` : ''}`],
        ['time', describeTime(result)],
      ]),
      ...warningsSection(result.warnings, options),
      ...(check ? checkSection(check, result) : []),
      ...(integer ? integerSection(integer, { floatNodesOnly: plan !== null }) : []),
      ...slowNodesSection(result),
      ...searchSection(result),
      ...weighedSection(result),
      ...methodsSection(result),
      ...(plan ? planSection(plan) : decisionsSection(result.nodes)),
      ...staticGainSection(result),
      ...changesSection(result),
    ],
  };
}

function describeTime({ durationMs: { total, ...phases } }: QuantizeResult): string {
  const parts = Object.entries(phases).filter(([, ms]) => ms >= 1);
  return `${duration(total)}${parts.length > 0 ? `: ${parts.map(([phase, ms]) => `${phase} ${duration(ms)}`).join(', ')}` : ''}`;
}

function checkSection(check: QuantizeCheck, { mode, search }: QuantizeResult): Block[] {
  const { speedupInterval: speedup } = check;
  const judged = search?.confirmations.length ?? 0;
  const heldOut = judged > 1 ? `held out from ranges, and from choices but for the last one among ${judged} plans that were judged on them` : 'held out from ranges and choices';
  const from = `${countOf(check.samples, 'sample')}, ${check.heldOut ? heldOut : 'which also gave the ranges'}`;
  const how = `median [95 % interval] of ${countOf(check.runs, 'interleaved pair')} of runs, ${threadsText(check.threads)}`;
  const slow: Text = speedup ? span(`${speedupText(speedup)} ${how}`, speedup.median < 1 ? 'bad' : 'good') : NOT_AVAILABLE;
  return [
    heading(mode === 'qat' ? 'Measured against the model that came in' : 'Measured against the float model'),
    facts([['figures from', from], ['speed-up', slow], ...cleanUpFact(search), ...taskFact(check), ...Object.keys(check.sqnrDb).map((name): Fact => [`output ${name}`, describeOutput(check, name)])]),
  ];
}

/** How much of the speed-up the clean-up alone makes, so that integers are not praised for it. Both figures are of the search, with its threads. */
function cleanUpFact(search: QuantizeResult['search'] | undefined): Fact[] {
  const chosen = search?.candidates.find((candidate) => candidate.chosen)?.speedup;
  const clean = search?.cleanSpeedup?.median;
  if (!chosen || !clean || search.integerNodes === 0) return [];
  return [['of that', `clean-up alone ${times(clean)}, and ${times(chosen / clean)} over the float model after clean-up, as timed while searching`]];
}

function taskFact({ task }: QuantizeCheck): Fact[] {
  if (!task) return [];
  const figure = (value: number | null) => orNotAvailable(value, (known) => known.toPrecision(4));
  return [[task.metric, `${figure(task.candidate)}, float model ${figure(task.baseline)}`]];
}

function describeOutput({ sqnrDb, simulatedSqnrDb, agreement, collapsed, equalShare, allZero }: QuantizeCheck, name: string): Text {
  const equal = equalShare[name];
  if (typeof equal === 'number') return `equal in ${percent(equal)} of its elements, which counts as it is no float`;
  if (allZero.includes(name)) return sqnrDb[name] === null ? span('zero in the float model, and not zero here', 'bad') : 'zero as in the float model, so that it has no SQNR';
  const sqnr = `SQNR ${orNotAvailable(sqnrDb[name], decibels)}${describeSimulated(sqnrDb[name], simulatedSqnrDb[name])}`;
  const share = agreement[name];
  const agrees = share === null || share === undefined ? '' : `, argmax agrees in ${percent(share)}`;
  return collapsed.includes(name) ? span(`${sqnr}${agrees}: useless`, 'bad') : `${sqnr}${agrees}`;
}

/** Kernels that saturate make this machine's figure another one than that of machines which add exactly. */
function describeSimulated(here: number | null | undefined, simulated: number | null | undefined): string {
  if (typeof here !== 'number' || typeof simulated !== 'number' || Math.abs(here - simulated) < NOTABLE_DB) return '';
  return ` on this machine, ${decibels(simulated)} where products are added exactly`;
}

function slowNodesSection({ slowNodes }: QuantizeResult): Block[] {
  if (slowNodes.length === 0) return [];
  return [
    heading('Nodes that cost more on integers than in float'),
    {
      kind: 'table',
      columns: [{ title: 'node' }, { title: 'operator' }, { title: 'in float', align: 'right' }, { title: 'on integers', align: 'right' }],
      rows: slowNodes.map(({ name, opType, floatMs, integerMs }) => [name, opType, duration(floatMs), duration(integerMs)]),
    },
  ];
}

/** The frontier of error against time: every plan that was tried, the fastest first, and the node-by-node choice. */
function searchSection({ search, nodes }: QuantizeResult): Block[] {
  if (!search || search.candidates.length === 0) return [];
  const { candidates, cleanSpeedup } = search;
  const sorted = [...candidates].sort((a, b) => (b.speedup ?? 0) - (a.speedup ?? 0) || (b.sqnrDb ?? -Infinity) - (a.sqnrDb ?? -Infinity));
  const measured = nodes.filter(({ reason }) => reason?.startsWith('measured: '));
  return [
    heading('Plans tried'),
    paragraph(`SQNR of the worst output on the samples that judged; speed-up over the float model as it was${cleanSpeedup ? `. The float model after clean-up alone: ${speedupText(cleanSpeedup)}` : ''}.`),
    {
      kind: 'table',
      whole: true,
      columns: [{ title: 'plan' }, { title: 'integer nodes', align: 'right' }, { title: 'SQNR', align: 'right' }, { title: 'speed-up', align: 'right' }, { title: 'weights', align: 'right' }, { title: '' }],
      rows: sorted.map(({ label, integerNodes, sqnrDb, speedupInterval, weightBytes, chosen }) => [
        label,
        String(integerNodes),
        orNotAvailable(sqnrDb, decibels),
        speedupInterval ? speedupText(speedupInterval) : 'not timed',
        bytes(weightBytes),
        chosen ? span('chosen', 'good') : '',
      ]),
    },
    ...(measured.length > 0
      ? [
          heading('Nodes that are not static, by measurement'),
          { kind: 'table' as const, columns: [{ title: 'node' }, { title: 'operator' }, { title: 'runs as' }, { title: 'times' }], rows: measured.map(({ name, opType, decision, reason }) => [name, opType, FORMS[decision], reason!.slice('measured: '.length)]) },
        ]
      : []),
  ];
}

/** Nodes that multiply: what each runs as, the noise that it makes, and what integers win of it. */
function weighedSection({ search }: QuantizeResult): Block[] {
  if (!search || search.weighed.length === 0) return [];
  const signed = (ms: number) => (ms < 0 ? `−${duration(-ms)}` : duration(ms));
  return [
    heading('Nodes that multiply, one by one'),
    paragraph('Time that a node on integers wins beside all others as they are, conversions at its edges included; noise of the node alone, which is measured where all static nodes together are too loud.'),
    {
      kind: 'table',
      columns: [{ title: 'node' }, { title: 'operator' }, { title: 'runs as' }, { title: 'in float', align: 'right' }, { title: 'won on integers', align: 'right' }, { title: 'noise alone', align: 'right' }],
      rows: search.weighed.map(({ name, opType, form, floatMs, wonMs, noiseDb }) => [name, opType, form === 'blocks' ? FORMS['weights-only'] : form, duration(floatMs), signed(wonMs), noiseDb === null ? 'not measured' : decibels(noiseDb)]),
    },
  ];
}

const FORMS: Readonly<Record<QuantizedNode['decision'], string>> = { float: 'float', quantized: 'dynamic', 'weights-only': '8-bit blocks', kept: 'as before' };

function methodsSection({ methods }: QuantizeResult): Block[] {
  if (methods.length === 0) return [];
  return [
    heading('Range methods tried'),
    {
      kind: 'table',
      whole: true,
      columns: [{ title: 'method' }, { title: 'SQNR of the worst output', align: 'right' }, { title: '' }],
      rows: methods.map(({ method, percentile, sqnrDb, chosen }) => [percentile === null ? method : `${method} ${percentile}`, orNotAvailable(sqnrDb, decibels), chosen ? span('chosen', 'good') : '']),
    },
  ];
}

const DECISIONS = ['quantized', 'weights-only', 'float', 'kept'] as const;

/** A row for each operator: what became of its nodes, and why some stayed float. */
function decisionsSection(nodes: readonly QuantizedNode[]): Block[] {
  const decisions = DECISIONS.filter((decision) => nodes.some((node) => node.decision === decision));
  const byOperator = groupBy(nodes, ({ opType }) => opType);
  const others = nodes.some(({ decision }) => decision !== 'quantized');
  return [
    heading(`Decisions (${countOf(nodes.length, 'node')})`),
    {
      kind: 'table',
      columns: [{ title: 'operator' }, ...decisions.map((title) => ({ title, align: 'right' as const })), ...(others ? [{ title: 'why not quantized' }] : [])],
      rows: [...byOperator]
        .sort(([, a], [, b]) => b.length - a.length)
        .map(([opType, those]) => [
          opType,
          ...decisions.map((decision) => groupThousands(those.filter((node) => node.decision === decision).length)),
          groupReasons(those.filter((node) => node.decision !== 'quantized')),
        ]),
    },
  ];
}

function groupReasons(nodes: readonly QuantizedNode[]): string {
  const given = nodes.map(({ reason }) => reason).filter((reason) => reason !== null);
  const reasons = [...groupBy(given, (reason) => reason.replace(/"[^"]*"/g, '"…"'))].sort(([, a], [, b]) => b.length - a.length);
  const shown = reasons.slice(0, REASONS_SHOWN).map(([pattern, those]) => {
    const text = new Set(those).size === 1 ? those[0]! : pattern;
    return those.length > 1 ? `${text} (${groupThousands(those.length)})` : text;
  });
  const others = reasons.length - shown.length;
  return [...shown, ...(others > 0 ? [countOf(others, 'other reason')] : [])].join('; ');
}

function changesSection({ changes }: QuantizeResult): Block[] {
  if (changes.length === 0) return [];
  const items = [...groupBy(changes, ({ pass, message }) => `${pass}: ${message}`)].map(([text, those]) => {
    const names = those.flatMap((change) => change.names);
    return names.length > 0 ? `${text} (${someOf(names, NAMES_SHOWN)})` : text;
  });
  return [heading('Changes'), { kind: 'list', items }];
}

function groupBy<T>(list: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of list) {
    const group = groups.get(keyOf(item));
    if (group) group.push(item);
    else groups.set(keyOf(item), [item]);
  }
  return groups;
}
