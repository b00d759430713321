import { arch } from 'node:os';
import { dirname } from 'node:path';
import { collectTable, nonFiniteWarning } from './calibrate.js';
import { requireTableFor } from './calibration/calibration-table.js';
import type { RangeMethod } from './calibration/choose-range.js';
import { readTable } from './calibration/table-file.js';
import { checkUpgrade } from './check-upgrade.js';
import { chooseMethod, choiceSamples, rangeLookup, usableMethods, type MethodTrial, type TrialJob } from './choose-method.js';
import { tryBiasCorrection, type ChannelMeans, type PlannedModel } from './correct-bias.js';
import { QUANTIZE_DEFAULTS } from './defaults.js';
import { QdqError } from './errors.js';
import type { Model, Node } from './graph/model.js';
import { modelDigest } from './onnx/read-model.js';
import { partitionSamples } from './partition-samples.js';
import type { Change } from './passes/pass.js';
import { prepareModel } from './prepare-model.js';
import type { QuantizeJob, QuantizedModel } from './quantize-job.js';
import { correctBiases } from './quantization/bias-correction.js';
import { drownedJoins } from './quantization/drowned-joins.js';
import { nodeFilter } from './quantization/filters.js';
import { nonFiniteConstants } from './quantization/non-finite-constants.js';
import { NO_OVERRIDES, readOverrides } from './quantization/overrides.js';
import type { QuantizationPlan } from './quantization/plan.js';
import { planStatic, type StaticOptions } from './quantization/plan-static.js';
import { selectNodes } from './quantization/select.js';
import { applyStaticPlan } from './quantization/static-qdq.js';
import { targetOf } from './quantization/target.js';
import type { QuantizeOptions } from './quantize-options.js';
import { findSlowNodes, searchPlan } from './search-plan.js';
import { isComputeOperator } from './runtime/kernels.js';
import { stagedFile } from './runtime/staged-model.js';
import { INTEGER_LIMITS, type QuantizedType } from './tensor/affine.js';
import { verifyPlan } from './verify-plan.js';

/** Asked of the samples that decide on top of the error budget: in the median, unseen samples show about so much more error. */
const MARGIN_DB = 6;

/** Why nodes stay in float, by name. */
type FloatReasons = ReadonlyMap<string, string>;

