import { dirname } from 'node:path';
import { checkUpgrade } from './check-upgrade.js';
import { QUANTIZE_DEFAULTS } from './defaults.js';
import { QdqError } from './errors.js';
import type { Model } from './graph/model.js';
import { partitionSamples } from './partition-samples.js';
import type { Change } from './passes/pass.js';
import { prepareModel } from './prepare-model.js';
import type { QuantizeJob, QuantizedModel } from './quantize-job.js';
import { nodeFilter } from './quantization/filters.js';
import { toFloat16Model, type Float16Model } from './quantization/float16-model.js';
import type { PlannedNode } from './quantization/plan.js';
import type { QuantizeOptions } from './quantize-options.js';
import type { RuntimeHost } from './runtime/host.js';
import { inferTypes } from './runtime/infer-types.js';

/** Turns a float32 model into float16. */
export async function quantizeFloat16(job: QuantizeJob): Promise<QuantizedModel> {
  const { host, options, model, listed, clock } = job;
  if (options.blockSize !== undefined || options.algorithm !== undefined || options.format !== undefined || options.accuracyLevel !== undefined || options.perTensor) {
    throw new QdqError('usage', 'float16 weights have no blocks and no scales', 'Leave out --block-size, --algorithm, --format, --accuracy-level and --per-tensor, or take --float16 beside 4-bit weights.');
  }
  const folder = dirname(options.model);
  const prepared = await prepareModel(host, model, folder);
  await checkUpgrade(job, prepared.upgraded);
  const samples = listed && partitionSamples(await listed);
  clock.lap('read');
  const half = await convertToFloat16(host, prepared.model, options, folder);
  if (half.converted.size + half.stored.length === 0) throw new QdqError('nothing-to-quantize', `${options.model} has no float32 node that could be float16`, 'See its operators with `qdq inspect`.');
  const nodes = prepared.model.graph.nodes.map((node): PlannedNode => {
    const base = { name: node.name || (node.outputs.find(Boolean) ?? ''), opType: node.opType };
    if (half.converted.has(node)) return { ...base, decision: 'weights-only', reason: 'in float16' };
    const reason = half.kept.get(node);
    return reason === undefined ? { ...base, decision: 'kept', reason: 'it works on no floats' } : { ...base, decision: 'float', reason };
  });
  const target = options.target ?? QUANTIZE_DEFAULTS.target;
  clock.lap('plan');
  return {
    mode: 'weight-only',
    target,
    method: 'float16',
    methods: [],
    plan: { schema: 'qdq.plan/1', mode: 'weight-only', target, activationType: 'float16', weightType: 'float16', method: 'float16', domain: '', nodes, tensors: {}, scales: {} },
    model: half.model,
    changes: [...prepared.changes, ...half.changes],
    integer: null,
    verifyWritten: options.verify !== false && !options.dryRun,
    foreignTarget: false,
    samples: samples && canFeed(job, half.model) ? { ...samples, deciding: [], heldOut: samples.all } : undefined,
    needsExactProducts: false,
  };
}

/** Whether the samples fit the inputs still; where they do not, a warning says that nothing was measured. */
export function canFeed({ model, options, warn }: QuantizeJob, half: Model): boolean {
  if (options.keepIoTypes ?? true) return true;
  const changed = half.graph.inputs.find(({ type }, i) => type.kind === 'tensor' && type.dtype === 'float16' && JSON.stringify(model.graph.inputs[i]?.type) !== JSON.stringify(type));
  if (!changed) return true;
  warn({ code: 'not-measured', message: `input "${changed.name}" is float16 now, so that the samples of the float model do not fit it and nothing was measured`, advice: 'Keep the types of inputs and outputs to see error and speed.' });
  return false;
}

/** The float32 part of a model as float16, by the options that say what stays. */
export async function convertToFloat16(host: RuntimeHost, model: Model, options: QuantizeOptions, folder: string): Promise<Float16Model & { readonly changes: readonly Change[] }> {
  const keptFloat = nodeFilter({ exclude: options.exclude });
  return toFloat16Model(model, await inferTypes(host, model, folder), { keepIoTypes: options.keepIoTypes ?? true, float32Ops: options.float32Ops ?? [], keptFloat });
}
