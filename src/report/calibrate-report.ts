import type { CalibrateResult } from '../calibrate.js';
import { frozenText } from '../data/frozen-inputs.js';
import { facts, heading, span, type Block, type ReportDocument } from './document.js';
import { bytes, countOf, duration, groupThousands } from './format.js';
import { warningsSection, type DescribeOptions } from './warnings-section.js';

/** What `qdq calibrate` recorded, in words. */
export function describeCalibrate(result: CalibrateResult, options: DescribeOptions): ReportDocument {
  return {
    title: `Calibrated ${result.model.path}`,
    blocks: [
      facts([
        result.output === null ? null : ['table', result.output],
        result.frozen === null ? null : ['frozen', frozenText(result.frozen)],
        ['samples', groupThousands(result.samples)],
        ['tensors', `${groupThousands(result.tensors)}, ${result.sampled ? 'large ones counted on a grid (--exact counts every element), those of loops in part' : 'every element counted'}`],
        ['NaN, infinite', result.nonFinite.length === 0 ? 'none' : span(describeNonFinite(result), 'warning')],
        ['time', `${duration(result.durationMs)}, of which ${duration(result.inferenceMs)} in the runtime (summed over its sessions)`],
        ['memory', `${bytes(result.peakRssBytes)} at most`],
      ]),
      ...warningsSection(result.warnings, options),
      ...nonFiniteSection(result),
    ],
  };
}

function describeNonFinite({ nonFinite }: CalibrateResult): string {
  const tensors = new Set(nonFinite.map(({ tensor }) => tensor));
  const samples = new Set(nonFinite.map(({ sample }) => sample));
  return `in ${countOf(tensors.size, 'tensor')}, from ${countOf(samples.size, 'sample')}`;
}

function nonFiniteSection({ nonFinite }: CalibrateResult): Block[] {
  if (nonFinite.length === 0) return [];
  return [
    heading('NaN and infinite elements'),
    {
      kind: 'table',
      columns: [{ title: 'tensor' }, { title: 'sample' }, { title: 'NaN', align: 'right' }, { title: 'infinite', align: 'right' }],
      rows: nonFinite.map(({ tensor, sample, nan, inf }) => [tensor, sample, groupThousands(nan), groupThousands(inf)]),
    },
  ];
}
