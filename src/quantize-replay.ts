import { dirname } from 'node:path';
import { checkUpgrade } from './check-upgrade.js';
import { QdqError } from './errors.js';
import { modelDigest } from './onnx/read-model.js';
import { partitionSamples } from './partition-samples.js';
import { prepareModel } from './prepare-model.js';
import type { QuantizeJob, QuantizedModel } from './quantize-job.js';
import { isForeignTarget } from './quantization/target.js';
import type { QuantizeOptions } from './quantize-options.js';
import { readRecord, replay } from './search/plan-record.js';
import { kernelCoverage } from './runtime/kernel-coverage.js';
import { stageForLook } from './runtime/staged-model.js';

/** Options that decide what a plan has decided already. */
const DECIDED = ['calibration', 'percentile', 'activationType', 'weightType', 'perTensor', 'symmetricActivations', 'reduceRange', 'include', 'exclude', 'opTypes', 'overrides', 'target'] as const satisfies readonly (keyof QuantizeOptions)[];

/** Carries out what an earlier run decided: the same bytes, and nothing is measured to get there. */
export async function quantizeByRecord(job: QuantizeJob, path: string): Promise<QuantizedModel> {
  const { host, options, model, listed, clock } = job;
  const [given] = DECIDED.filter((name) => options[name] !== undefined && options[name] !== false);
  if (given) throw new QdqError('usage', `--plan has decided all that ${given} could: both were given`, 'Give one of them.');
  const folder = dirname(options.model);
  const sha256 = await modelDigest(options.model, model);
  const record = await readRecord(path, sha256);
  const prepared = await prepareModel(host, model, folder);
  await checkUpgrade(job, prepared.upgraded);
  const samples = listed && partitionSamples(await listed);
  clock.lap('read');
  const { model: quantized, plan } = replay(model, prepared, record);
  clock.lap('plan');
  const foreignTarget = isForeignTarget(plan.target);
  const integer = options.verify === false ? null : (await kernelCoverage(host, await stageForLook(host, quantized, 'quantized.onnx', folder), { fuseInt8: foreignTarget })).report;
  clock.lap('verify');
  return {
    mode: 'static',
    target: plan.target,
    method: plan.method,
    methods: [],
    plan,
    record,
    model: quantized,
    changes: record.asItCame ? [] : prepared.changes,
    integer,
    verifyWritten: false,
    // The record does not say which samples it was made with: none counts as unseen.
    samples: samples && { ...samples, heldOut: [] },
    foreignTarget,
    needsExactProducts: plan.activationType === 'uint8' && plan.weightType === 'int8' && !record.dynamicOptions.reduceRange,
  };
}
