import { basename } from 'node:path';
import type { QuantizeCheck } from '../check-quantized.js';
import type { PresetResult, PresetVariant } from '../quantize-preset.js';
import { paragraph, span, type Cell, type ReportDocument } from './document.js';
import { bytes, countOf, decibels, NOT_AVAILABLE, orNotAvailable, percent } from './format.js';
import { speedupText, threadsText } from './latency.js';
import { warningsSection, type DescribeOptions } from './warnings-section.js';

/** The files of a preset in one table: size, error, agreement and speed of each. */
export function describePreset(result: PresetResult, options: DescribeOptions): ReportDocument {
  const { model, preset, runtime, variants } = result;
  const written = variants.filter(({ output }) => output !== null).length;
  const check = variants.find((variant) => variant.check)?.check;
  return {
    title: `Wrote ${countOf(written, 'file')} for ${preset} from ${model.path} (${bytes(model.sizeBytes)})`,
    blocks: [
      {
        kind: 'table',
        whole: true,
        columns: [
          { title: 'file' },
          { title: 'what it is' },
          { title: 'size', align: 'right' },
          { title: 'of the model', align: 'right' },
          { title: 'SQNR, worst output', align: 'right' },
          { title: 'argmax agrees', align: 'right' },
          { title: 'speed-up [95 % interval]', align: 'right' },
        ],
        rows: variants.map((variant) => rowOf(variant, model.path)),
      },
      ...(check ? [paragraph(`error from ${countOf(check.samples, 'sample')}, in onnxruntime-${runtime}; speed-up: median of ${countOf(check.runs, 'interleaved pair')} of runs, ${threadsText(check.threads)}`)] : []),
      ...warningsSection(result.warnings, options),
    ],
  };
}

function rowOf({ suffix, form, output, check, reason }: PresetVariant, model: string): Cell[] {
  if (!output) return [`${basename(model).replace(/\.onnx$/, '')}${suffix}.onnx`, span(`not written: ${reason}`, 'bad'), '', '', '', '', ''];
  const speedup = check?.speedupInterval ?? null;
  return [
    basename(output.path),
    form,
    bytes(output.sizeBytes),
    check ? percent(check.sizeRatio) : NOT_AVAILABLE,
    check && check.collapsed.length > 0 ? span(`${orNotAvailable(worst(check.sqnrDb), decibels)}, useless`, 'bad') : orNotAvailable(check && worst(check.sqnrDb), decibels),
    orNotAvailable(check && worst(check.agreement), percent),
    span(speedupText(speedup), speedup === null ? 'plain' : speedup.median < 1 ? 'bad' : 'good'),
  ];
}

function worst(byOutput: QuantizeCheck['sqnrDb']): number | null {
  const known = Object.values(byOutput).filter((value) => value !== null);
  return known.length > 0 ? Math.min(...known) : null;
}
