import type { Block } from '../../src/report/document.js';
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

function verdict(own: Row, rows: readonly Row[]): string[] {
  if (!isJudged(own)) return ['fails', '', '', '', 'no', '', '', '', 'no'];
  const limit = floatNodes(own.outcome);
  const rivals = rows.filter(isJudged).filter(
    ({ tool, setting, outcome }) => tool === 'reference' && floatNodes(outcome) <= limit && (setting !== 'dynamic' || own.note === 'dynamic'),
  );
  const exact = beside(own, rivals, ({ exactSqnr, sqnr }) => exactSqnr ?? sqnr);
  const here = beside(own, rivals, ({ sqnr }) => sqnr);
  const speed = (row: JudgedRow | undefined) => row?.outcome.speedup?.median.toFixed(2) ?? '';
  return [`${limit} of ${own.outcome.compute}`, ...exact.cells, ...here.cells, speed(own), speed(exact.best)];
}

function beside(own: JudgedRow, rivals: readonly JudgedRow[], sqnrOf: (judgement: Judgement) => readonly (number | null)[]) {
  const mine = worst(sqnrOf(own.outcome));
  let best: JudgedRow | undefined;
  for (const rival of rivals) if (!best || worst(sqnrOf(rival.outcome)) > worst(sqnrOf(best.outcome))) best = rival;
  const theirs = best && worst(sqnrOf(best.outcome));
  const met = theirs === undefined ? 'yes: none has as few' : mine > theirs - EQUAL_DB ? 'yes' : 'no';
  return { best, cells: [decibels(mine), best?.setting ?? '—', theirs === undefined ? '' : decibels(theirs), met] };
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
