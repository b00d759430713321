import type { OutputError } from '../metrics/output-error.js';
import { span, type Block, type Cell, type Column } from './document.js';
import { countOf, decibels, figure, orNotAvailable, percent } from './format.js';

/** The output errors of one candidate. */
export interface LabeledErrors {
  readonly label: string;
  readonly outputs: readonly OutputError[];
}

/** One row for each output, and for each candidate where there are several. */
export function outputErrorTable(candidates: readonly LabeledErrors[]): Block {
  const rows = outputNames(candidates).flatMap((name) =>
    candidates.flatMap(({ label, outputs }) => outputs.filter((output) => output.name === name).map((output) => ({ label, output }))),
  );
  const columns = COLUMNS.filter(({ isFilled }) => !isFilled || rows.some(({ output }) => isFilled(output)));
  const several = candidates.length > 1;
  return {
    kind: 'table',
    columns: [{ title: 'output' }, ...(several ? [{ title: 'model' }] : []), ...columns],
    rows: rows.map(({ label, output }) => [output.name, ...(several ? [label] : []), ...columns.map(({ cell }) => cell(output))]),
  };
}

/** A column that is there only where some output fills it. */
interface ErrorColumn extends Column {
  readonly isFilled?: (output: OutputError) => boolean;
  readonly cell: (output: OutputError) => Cell;
}

const COLUMNS: readonly ErrorColumn[] = [
  { title: 'SQNR', align: 'right', cell: ({ sqnrDb }) => orNotAvailable(sqnrDb, decibels) },
  { title: 'cosine', align: 'right', cell: ({ cosine }) => orNotAvailable(cosine, (value) => value.toFixed(6)) },
  { title: 'max |error|', align: 'right', cell: ({ maxAbsError }) => orNotAvailable(maxAbsError, (value) => figure(value)) },
  { title: 'mean |error|', align: 'right', cell: ({ meanAbsError }) => orNotAvailable(meanAbsError, (value) => figure(value)) },
  { title: 'argmax agrees', align: 'right', isFilled: ({ agreement }) => agreement !== null, cell: ({ agreement }) => orNotAvailable(agreement, percent) },
  { title: 'equal', align: 'right', isFilled: ({ equalShare }) => equalShare !== null, cell: ({ equalShare }) => orNotAvailable(equalShare, percent) },
  { title: 'samples', align: 'right', cell: ({ samples }) => String(samples) },
  { title: 'remarks', isFilled: (output) => remarksOf(output) !== '', cell: (output) => span(remarksOf(output), 'bad') },
];

function remarksOf({ collapsed, nonFiniteMismatches, shapeMismatches }: OutputError): string {
  return [
    ...(collapsed ? ['useless'] : []),
    ...(nonFiniteMismatches > 0 ? [`${countOf(nonFiniteMismatches, 'element')} NaN or infinite on one side only`] : []),
    ...(shapeMismatches > 0 ? [`another shape in ${countOf(shapeMismatches, 'sample')}`] : []),
  ].join(', ');
}

function outputNames(candidates: readonly LabeledErrors[]): string[] {
  return [...new Set(candidates.flatMap(({ outputs }) => outputs.map(({ name }) => name)))];
}
