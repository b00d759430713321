import { dirname } from 'node:path';
import { collectTable, nonFiniteWarning } from './calibrate.js';
import { mergeObservations, requireTableFor, type CalibrationTable } from './calibration/calibration-table.js';
import { readTable } from './calibration/table-file.js';
import { checkUpgrade } from './check-upgrade.js';
import { QUANTIZE_DEFAULTS, type Effort } from './defaults.js';
import { keepInBudget, REDUCED_WEIGHTS, reducedSettings } from './dynamic-in-budget.js';
import { QdqError } from './errors.js';
import type { Node } from './graph/model.js';
import { allNodes } from './graph/traversal.js';
import { modelDigest } from './onnx/read-model.js';
import { partitionSamples, type SamplePartition } from './partition-samples.js';
import type { Change } from './passes/pass.js';
import { prepareModel, type PreparedModel } from './prepare-model.js';
import type { QuantizeJob, QuantizedModel } from './quantize-job.js';
import { drownedJoins } from './quantization/drowned-joins.js';
import { tooOldFor } from './quantization/dynamic-select.js';
import { nodeFilter } from './quantization/filters.js';
import { nonFiniteConstants } from './quantization/non-finite-constants.js';
import { NO_OVERRIDES, readOverrides } from './quantization/overrides.js';
import type { PlannedNode, QuantizationPlan } from './quantization/plan.js';
import { selectNodes } from './quantization/select.js';
import { isForeignTarget, targetOf } from './quantization/target.js';
import { varyingNodes } from './quantization/varying-ranges.js';
import { dynamicSettings } from './quantize-dynamic.js';
import { byteWeightType, type QuantizeOptions } from './quantize-options.js';
import { chooseMethod, choiceSamples, type MethodTrial } from './search/choose-method.js';
import { PERCENTILES } from './search/choose-ranges.js';
import { tryBiasCorrection } from './search/correct-bias.js';
import { Planner, type Choices, type OtherNode, type PlannerOptions, type WeightForm } from './search/planner.js';
import { recordOf, withSummary } from './search/plan-record.js';
import { RangeSource, usableChoices, type RangeChoice } from './search/range-source.js';
import { Search, type SearchBudget, type SearchGoal, type SearchResult } from './search/search.js';
import { findSlowNodes } from './search/slow-nodes.js';
import type { TrialJob } from './search/trials.js';
import { isComputeOperator } from './runtime/kernels.js';
import { multipliesExactly } from './runtime/machine.js';
import { stagedFile } from './runtime/staged-model.js';
import { INTEGER_LIMITS, type QuantizedType } from './tensor/affine.js';
import { verifyPlan } from './verify-plan.js';
import { qdqVersion } from './version.js';

/**
 * Asked of the samples that judge on top of the error budget. Source: an experiment on 29 real models, of which the most kept 20 dB on unseen
 * samples where 31 dB were asked of those that judged.
 */
const MARGIN_DB = 11;

/** Why nodes are dynamic in a model whose other nodes are static. */
const UNREACHED = 'quantized dynamically, because static quantization does not reach it';
const ASKED_FOR = 'quantized dynamically, as the overrides ask';

/** Samples that the plans of a search are judged on: there are many plans. */
const SEARCH_SAMPLES = { normal: 8, thorough: 16 } as const;

