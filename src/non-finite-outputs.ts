import type { OutputError } from './metrics/output-error.js';
import type { Warning } from './progress.js';

/** A warning for each output that has NaN or infinity, in either model or in both: which elements, in which sample first. `candidate` names the model that is judged. */
export function nonFiniteOutputs(outputs: readonly OutputError[], candidate: string): Warning[] {
  return outputs.filter(({ nonFinite }) => nonFinite > 0).map(({ name, nonFinite, nonFiniteMismatches, nonFiniteSample, elements }) => {
    const where = nonFiniteSample === null ? '' : `, first in sample "${nonFiniteSample}"`;
    const isSame = nonFiniteMismatches === 0;
    const message = isSame
      ? `output "${name}" is NaN or infinite in both models, in ${nonFinite} of ${elements} elements${where}: these enter no figure`
      : `output "${name}" is NaN or infinite in only one of the baseline and ${candidate}, or not alike, in ${nonFiniteMismatches} of ${elements} elements${where}: its error has no measure`;
    const advice = isSame ? 'Look at such samples, and leave them out if they are damaged.' : 'See what both give with `qdq run --outputs`; leave out samples on which the float model fails, and leave the nodes before the output in float with --exclude where it does not.';
    return { code: 'non-finite', message, advice };
  });
}
