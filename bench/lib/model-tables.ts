import { span, type Block, type Cell } from '../../src/report/document.js';
import { floatNodes, worst, type Failure, type Judgement } from './judge.js';
import { columns } from './results.js';

/** One model that a tool made of a case. */
export interface Row {
  readonly tool: 'qdq' | 'reference';
  readonly setting: string;
  /** Range method, or what was special. */
  readonly note: string;
  readonly outcome: Judgement | Failure;
}

/** All that was made of a case. */
export interface CaseResult {
  readonly name: string;
  readonly rows: readonly Row[];
}

/** Differences below this are none. */
const EQUAL_DB = 0.05;

interface JudgedRow extends Row {
  readonly outcome: Judgement;
}

/** Every row of qdq beside the best of the reference. */
export function verdictTable(results: readonly CaseResult[]): Block {
  return {
    kind: 'table',
    columns: columns('Case', 'qdq', '>Float nodes', '>SQNR exact', 'Best reference', '>SQNR exact', 'Not lower', '>SQNR here', 'Best reference', '>SQNR here', 'Not lower', '>Speed-up', '>Its speed-up'),
    rows: results.flatMap(({ name, rows }) => rows.filter(({ tool }) => tool === 'qdq').map((own) => [name, own.setting, ...verdict(own, rows)])),
  };
}

/** What is judged is set strong: a model is for processors that add products exactly, or, with weights in 7 bits, for any. */
function verdict(own: Row, rows: readonly Row[]): Cell[] {
  if (!isJudged(own)) return ['fails', '', '', '', span('no', 'strong')];
  const limit = floatNodes(own.outcome);
  const isDynamic = own.outcome.exactSqnr === null;
  const rivals = rows.filter(isJudged).filter(
    ({ tool, setting, outcome }) => tool === 'reference' && floatNodes(outcome) <= limit && (setting !== 'dynamic' || isDynamic),
  );
  const forHere = isDynamic || own.setting.includes('ort-x64');
  const exact = beside(own, rivals, ({ exactSqnr }) => exactSqnr, !forHere);
  const here = beside(own, rivals, ({ sqnr }) => sqnr, forHere);
  const speed = (row: JudgedRow | undefined) => row?.outcome.speedup?.median.toFixed(2) ?? '';
  return [`${limit} of ${own.outcome.compute}`, ...exact.cells, ...here.cells, speed(own), speed((forHere ? here : exact).best)];
}

function beside(own: JudgedRow, rivals: readonly JudgedRow[], sqnrOf: (judgement: Judgement) => Judgement['exactSqnr'], counts: boolean) {
  const ownSqnr = sqnrOf(own.outcome);
  if (!ownSqnr) return { best: undefined, cells: ['—', '', '', ''] };
  let best: { row: JudgedRow; sqnr: number } | undefined;
  for (const row of rivals) {
    const sqnr = sqnrOf(row.outcome);
    if (sqnr && (!best || worst(sqnr) > best.sqnr)) best = { row, sqnr: worst(sqnr) };
  }
  const met = !best ? 'yes: none has as few' : worst(ownSqnr) > best.sqnr - EQUAL_DB ? 'yes' : 'no';
  return { best: best?.row, cells: [decibels(worst(ownSqnr)), best?.row.setting ?? '—', best ? decibels(best.sqnr) : '', span(met, counts ? 'strong' : 'plain')] };
}

/** Every model that was made of a case. */
export function detailTable({ rows }: CaseResult): Block {
  return {
    kind: 'table',
    columns: columns('Tool', 'Setting', 'Note', '>Integer', 'Float', '>Q/DQ left', '>SQNR exact', '>SQNR here', '>Agreement', '>fp32 ms', '>Speed-up', '>Size'),
    rows: rows.map(({ tool, setting, note, outcome }) => [tool, setting, 'fail' in outcome ? `fails: ${outcome.fail.slice(0, 140)}` : note, ...figures(outcome)]),
  };
}

function figures(outcome: Judgement | Failure): string[] {
  if ('fail' in outcome) return [];
  const { integer, float, qdq, exactSqnr, sqnr, agreement, fp32Ms, speedup, sizeRatio } = outcome;
  return [
    String(integer),
    Object.entries(float).map(([kind, count]) => `${count} ${kind}`).join(', ') || '0',
    String(qdq),
    exactSqnr ? exactSqnr.map(decibels).join(' / ') : '—',
    sqnr.map(decibels).join(' / '),
    agreement === null ? '—' : agreement.toFixed(3),
    fp32Ms.toPrecision(3),
    speedup ? `${speedup.median.toFixed(2)} [${speedup.low.toFixed(2)}, ${speedup.high.toFixed(2)}]` : '—',
    sizeRatio.toFixed(3),
  ];
}

function isJudged(row: Row): row is JudgedRow {
  return !('fail' in row.outcome);
}

function decibels(value: number | null): string {
  return value === null || !Number.isFinite(value) ? '—' : value.toFixed(1);
}
