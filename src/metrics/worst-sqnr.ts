import { MAX_SQNR_DB, type OutputError } from './output-error.js';

type Judged = Pick<OutputError, 'name' | 'sqnrDb' | 'equalShare' | 'elements' | 'collapsed'>;

/** Outputs whose signal to noise tells how good they are: floats. An index that is off by one is as wrong as any other. */
export function gradedOutputs<T extends Judged>(outputs: readonly T[]): readonly T[] {
  return outputs.filter(({ equalShare, elements }) => equalShare === null && elements > 0);
}

/**
 * SQNR in dB of the worst float output. Outputs that are zero in the float model have none and do not count. Where no float output has one,
 * others count by the share of equal elements e, as −10·log₁₀(1 − e). −∞ where nothing counts, or an output collapsed that cannot be measured.
 */
export function worstQuality(outputs: readonly Judged[]): number {
  const graded = gradedOutputs(outputs);
  if (graded.some(({ collapsed, sqnrDb }) => collapsed && sqnrDb === null)) return -Infinity;
  const ratios = graded.flatMap(({ sqnrDb }) => sqnrDb ?? []);
  if (ratios.length > 0) return Math.min(...ratios);
  const shares = outputs.flatMap(({ equalShare }) => equalShare ?? []);
  return shares.length > 0 ? Math.min(...shares.map((share) => Math.min(MAX_SQNR_DB, -10 * Math.log10(1 - share)))) : -Infinity;
}
