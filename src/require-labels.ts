import { labelOf, labelsFromFolders, readLabels } from './data/labels.js';
import { QdqError } from './errors.js';
import type { SamplePartition } from './partition-samples.js';
import type { QuantizeOptions } from './quantize-options.js';

/** Refuses a largest drop of the task metric that nothing can be judged by: without samples, or without a label for any of them. */
export async function requireLabelsForDrop({ maxDrop, labels: path }: QuantizeOptions, samples: SamplePartition | undefined): Promise<void> {
  if (maxDrop === undefined) return;
  if (!samples) throw new QdqError('usage', `--max-drop ${maxDrop} needs samples to judge by`, 'Give them with --data.');
  const labels = path ? await readLabels(path) : labelsFromFolders(samples.all);
  if (!labels) throw new QdqError('usage', `--max-drop ${maxDrop} needs labels, and neither --labels was given nor do the samples lie in a folder for each class`, 'Give them with --labels FILE, or set a budget in dB with --min-sqnr.');
  if (samples.judging.some((name) => labelOf(labels, name) !== undefined)) return;
  throw new QdqError(
    'data-invalid',
    `--max-drop ${maxDrop}: ${path ?? 'the folders'} label none of the ${samples.judging.length} samples that judge`,
    `Labels are keyed by file name, for example "${samples.judging[0] ?? samples.all[0]}".`,
  );
}
