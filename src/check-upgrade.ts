import { dirname } from 'node:path';
import { QdqError, messageOf } from './errors.js';
import { identicalOutputsTask } from './evaluation/identical-outputs.js';
import type { Model } from './graph/model.js';
import type { QuantizeJob } from './quantize-job.js';
import { stagedFile, stageModel } from './runtime/staged-model.js';

/**
 * Checks a model whose operator set was raised against the job's original, by running both on one sample: the outputs must be equal bit by
 * bit. Throws `opset-unsupported` where they are not. Warns where there was no sample to run. Nothing is to be checked where none was raised.
 */
export async function checkUpgrade({ host, options, frozen, data, warn }: QuantizeJob, upgraded: Model | undefined): Promise<void> {
  if (!upgraded) return;
  const original = options.model;
  const a = stagedFile(original);
  const b = await stageModel(host, upgraded, 'upgraded.onnx', dirname(original));
  let different: string[];
  try {
    different = await host.run(identicalOutputsTask, { a, b, data: data ?? { paths: ['random:1'], ...(frozen && { frozen }) } });
  } catch (error) {
    if (data) throw error;
    warn({
      code: 'upgrade-unchecked',
      message: `the operator set was raised, and the result could not be checked by running it: ${messageOf(error)}`,
      advice: 'Give a sample with --data, or shapes with --shape.',
    });
    return;
  }
  if (different.length === 0) return;
  throw new QdqError(
    'opset-unsupported',
    `${original}: after raising its operator set to ${upgraded.opsets.get('')} the model computes something else at ${different.map((name) => `"${name}"`).join(', ')}`,
    'Export the model again with operator set 13 or later, and report this.',
  );
}
