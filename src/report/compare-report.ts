import { basename } from 'node:path';
import { comparisonsOf, type CompareResult, type Comparison } from '../compare.js';
import { heading, paragraph, span, type Block, type Cell, type ReportDocument } from './document.js';
import { bytes, countOf, figure, groupThousands, NOT_AVAILABLE, orNotAvailable, percent } from './format.js';
import { integerSection } from './integer-section.js';
import { medianText, rangeText, speedupText, threadsText } from './latency.js';
import { outputErrorTable } from './output-error-table.js';
import { thresholdText } from './threshold-text.js';
import { warningsSection, type DescribeOptions } from './warnings-section.js';

/** What `qdq compare` found, in words: several candidates side by side. */
export function describeCompare(result: CompareResult, options: DescribeOptions): ReportDocument {
  const all = comparisonsOf(result);
  const labels = labelsOf(all.map(({ candidate }) => candidate.path));
  const warnings = all.flatMap((comparison) => comparison.warnings);
  return {
    title: `Compared ${all.map(({ candidate }) => candidate.path).join(', ')} with ${result.baseline.path} on ${countOf(result.samples, 'sample')}`,
    blocks: [
      sideBySide(result, all, labels),
      paragraph(howTimed(all[0])),
      ...warningsSection(distinct(warnings, ({ message }) => message), options),
      heading('Outputs'),
      outputErrorTable(all.map(({ outputs }, i) => ({ label: labels[i]!, outputs }))),
      ...thresholdsSection(all, labels),
      ...all.flatMap(({ integer }, i) =>
        integerSection(integer, all.length > 1 ? { title: `Integers of ${labels[i]}`, floatNodesOnly: true } : {}),
      ),
    ],
  };
}

/** The base names of paths, or the paths where base names are not unique. */
function labelsOf(paths: readonly string[]): string[] {
  const names = paths.map((path) => basename(path));
  return new Set(names).size === names.length ? names : [...paths];
}

function sideBySide(result: CompareResult, all: readonly Comparison[], labels: readonly string[]): Block {
  const row = (title: string, baseline: Cell, cell: (comparison: Comparison) => Cell): Cell[] => [title, baseline, ...all.map(cell)];
  const first = all[0];
  const baselineMs = first?.latency.baselineMs ?? null;
  const task = first?.task;
  return {
    kind: 'table',
    whole: true,
    columns: [{ title: '' }, { title: `${basename(result.baseline.path)} (baseline)`, align: 'right' }, ...labels.map((title) => ({ title, align: 'right' as const }))],
    rows: [
      row('size', bytes(result.baseline.sizeBytes), ({ candidate }) => bytes(candidate.sizeBytes)),
      row('size, of the baseline', '', ({ sizeRatio }) => percent(sizeRatio)),
      row('compute nodes on integers', '', ({ integer }) => `${orNotAvailable(integer.integerNodes, groupThousands)} of ${groupThousands(integer.computeNodes)}`),
      row('latency, median ± stddev', orNotAvailable(baselineMs, medianText), ({ latency }) => orNotAvailable(latency.candidateMs, medianText)),
      row('latency, min … max', orNotAvailable(baselineMs, rangeText), ({ latency }) => orNotAvailable(latency.candidateMs, rangeText)),
      row('timed runs', orNotAvailable(baselineMs, ({ n }) => groupThousands(n)), ({ latency }) => orNotAvailable(latency.candidateMs, ({ n }) => groupThousands(n))),
      row('speed-up [95 % interval]', '', ({ latency: { speedup } }) => span(speedupText(speedup), speedup === null ? 'plain' : speedup.median < 1 ? 'bad' : 'good')),
      ...(task
        ? [
            row(`${task.metric}, ${countOf(task.samples, 'label')}`, orNotAvailable(task.baseline, fourDigits), (comparison) => orNotAvailable(comparison.task?.candidate, fourDigits)),
            row(`${task.metric}, drop`, '', (comparison) => orNotAvailable(comparison.task?.drop, fourDigits)),
          ]
        : []),
    ],
  };
}

function fourDigits(value: number): string {
  return figure(value, 4);
}

function howTimed(first: Comparison | undefined): string {
  if (!first || first.latency.runs === 0) return `speed-up: ${NOT_AVAILABLE}, nothing was timed`;
  const { runs, threads } = first.latency;
  return `speed-up: median of the ratios of ${countOf(runs, 'interleaved pair')} of runs, ${threadsText(threads)}`;
}

function thresholdsSection(all: readonly Comparison[], labels: readonly string[]): Block[] {
  const items = all.flatMap(({ thresholds }, i) =>
    thresholds.map((check) => span(`${all.length > 1 ? `${labels[i]}: ` : ''}${thresholdText(check)}`, check.met ? 'good' : 'bad')),
  );
  return items.length > 0 ? [heading('Thresholds'), { kind: 'list', whole: true, items }] : [];
}

function distinct<T>(list: readonly T[], keyOf: (item: T) => string): T[] {
  return [...new Map(list.map((item) => [keyOf(item), item])).values()];
}