/** What each effort measures; normal ends within about a minute on models of usual size. */
const SEARCH_BUDGETS: Readonly<Record<Exclude<Effort, 'none'>, SearchBudget>> = {
  normal: { rangesMs: 8_000, rangesAlways: false, noiseMs: 12_000, noiseRuns: 200, timingMs: 8_000, floatBiases: [0.85, 1, 1.2, 1.5, 2] },
  thorough: { rangesMs: 120_000, rangesAlways: true, noiseMs: 200_000, noiseRuns: 4_000, timingMs: 40_000, floatBiases: [0.6, 0.75, 0.85, 0.95, 1, 1.1, 1.2, 1.35, 1.5, 2, 3] },
};

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
  const sha256 = await modelDigest(options.model, model);
  const given = options.calibration ? await readTable(options.calibration) : undefined;
  if (given) requireTableFor(given, { name: options.model, sha256 });
  const prepared = await prepareModel(host, model, folder);
  await checkUpgrade(job, prepared.upgraded);
  clock.lap('read');

  const method = options.method ?? QUANTIZE_DEFAULTS.method;
  const effort = effortOf(options);
  const chooses = method === 'auto' || effort !== 'none';
  const samples = await partitionSamples(host, options.model, data, given, chooses);
  const tables = given ? { all: given, choosing: given } : await collectTables(job, prepared, sha256, samples!, chooses);
  clock.lap('calibrate');

  const settings = staticSettings(options);
  const overrides = options.overrides ? await readOverrides(options.overrides) : NO_OVERRIDES;
  const rangeOptions = { levels: levelsOf(settings.activationType), symmetric: settings.symmetricActivations };
  const source = (table: CalibrationTable) => new RangeSource(table, rangeOptions, overrides.ranges);
  const [ranges, choosing] = [source(tables.all), source(tables.choosing)];
  const named = nodeFilter({ ...options, exclude: [...(options.exclude ?? []), ...overrides.float] });
  const nonFiniteConstant = nonFiniteConstants(prepared.model.graph);
  const filter = (node: Node) => named(node) ?? nonFiniteConstant(node);
  const isAuto = (options.mode ?? QUANTIZE_DEFAULTS.mode) === 'auto';
  const isAmong = (globs: readonly string[]) => {
    const isKept = nodeFilter({ exclude: globs });
    return (node: Node) => globs.length > 0 && isKept(node) !== undefined;
  };
  const [isStatic, isDynamic] = [isAmong(overrides.static), isAmong(overrides.dynamic)];
  const drowned = drownedNodes(prepared, filter, ranges);
  const { weightType, reduceRange, ...common } = settings;
  let loudInBodies: ReadonlyMap<string, string> = new Map();
  const planner = new Planner({
    float: prepared.model,
    types: prepared.types,
    settings: common,
    keptFloat: (node) => filter(node) ?? drowned.get(node.name) ?? loudInBodies.get(node.name),
    allowsOthers: isDynamicWeight(weightType) && (isAuto || overrides.dynamic.length > 0),
    fixed: new Map(prepared.model.graph.nodes.filter((node) => isStatic(node) || isDynamic(node)).map((node) => [node.name, isStatic(node) ? 'static' : 'dynamic'] as const)),
  });
  const varying = isAuto ? varyingNodes(prepared.model.graph, (value) => tables.all.tensors[value], isStatic) : new Map<string, string>();
  const dynamicReason = (node: Node) => (isDynamic(node) ? ASKED_FOR : varying.get(node.name) ?? (isAuto && node.opType === 'LSTM' ? UNREACHED : undefined));
  const others = new Map<string, OtherNode>();
  for (const node of planner.nodesFor('dynamic', overrides.dynamic.length > 0 ? ['Conv'] : [])) {
    const reason = dynamicReason(node);
    if (reason !== undefined) others.set(node.name, { form: 'dynamic', reason });
  }
  const fixed = fixedRange(options);
  const improvements: Change[] = [];
  let choices: Choices = {
    ...{ range: fixed ?? { method: 'percentile', percentile: QUANTIZE_DEFAULTS.percentile }, ranges: new Map(), weights: { weightType, reduceRange } },
    ...{ means: undefined, float: new Map(), others },
  };
  const trial: TrialJob | undefined = data && samples && samples.judging.length > 0 ? { host, baseline: stagedFile(options.model), data, samples: choiceSamples(tables.all, samples.judging), labels: options.labels, metric: options.metric } : undefined;
  if (trial && effort !== 'none' && planner.bodies().bodies) {
    const main = new Set(prepared.model.graph.nodes);
    const keptFloat = (node: Node) => (main.has(node) || node.opType === 'Conv' ? 'not dynamic in a body' : (tooOldFor(node, prepared.model) ?? filter(node)));
    const settings = dynamicSettings(options, prepared.model.opsets.get('') ?? 1);
    const { model, types } = prepared;
    // No range of theirs comes from a sample, so that each of these may judge.
    const judges = { ...trial, samples: choiceSamples(tables.all, samples!.deciding) };
    const kept = await keepInBudget({ model, types, selection: { keptFloat, opTypes: [] }, settings, reduced: reducedSettings(options, settings), job: judges, options, marginDb: MARGIN_DB });
    loudInBodies = kept.left;
    if (kept.settings.reduceRange !== reduceRange) {
      choices = { ...choices, weights: { weightType, reduceRange: kept.settings.reduceRange } };
      improvements.push(REDUCED_WEIGHTS);
    }
  }
  if (![...others.values()].some(({ reason }) => reason === ASKED_FOR)) refuseNothing(planner.plan(ranges, choices).plan, options.model);
  const nonFinite = nonFiniteWarning(tables.all.nonFinite);
  if (nonFinite) job.warn(nonFinite);

  let trials: readonly MethodTrial[] = [];
  let found: SearchResult | undefined;
  if (trial && method === 'auto') {
    const ways = usableChoices(tables.choosing, effort === 'none' ? [QUANTIZE_DEFAULTS.percentile] : PERCENTILES);
    const choice = await chooseMethod(trial, planner, ways.map((range) => ({ choice: range, planned: planner.plan(choosing, { ...choices, range }) })));
    ({ trials } = choice);
    choices = { ...choices, range: choice.choice };
    const corrected = await tryBiasCorrection(trial, planner, choice.planned, choice.sqnrDb, (means) => planner.plan(choosing, { ...choices, means }));
    if (corrected) {
      choices = { ...choices, means: corrected.means };
      improvements.push(corrected.change);
    }
  }
  if (trial && effort !== 'none') {
    const stop = options.earlyStop?.begin();
    const judges = { ...trial, samples: options.maxDrop === undefined ? trial.samples.slice(0, SEARCH_SAMPLES[effort]) : samples!.judging };
    found = await new Search(judges, planner, choosing, searchGoal(options, effort), { onProgress: options.onProgress, isStopped: () => stop?.aborted ?? false }).run(choices);
    options.earlyStop?.end();
    choices = found.choices;
    improvements.push(...found.changes);
  }
  const chosen = planner.plan(ranges, choices);
  clock.lap('plan');

  const foreignTarget = isForeignTarget(settings.target);
  const verified = options.verify === false ? undefined : await verifyPlan(host, planner, chosen, folder, { fuseInt8: foreignTarget });
  const planned = verified?.planned ?? chosen;
  if (planned.others.size === 0) refuseNothing(planned.plan, options.model);
  clock.lap('verify');
  const { model: quantized, plan } = verified?.quantized ?? planner.quantize(planned);
  const known = new Set(plan.nodes.map(({ name }) => name));
  const leftInBodies = [...allNodes(prepared.model.graph)].flatMap(({ name, opType }): PlannedNode[] => {
    const reason = known.has(name) ? undefined : loudInBodies.get(name);
    return reason === undefined ? [] : [{ name, opType, decision: 'float', reason }];
  });
  const record = recordOf(planned, { version: qdqVersion(), model: { sha256 }, candidates: found?.candidates ?? [], ...planner.bodies() });
  return {
    mode: 'static',
    target: settings.target,
    method: plan.method,
    methods: trials,
    search: found && { candidates: found.candidates, cleanSpeedup: found.cleanSpeedup },
    plan: leftInBodies.length > 0 ? { ...plan, nodes: [...plan.nodes, ...leftInBodies] } : plan,
    record,
    model: withSummary(quantized, record),
    changes: [...prepared.changes, ...improvements, ...(verified?.changes ?? [])],
    integer: verified?.integer ?? null,
    verifyWritten: false,
    samples,
    foreignTarget,
    findSlowNodes: trial && (() => findSlowNodes(trial, planner, planned, choices, options.threads ?? 1)),
    needsExactProducts: plan.activationType === 'uint8' && plan.weightType === 'int8' && !choices.weights.reduceRange,
  };
}