/** Quantizes with ranges from calibration: Q/DQ around the nodes that an integer kernel takes. */
export async function quantizeStatic(job: QuantizeJob): Promise<QuantizedModel> {
  const { host, options, model, data, clock } = job;
  if (!options.calibration && !data) {
    throw new QdqError(
      'usage',
      'static quantization needs ranges, and neither --calibration nor --data was given',
      'Give samples with --data, or a table that `qdq calibrate` wrote with --calibration.',
    );
  }
  const folder = dirname(options.model);
  const overrides = options.overrides ? await readOverrides(options.overrides) : NO_OVERRIDES;
  const settings = staticSettings(options);
  const sha256 = await modelDigest(options.model, model);
  const given = options.calibration ? await readTable(options.calibration) : undefined;
  if (given) requireTableFor(given, { name: options.model, sha256 });
  const prepared = await prepareModel(host, model, folder);
  const unchecked = prepared.upgraded && (await checkUpgrade(host, options.model, prepared.upgraded, data, folder));
  if (unchecked) job.warn(unchecked);
  clock.lap('read');

  const samples = await partitionSamples(host, options.model, data, given);
  const table = given ?? (await collectTable(host, options, prepared, sha256, data!, samples!.heldOut)).table;
  clock.lap('calibrate');

  const filters = { ...options, exclude: [...(options.exclude ?? []), ...overrides.float] };
  const range = { percentile: options.percentile ?? QUANTIZE_DEFAULTS.percentile, levels: levelsOf(settings.activationType), symmetric: settings.symmetricActivations };
  const named = nodeFilter(filters);
  const nonFiniteConstant = nonFiniteConstants(prepared.model.graph);
  const filter = (node: Node) => named(node) ?? nonFiniteConstant(node);
  let drowned: FloatReasons = new Map();
  const selectFor = (model: Model, reasons?: FloatReasons) =>
    selectNodes(model.graph, prepared.types, {
      opset: model.opsets.get('') ?? 1,
      keptFloat: (node) => filter(node) ?? drowned.get(node.name) ?? reasons?.get(node.name),
    });
  drowned = drownedJoins(prepared.model.graph, selectFor(prepared.model), rangeLookup(table, 'minmax', range, overrides.ranges));
  const planFor = (model: Model, method: RangeMethod, reasons?: FloatReasons) =>
    planStatic(model, selectFor(model, reasons), prepared.types, rangeLookup(table, method, range, overrides.ranges), { ...settings, method });
  /** A plan with further nodes kept in float, and biases corrected for those that are not where means are given. */
  const planned = (method: RangeMethod, reasons?: FloatReasons, means?: ChannelMeans): PlannedModel => {
    const plan = planFor(prepared.model, method, reasons);
    if (!means) return { model: prepared.model, plan };
    const { model } = correctBiases(prepared.model, plan, means);
    return { model, plan: planFor(model, method, reasons) };
  };

  const method = options.method ?? QUANTIZE_DEFAULTS.method;
  const judged = data && samples && samples.deciding.length > 0;
  const methods = method !== 'auto' ? [method] : judged ? usableMethods(table) : (['percentile'] as const);
  let best: RangeMethod = methods[0]!;
  let chosen = planned(best);
  refuseNothing(chosen.plan, options.model);
  const nonFinite = nonFiniteWarning(table.nonFinite);
  if (nonFinite) job.warn(nonFinite);
  let trials: readonly MethodTrial[] = [];
  let means: ChannelMeans | undefined;
  const improvements: Change[] = [];
  const trial: TrialJob | undefined = judged ? { host, baseline: stagedFile(options.model), data, samples: choiceSamples(table, samples.deciding) } : undefined;
  if (method === 'auto' && trial) {
    const choice = await chooseMethod(trial, prepared.model, methods.map((name) => ({ method: name, plan: planFor(prepared.model, name) })));
    ({ trials, method: best } = choice);
    chosen = { model: prepared.model, plan: choice.plan };
    const corrected = await tryBiasCorrection(trial, chosen, choice.sqnrDb, (found) => planned(best, undefined, found));
    if (corrected) {
      chosen = corrected;
      ({ means } = corrected);
      improvements.push(corrected.change);
    }
  }
  if (trial && (options.effort ?? QUANTIZE_DEFAULTS.effort) !== 'none') {
    const goal = { minSqnrDb: options.minSqnr ?? QUANTIZE_DEFAULTS.minSqnr, marginDb: MARGIN_DB, threads: options.threads ?? 1 };
    const found = await searchPlan(trial, prepared.model, chosen, selectFor(prepared.model), (reasons) => planned(best, reasons, means), goal);
    if (found) {
      chosen = found;
      improvements.push(found.change);
    }
  }
  clock.lap('plan');

  const foreignTarget = settings.target === 'ort-arm64' && arch() !== 'arm64';
  const verified = options.verify === false ? undefined : await verifyPlan(host, chosen.model, chosen.plan, folder, { fuseInt8: foreignTarget });
  const plan = verified?.plan ?? chosen.plan;
  refuseNothing(plan, options.model);
  // What a repair took back to float takes its own bias again.
  const repaired = verified !== undefined && verified.changes.length > 0;
  const float = repaired && means ? correctBiases(prepared.model, plan, means).model : chosen.model;
  clock.lap('verify');
  const changes: readonly Change[] = [...prepared.changes, ...improvements, ...(verified?.changes ?? [])];
  return {
    mode: 'static',
    target: settings.target,
    method: plan.method,
    methods: trials,
    plan,
    model: verified && float === chosen.model ? verified.quantized : applyStaticPlan(float, plan),
    nodes: plan.nodes.map(({ name, opType, decision, reason }) => ({ name, opType, decision, reason })),
    changes,
    integer: verified?.integer ?? null,
    verifyWritten: false,
    samples,
    foreignTarget,
    findSlowNodes: trial && (() => findSlowNodes(trial, { model: float, plan }, selectFor(float, keptReasons(plan)), options.threads ?? 1)),
    needsExactProducts: settings.target === 'ort-x64-vnni' && !settings.reduceRange,
  };
}

/** Why the nodes of a plan stay in float, by name. */
function keptReasons(plan: QuantizationPlan): FloatReasons {
  return new Map(plan.nodes.flatMap(({ name, decision, reason }) => (decision === 'float' && reason ? [[name, reason] as const] : [])));
}

/** What the target's row says, and what the options say otherwise. */
function staticSettings(options: QuantizeOptions): Omit<StaticOptions, 'method'> {
  const target = targetOf(options.target ?? QUANTIZE_DEFAULTS.target);
  return {
    target: target.name,
    activationType: options.activationType ?? target.activationType,
    weightType: options.weightType ?? target.weightType,
    perChannel: !options.perTensor,
    symmetricActivations: options.symmetricActivations ?? false,
    reduceRange: options.reduceRange ?? target.reduceRange,
  };
}

function levelsOf(dtype: QuantizedType): number {
  const [qmin, qmax] = INTEGER_LIMITS[dtype];
  return qmax - qmin + 1;
}

function refuseNothing(plan: QuantizationPlan, path: string): void {
  const compute = plan.nodes.filter(({ opType }) => isComputeOperator(opType));
  if (compute.some(({ decision }) => decision === 'quantized')) return;
  const [left] = compute;
  throw new QdqError(
    'nothing-to-quantize',
    `${path} has no node that static quantization can bring to integers${left ? `: ${left.opType} "${left.name}" stays float because ${left.reason}` : ''}`,
    'See its operators with `qdq inspect`; check --include, --exclude and --op-types.',
  );
}
