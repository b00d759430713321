import type { OutputError } from './output-error.js';

type Judged = Pick<OutputError, 'name' | 'sqnrDb' | 'equalShare' | 'elements'>;

/** Outputs whose signal to noise tells how good they are: floats. An index that is off by one is as wrong as any other. */
export function gradedOutputs<T extends Judged>(outputs: readonly T[]): readonly T[] {
  return outputs.filter(({ equalShare, elements }) => equalShare === null && elements > 0);
}

/**
 * SQNR in dB of the worst of a model's float outputs, or of its worst output where none is float; -Infinity where one has none at all.
 * Outputs without elements, or of which nothing could be compared, do not count.
 */
export function worstSqnrDb(outputs: readonly Judged[]): number {
  const graded = gradedOutputs(outputs);
  const counted = graded.length > 0 ? graded : outputs.filter(({ elements }) => elements > 0);
  return counted.reduce((worst, { sqnrDb }) => Math.min(worst, sqnrDb ?? -Infinity), Infinity);
}
