import type { RunResult } from '../run.js';
import { facts, heading, type Fact, type ReportDocument } from './document.js';
import { countOf, duration, shape, someOf } from './format.js';
import { integerSection } from './integer-section.js';
import { medianText, rangeText, threadsText } from './latency.js';
import { warningsSection, type DescribeOptions } from './warnings-section.js';

const FILES_SHOWN = 3;

/** What `qdq run` did, in words. */
export function describeRun(result: RunResult, model: string, options: DescribeOptions): ReportDocument {
  const { files } = result;
  return {
    title: `Ran ${model} on ${countOf(result.samples, 'sample')}`,
    blocks: [
      facts([...latencyFacts(result), files.length > 0 ? ['files', `${countOf(files.length, 'file')} written: ${someOf(files, FILES_SHOWN)}`] : null]),
      ...warningsSection(result.warnings, options),
      heading('Outputs'),
      { kind: 'table', columns: [{ title: 'output' }, { title: 'type' }, { title: 'shape' }], rows: result.outputs.map((output) => [output.name, output.type, shape(output.shape)]) },
      ...integerSection(result.integer),
    ],
  };
}

function latencyFacts({ latencyMs, threads }: RunResult): Fact[] {
  if (!latencyMs) return [['latency', 'not timed']];
  return [
    ['latency', `${medianText(latencyMs)} (median ± standard deviation of ${countOf(latencyMs.n, 'run')}, ${threadsText(threads)})`],
    ['range', `${rangeText(latencyMs)}, mean ${duration(latencyMs.mean)}, 95 % below ${duration(latencyMs.p95)}`],
  ];
}
