import { dirname } from 'node:path';
import { checkUpgrade } from './check-upgrade.js';
import { QdqError } from './errors.js';
import type { Model } from './graph/model.js';
import { modelDigest } from './onnx/read-model.js';
import { partitionSamples } from './partition-samples.js';
import { prepareOpened } from './prepare-model.js';
import type { QuantizeJob, QuantizedModel } from './quantize-job.js';
import { isForeignTarget } from './quantization/target.js';
import type { QuantizeOptions } from './quantize-options.js';
import { readRecord, replay, type PlanRecord } from './search/plan-record.js';
import { kernelCoverage } from './runtime/kernel-coverage.js';
import { stageForLook } from './runtime/staged-model.js';

/** Options that decide what a plan has decided already. */
const DECIDED = ['calibration', 'percentile', 'activationType', 'weightType', 'perTensor', 'symmetricActivations', 'reduceRange', 'include', 'exclude', 'opTypes', 'overrides', 'target', 'freeze'] as const satisfies readonly (keyof QuantizeOptions)[];

/** The record that the options name, for the model as it was read; undefined where they name none. Throws `plan-mismatch` for a record of another model. */
export async function recordFor(options: QuantizeOptions, model: Model): Promise<PlanRecord | undefined> {
  if (!options.plan) return undefined;
  const [given] = DECIDED.filter((name) => options[name] !== undefined && options[name] !== false);
  if (given) throw new QdqError('usage', `--plan has decided all that ${given} could: both were given`, 'Give one of them.');
  return readRecord(options.plan, await modelDigest(options.model, model));
}

/** Carries out what an earlier run decided: the same bytes, and nothing is measured to get there. */
export async function quantizeByRecord(job: QuantizeJob, record: PlanRecord): Promise<QuantizedModel> {
  const { host, options, model, listed, clock } = job;
  const folder = dirname(options.model);
  const prepared = await prepareOpened(host, model, folder);
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
