import type { DataSpec } from './data/data-spec.js';
import { QdqError, messageOf } from './errors.js';
import { identicalOutputsTask } from './evaluation/identical-outputs.js';
import type { Model } from './graph/model.js';
import type { Warning } from './progress.js';
import type { RuntimeHost } from './runtime/host.js';
import { stagedFile, stageModel } from './runtime/staged-model.js';

/**
 * Checks a model whose operator set was raised against the original, by running both on one sample: the outputs must be equal bit by bit.
 * Throws `opset-unsupported` where they are not. Returns a warning where there was no sample to run.
 */
export async function checkUpgrade(
  host: RuntimeHost,
  original: string,
  upgraded: Model,
  data: DataSpec | undefined,
  externalDataFolder: string,
): Promise<Warning | undefined> {
  const a = stagedFile(original);
  const b = await stageModel(host, upgraded, 'upgraded.onnx', externalDataFolder);
  let different: string[];
  try {
    different = await host.run(identicalOutputsTask, { a, b, data: data ?? { paths: ['random:1'] } });
  } catch (error) {
    if (data) throw error;
    return {
      code: 'upgrade-unchecked',
      message: `the operator set was raised, and the result could not be checked by running it: ${messageOf(error)}`,
      advice: 'Give a sample with --data, or shapes with --shape.',
    };
  }
  if (different.length === 0) return undefined;
  throw new QdqError(
    'opset-unsupported',
    `${original}: after raising its operator set to ${upgraded.opsets.get('')} the model computes something else at ${different.map((name) => `"${name}"`).join(', ')}`,
    'Export the model again with operator set 13 or later, and report this.',
  );
}
