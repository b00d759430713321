import { dirname } from 'node:path';
import { checkUpgrade } from './check-upgrade.js';
import { QUANTIZE_DEFAULTS } from './defaults.js';
import { keepInBudget, REDUCED_WEIGHTS, reducedSettings, type DynamicInBudget } from './dynamic-in-budget.js';
import { QdqError } from './errors.js';
import type { Node } from './graph/model.js';
import { lookAhead } from './look-ahead.js';
import { partitionSamples, type SamplePartition } from './partition-samples.js';
import { prepareModel, type PreparedModel } from './prepare-model.js';
import type { QuantizeJob, QuantizedModel } from './quantize-job.js';
import { planDynamic, weightsToMeasure, type DynamicOptions } from './quantization/dynamic-plan.js';
import { applyDynamicPlan } from './quantization/dynamic-recipe.js';
import { selectDynamic, tooOldFor, type DynamicSelectionOptions } from './quantization/dynamic-select.js';
import { nodeFilter } from './quantization/filters.js';
import { nonFiniteConstants } from './quantization/non-finite-constants.js';
import { NO_OVERRIDES, readOverrides } from './quantization/overrides.js';
import type { QuantizationPlan } from './quantization/plan.js';
import { isForeignTarget, targetOf } from './quantization/target.js';
import { measureWeights } from './quantization/weight-work.js';
import { byteWeightType, type QuantizeOptions } from './quantize-options.js';
import { stagedFile } from './runtime/staged-model.js';

/** Asked in dB on top of the error budget for samples that were not seen: no range is fitted to those that judge. */
const MARGIN_DB = 1;

/** Quantizes without data: weights are stored as integers, and the runtime finds the scale of each activation in every run. */
export async function quantizeDynamic(job: QuantizeJob): Promise<QuantizedModel> {
  const { host, options, model, data, clock } = job;
  refuseRangeOptions(options);
  const folder = dirname(options.model);
  const overrides = options.overrides ? await readOverrides(options.overrides) : NO_OVERRIDES;
  if (Object.keys(overrides.ranges).length > 0) throw senseless(`the ranges in ${options.overrides}`);
  const prepared = await prepareModel(host, model, folder);
  await checkUpgrade(job, prepared.upgraded);
  const samples = await partitionSamples(host, options.model, data, undefined);
  clock.lap('read');

  const named = nodeFilter({ ...options, exclude: [...(options.exclude ?? []), ...overrides.float] });
  const nonFiniteConstant = nonFiniteConstants(prepared.model.graph);
  const keptByRule = (node: Node) => tooOldFor(node, prepared.model) ?? named(node) ?? nonFiniteConstant(node);
  const opTypes = options.opTypes ?? [];
  const wanted = dynamicSettings(options, prepared.model.opsets.get('') ?? 1);
  const { settings, left } = samples && keepsBudget(options) ? await inBudget(job, prepared, { keptFloat: keptByRule, opTypes }, wanted, samples) : { settings: wanted, left: new Map<string, string>() };
  const select = (left: ReadonlyMap<string, string>) => selectDynamic(prepared.model.graph, prepared.types, { keptFloat: (node) => keptByRule(node) ?? left.get(node.name), opTypes });
  const within = select(left);
  // Where nothing would be left, all of it and a warning say more than an error.
  const choices = within.some(({ form }) => form) ? within : select(new Map());
  await measureWeights(weightsToMeasure(choices, settings), options.onProgress);
  host.throwIfInterrupted();
  const plan = planDynamic(choices, settings);
  refuseNothing(plan, options.model);
  const quantized = applyDynamicPlan(prepared.model, plan);
  clock.lap('plan');

  const look = await lookAhead(job, quantized);
  clock.lap('verify');
  return {
    mode: 'dynamic',
    target: settings.target,
    method: plan.method,
    methods: [],
    plan,
    model: quantized,
    changes: settings.reduceRange === wanted.reduceRange ? prepared.changes : [...prepared.changes, REDUCED_WEIGHTS],
    ...look,
    foreignTarget: false,
    // No sample gave a range, so that each may judge.
    samples: samples && { ...samples, deciding: [], judging: [], heldOut: samples.all },
    needsExactProducts: settings.weightType === 'int8' && !settings.reduceRange,
  };
}

/** Whether qdq chose this way itself, and is to choose the nodes too. */
function keepsBudget({ mode = QUANTIZE_DEFAULTS.mode, effort = QUANTIZE_DEFAULTS.effort, target = QUANTIZE_DEFAULTS.target, verify }: QuantizeOptions): boolean {
  return mode === 'auto' && effort !== 'none' && verify !== false && !isForeignTarget(target);
}

/** What of the nodes keeps the error budget. */
function inBudget({ host, options, data }: QuantizeJob, { model, types }: PreparedModel, selection: DynamicSelectionOptions, settings: DynamicOptions, samples: SamplePartition): Promise<DynamicInBudget> {
  const job = { host, baseline: stagedFile(options.model), data: data!, samples: samples.deciding, labels: options.labels, metric: options.metric };
  return keepInBudget({ model, types, selection, settings, reduced: reducedSettings(options, settings), job, options, marginDb: MARGIN_DB });
}

/** What the target's row says about weights, and what the options say otherwise. */
export function dynamicSettings(options: QuantizeOptions, opset: number): DynamicOptions {
  const target = targetOf(options.target ?? QUANTIZE_DEFAULTS.target);
  const weightType = byteWeightType(options) ?? target.weightType;
  if (weightType !== 'int8' && weightType !== 'uint8') throw new QdqError('usage', `weights of ${weightType} have no dynamic integer kernel`, 'Take s8 or u8.');
  return { target: target.name, weightType, perChannel: !options.perTensor, reduceRange: options.reduceRange ?? target.reduceRange, opset };
}

/** Refuses what only calibration could use. */
function refuseRangeOptions(options: QuantizeOptions): void {
  const { calibration, method, percentile, exact, activationType, symmetricActivations } = options;
  if (calibration) throw senseless('--calibration');
  if (method !== undefined && method !== 'auto') throw senseless(`--method ${method}`);
  if (percentile !== undefined && percentile !== QUANTIZE_DEFAULTS.percentile) throw senseless('--percentile');
  if (exact) throw senseless('--exact');
  if (symmetricActivations) throw senseless('--symmetric-activations');
  if (activationType && activationType !== 'uint8') throw senseless(`--activation-type ${activationType}`);
}

function senseless(what: string): QdqError {
  return new QdqError(
    'usage',
    `dynamic quantization takes ranges from each run, as u8, and has no use for ${what}`,
    'Leave it out, or quantize with --mode static and --data.',
  );
}

function refuseNothing(plan: QuantizationPlan, path: string): void {
  if (plan.nodes.some(({ decision }) => decision !== 'float')) return;
  const kept = plan.nodes.find(({ opType }) => /Conv|MatMul|Gemm|LSTM|GRU|RNN|Attention/.test(opType));
  throw new QdqError(
    'nothing-to-quantize',
    `${path} has no node that dynamic quantization can bring to integers${kept ? `: ${kept.opType} "${kept.name}" stays float because ${kept.reason}` : ''}`,
    'See its operators with `qdq inspect`; convolutions need samples: --data.',
  );
}
