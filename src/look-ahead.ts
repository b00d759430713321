import { dirname } from 'node:path';
import type { Model } from './graph/model.js';
import type { QuantizedModel, QuantizeJob } from './quantize-job.js';
import { kernelCoverage } from './runtime/kernel-coverage.js';
import { stageForLook } from './runtime/staged-model.js';
import { bytesOf } from './tensor/tensor.js';

/** A dry run looks up what the model runs as up to this size; beyond, the copy to look at would cost more than the plan. */
const MAX_STAGED_BYTES = 256 * 2 ** 20;

/** What a model runs as that no repair could change: looked up in a copy where nothing is written, and otherwise left to the written file. */
export async function lookAhead({ host, options }: QuantizeJob, model: Model): Promise<Pick<QuantizedModel, 'integer' | 'verifyWritten'>> {
  if (options.verify === false) return { integer: null, verifyWritten: false };
  if (!options.dryRun) return { integer: null, verifyWritten: true };
  if (bytesOf(model.graph.initializers.values()) > MAX_STAGED_BYTES) return { integer: null, verifyWritten: false };
  const staged = await stageForLook(host, model, 'quantized.onnx', dirname(options.model));
  return { integer: (await kernelCoverage(host, staged)).report, verifyWritten: false };
}