/** The ranges of all samples that give any; and those of the samples that do not judge, for choices among plans. */
async function collectTables(job: QuantizeJob, prepared: PreparedModel, sha256: string, samples: SamplePartition, chooses: boolean): Promise<{ all: CalibrationTable; choosing: CalibrationTable }> {
  const { host, options, data } = job;
  const collectWithout = async (names: readonly string[]) => (await collectTable(host, options, prepared, sha256, data!, [...samples.heldOut, ...names])).table;
  const judging = new Set(samples.judging);
  const others = samples.deciding.filter((name) => !judging.has(name));
  if (!chooses || others.length === 0) {
    const all = await collectWithout([]);
    return { all, choosing: all };
  }
  const choosing = await collectWithout(samples.judging);
  return { all: { ...choosing, ...mergeObservations(choosing, await collectWithout(others)) }, choosing };
}

/** Nodes whose inputs do not go together in one scale, with the reason. */
function drownedNodes({ model, types }: PreparedModel, keptFloat: (node: Node) => string | undefined, ranges: RangeSource): ReadonlyMap<string, string> {
  const selection = selectNodes(model.graph, types, { opset: model.opsets.get('') ?? 1, keptFloat });
  return drownedJoins(model.graph, selection, (value) => ranges.rangeOf(value, { method: 'minmax' }));
}

/** The one way to choose ranges that the options name; undefined where the best is looked for. */
function fixedRange({ method = QUANTIZE_DEFAULTS.method, percentile = QUANTIZE_DEFAULTS.percentile }: QuantizeOptions): RangeChoice | undefined {
  if (method === 'auto') return undefined;
  return method === 'percentile' ? { method, percentile } : { method };
}

function searchGoal(options: QuantizeOptions, effort: Exclude<Effort, 'none'>): SearchGoal {
  const { maxDrop, target, weightType, reduceRange, minSqnr = QUANTIZE_DEFAULTS.minSqnr, prefer = QUANTIZE_DEFAULTS.prefer, threads = 1 } = options;
  // Who names the target means its weights, and machines that may not be this one.
  const isFree = target === undefined && weightType === undefined && reduceRange === undefined;
  const saturates = multipliesExactly() === false;
  const otherWeights: WeightForm[] = isFree && saturates ? [{ weightType: 'int8', reduceRange: true }, { weightType: 'uint8', reduceRange: false }] : [];
  const run = !isFree && saturates && !staticSettings(options).reduceRange ? 'simulated' : 'here';
  return { minSqnrDb: minSqnr, marginDb: MARGIN_DB, maxDrop, threads, prefer, mixes: (options.mode ?? QUANTIZE_DEFAULTS.mode) === 'auto', run, otherWeights, budget: SEARCH_BUDGETS[effort] };
}

/** Where nothing is to be measured, or this machine cannot show what the target runs, there is no search. */
function effortOf(options: QuantizeOptions): Effort {
  if (isForeignTarget(options.target ?? QUANTIZE_DEFAULTS.target)) return 'none';
  return options.effort ?? (options.verify === false ? 'none' : QUANTIZE_DEFAULTS.effort);
}

/** What the target's row says, and what the options say otherwise. */
function staticSettings(options: QuantizeOptions): PlannerOptions['settings'] & WeightForm {
  const target = targetOf(options.target ?? QUANTIZE_DEFAULTS.target);
  return {
    target: target.name,
    activationType: options.activationType ?? target.activationType,
    weightType: byteWeightType(options) ?? target.weightType,
    perChannel: !options.perTensor,
    symmetricActivations: options.symmetricActivations ?? false,
    reduceRange: options.reduceRange ?? target.reduceRange,
  };
}

function isDynamicWeight(dtype: QuantizedType): boolean {
  return dtype === 'int8' || dtype === 'uint8';
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
