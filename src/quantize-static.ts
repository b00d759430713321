import { dirname } from 'node:path';
import { performance } from 'node:perf_hooks';
import { collectTables, nonFiniteWarning } from './calibrate.js';
import { mergeObservations, requireTableFor, type CalibrationTable } from './calibration/calibration-table.js';
import { collect } from './calibration/collect.js';
import { readTable } from './calibration/table-file.js';
import { spreadNames } from './data/split.js';
import { checkUpgrade } from './check-upgrade.js';
import { confirmPlan, type Confirmation } from './confirm-plan.js';
import { QUANTIZE_DEFAULTS, type Effort } from './defaults.js';
import { QdqError } from './errors.js';
import type { Model, Node } from './graph/model.js';
import { modelDigest } from './onnx/read-model.js';
import { partitionSamples, type SamplePartition } from './partition-samples.js';
import { bodyNames } from './passes/close-bodies.js';
import type { Change } from './passes/pass.js';
import { prepareOpened, type PreparedModel } from './prepare-model.js';
import type { QuantizeJob, QuantizedModel } from './quantize-job.js';
import { drownedJoins } from './quantization/drowned-joins.js';
import { nodeFilter } from './quantization/filters.js';
import { nonFiniteConstants } from './quantization/non-finite-constants.js';
import { NO_OVERRIDES, readOverrides } from './quantization/overrides.js';
import type { QuantizationPlan } from './quantization/plan.js';
import { roundWhile } from './quantization/round-ahead.js';
import { selectNodes, valuesToObserve, type Selection } from './quantization/select.js';
import { isForeignTarget, targetOf } from './quantization/target.js';
import { varyingNodes } from './quantization/varying-ranges.js';
import { byteWeightType, type QuantizeOptions } from './quantize-options.js';
import type { Warning } from './progress.js';
import { requireLabelsForDrop } from './require-labels.js';
import { isBestAsItCame } from './search/as-it-came.js';
import { chooseMethod, choiceSamples, type MethodTrial } from './search/choose-method.js';
import { PERCENTILES } from './search/choose-ranges.js';
import { tryBiasCorrection } from './search/correct-bias.js';
import { observeFurther, type Observe } from './search/migrate-scales.js';
import type { Migration } from './search/migration.js';
import { Planner, type Choices, type OtherNode, type PlannedModel, type PlannerOptions, type WeightForm } from './search/planner.js';
import { recordOf, withSummary } from './search/plan-record.js';
import { RangeSource, usableChoices, type RangeChoice } from './search/range-source.js';
import { Search } from './search/search.js';
import type { SearchBudget, SearchGoal, SearchResult } from './search/search-result.js';
import { findSlowNodes } from './search/slow-nodes.js';
import { tryTables } from './search/store-tables.js';
import type { TrialJob } from './search/trials.js';
import { ALL_DYNAMIC } from './search/wording.js';
import type { FusedReport } from './runtime/integer-report.js';
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

/**
 * By how much samples that judge flatter a plan: none where others confirm it, the measured median where they gave no ranges, and where they gave
 * them too. Source: the same experiment.
 */
const FLATTERY_DB = { confirmed: 0, unseen: 1.7, seen: 5.8 } as const;

/** Samples that a chosen plan is confirmed on at most. */
const MAX_CONFIRMING = 32;

/** Why nodes are dynamic in a model whose other nodes are static. */
const UNREACHED = 'quantized dynamically, because static quantization does not reach it';
const ASKED_FOR = 'quantized dynamically, as the overrides ask';

/** Why nodes are not static although static quantization reaches them: their values have no ranges. */
const UNTAKEN = { branch: 'no sample took its branch', loop: 'no sample went through its loop' } as const;

/** Samples that the plans of a search are judged on: there are many plans. */
const SEARCH_SAMPLES = { normal: 8, thorough: 16 } as const;

/** What follows the search, in runs of the float model: timing of plans, of the chosen one and of what was written; and for each sample that confirms, judging them. */
const END_RUNS = 30;
const END_RUNS_A_SAMPLE = 4;

/** What each effort measures; normal ends within about a minute on models of usual size. */
const SEARCH_BUDGETS: Readonly<Record<Exclude<Effort, 'none'>, SearchBudget>> = {
  normal: { totalMs: 60_000, rangesMs: 8_000, rangesAlways: false, noiseMs: 12_000, noiseRuns: 200, timingMs: 8_000, floatBiases: [0.85, 1, 1.2, 1.5, 2] },
  thorough: { totalMs: 600_000, rangesMs: 120_000, rangesAlways: true, noiseMs: 200_000, noiseRuns: 4_000, timingMs: 40_000, floatBiases: [0.6, 0.75, 0.85, 0.95, 1, 1.1, 1.2, 1.35, 1.5, 2, 3] },
};

/** Quantizes with ranges from calibration: Q/DQ around the nodes that an integer kernel takes. */
export async function quantizeStatic(job: QuantizeJob): Promise<QuantizedModel> {
  const { host, options, model, data, listed, clock } = job;
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
  if (given) requireTableFor(given, { name: options.model, sha256, ...(job.frozen && { frozen: job.frozen }) });
  const prepared = await prepareOpened(host, model, folder);
  await checkUpgrade(job, prepared.upgraded);
  clock.lap('read');

  const method = options.method ?? QUANTIZE_DEFAULTS.method;
  const effort = effortOf(options);
  const chooses = method === 'auto' || effort !== 'none';
  const samples = listed && partitionSamples(await listed, given, chooses);
  await requireLabelsForDrop(options, samples);
  const settings = staticSettings(options);
  const candidates = selectNodes(prepared.model.graph, prepared.types, { opset: prepared.model.opsets.get('') ?? 1, keptFloat: nodeFilter(options) });
  const tables = given ? { all: given, choosing: given } : await roundWhile(tablesFrom(job, prepared, sha256, samples!, chooses), () => host.isBusy, prepared.model.graph, candidates, settings);
  clock.lap('calibrate');

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
  const untaken = untakenNodes(prepared.model, candidates, (value) => [ranges, choosing].every(({ table }) => table.tensors[value]) || overrides.ranges[value] !== undefined);
  const unplanned = new Map([...untaken].map(([name, why]) => [name, `${why}, so that its values have no ranges`] as const));
  const drowned = drownedNodes(prepared, (node) => filter(node) ?? unplanned.get(node.name), ranges);
  const { weightType, reduceRange, ...common } = settings;
  const planner = new Planner({
    float: prepared.model,
    types: prepared.types,
    settings: common,
    keptFloat: (node) => filter(node) ?? drowned.get(node.name),
    unplanned,
    allowsOthers: isDynamicWeight(weightType) && (isAuto || overrides.dynamic.length > 0),
    fixed: new Map(prepared.model.graph.nodes.filter((node) => isStatic(node) || isDynamic(node)).map((node) => [node.name, isStatic(node) ? 'static' : 'dynamic'] as const)),
  });
  const varying = isAuto ? varyingNodes(prepared.model.graph, (value) => tables.all.tensors[value], isStatic) : new Map<string, string>();
  const dynamicReason = (node: Node) => (isDynamic(node) ? ASKED_FOR : varying.get(node.name) ?? (isAuto ? (untaken.has(node.name) ? `quantized dynamically, because ${untaken.get(node.name)}` : node.opType === 'LSTM' ? UNREACHED : undefined) : undefined));
  const others = new Map<string, OtherNode>();
  for (const node of planner.nodesFor('dynamic', overrides.dynamic.length > 0 ? ['Conv'] : [])) {
    const reason = dynamicReason(node);
    if (reason !== undefined) others.set(node.name, { form: 'dynamic', reason });
  }
  const fixed = fixedRange(options);
  const improvements: Change[] = [];
  let choices: Choices = {
    ...{ range: fixed ?? { method: 'percentile', percentile: QUANTIZE_DEFAULTS.percentile }, ranges: new Map(), weights: { weightType, reduceRange } },
    ...{ migration: undefined, means: undefined, float: new Map(), others, bodies: new Map() },
  };
  // Some things are measured on the first few only, which should go through all bodies.
  const inOrder = (names: readonly string[]) => (prepared.model.openBodies ? spreadNames(names) : names);
  const trial: TrialJob | undefined = data && samples && samples.judging.length > 0 ? { host, baseline: stagedFile(options.model), data, samples: inOrder(choiceSamples(tables.all, samples.judging)), labels: options.labels, metric: options.metric, exactRun: effort !== 'none' && addsExactly(options) ? 'here' : 'simulated' } : undefined;
  let unreached: QdqError | undefined;
  if (![...others.values()].some(({ reason }) => reason === ASKED_FOR)) {
    unreached = nothingStatic(planner.plan(ranges, choices).plan, options.model);
    const elsewhere = [...planner.nodesFor('dynamic'), ...planner.nodesInBodies()];
    if (unreached && !(trial && effort !== 'none' && isAuto && elsewhere.length > 0)) throw unreached;
  }
  if (unreached) {
    const unreachedNodes = planner.nodesFor('dynamic').map(({ name }) => [name, { form: 'dynamic', reason: UNREACHED }] as const);
    choices = { ...choices, others: new Map([...others, ...unreachedNodes]) };
    job.warn({ code: 'dynamic-instead', message: `quantized dynamically: ${unreached.message}`, advice: 'Say --mode dynamic to go there directly.' });
  }
  const nonFinite = nonFiniteWarning(tables.all.nonFinite);
  if (nonFinite) job.warn(nonFinite);

  let trials: readonly MethodTrial[] = [];
  let found: SearchResult | undefined;
  if (trial && method === 'auto') {
    const ways = usableChoices(tables.choosing, effort === 'none' ? [QUANTIZE_DEFAULTS.percentile] : PERCENTILES);
    const choice = await chooseMethod(trial, planner, ways, (range) => planner.plan(choosing, { ...choices, range }));
    ({ trials } = choice);
    choices = { ...choices, range: choice.choice };
    const corrected = await tryBiasCorrection(trial, planner, choice.planned, choice.sqnrDb, (means) => planner.plan(choosing, { ...choices, means }));
    if (corrected) {
      choices = { ...choices, means: corrected.means };
      improvements.push(corrected.change);
    }
  }
  const lookups = trial && (await tryTables(trial, planner, choices, (those) => planner.plan(choosing, those), (options.minSqnr ?? QUANTIZE_DEFAULTS.minSqnr) + MARGIN_DB));
  if (lookups) {
    ({ choices } = lookups);
    improvements.push(lookups.change);
  }
  const foreignTarget = isForeignTarget(settings.target);
  // Ranges of scaled values come from the samples that ranges come from.
  const rangeSamples = samples && rangeGivers(samples, given !== undefined);
  const observe: Observe = async (float, names, wanted) =>
    (await collect(host, { model: float, externalDataFolder: folder, names, data: data!, exclude: samples!.all.filter((name) => !wanted.includes(name)), exact: options.exact ?? 'auto', ...(options.threads !== undefined && { threads: options.threads }) })).tensors;
  const complete = new Map<Migration, Migration>();
  const settle = async ({ migration: moved, ...decided }: Choices): Promise<Settled> => {
    let migration = moved && (complete.get(moved) ?? moved);
    if (moved && migration === moved) complete.set(moved, (migration = await observeFurther(planner, moved, { observe, samples: rangeSamples!.further })));
    const chosen = planner.plan(ranges, { ...decided, migration });
    const verified = options.verify === false ? undefined : await verifyPlan(host, planner, chosen, folder, { fuseInt8: foreignTarget });
    return { planned: verified?.planned ?? chosen, ...(verified?.quantized ?? planner.quantize(chosen)), changes: verified?.changes ?? [], integer: verified?.integer ?? null };
  };
  let settled: Settled | undefined;
  let confirmations: readonly Confirmation[] = [];
  if (trial && effort !== 'none') {
    const stop = options.earlyStop?.begin();
    stop?.addEventListener('abort', () => host.endEarly(), { once: true });
    const isStopped = () => stop?.aborted ?? false;
    const judges = { ...trial, samples: options.maxDrop === undefined ? trial.samples.slice(0, SEARCH_SAMPLES[effort]) : samples!.judging };
    const goal = searchGoal(options, effort, samples!, performance.now() - clock.read().total);
    const search = new Search(judges, planner, choosing, goal, { rangeSamples: { observe, samples: rangeSamples!.first }, onProgress: options.onProgress, isStopped });
    found = await search.run(choices, unreached && ALL_DYNAMIC);
    if (samples!.heldOut.length > 0 && !isStopped()) {
      const confirmed = await confirmPlan(search, found, ({ choices: decided }) => settle(decided), { trial: { ...trial, samples: samples!.heldOut.slice(0, MAX_CONFIRMING) }, seen: samples!.deciding, goal, isStopped });
      ({ found, settled, confirmations } = confirmed);
      improvements.push(...confirmed.changes);
    }
    options.earlyStop?.end();
    choices = found.choices;
    improvements.push(...found.changes);
    if (found.noGain !== null) job.warn(noGainWarning(found, goal));
  }
  clock.lap('plan');

  const { planned, model: quantized, plan, changes, integer } = settled ?? (await settle(choices));
  if (planned.others.size === 0 && !found) refuseNothing(planned.plan, options.model);
  clock.lap('verify');
  const asItCame = isBestAsItCame(found, planned, model.graph, quantized.graph);
  const record = recordOf(planned, { version: qdqVersion(), model: { sha256, ...(job.frozen && { frozen: job.frozen }) }, candidates: found?.candidates ?? [], ...planner.bodies(planned), ...(asItCame && { asItCame }) });
  return {
    mode: unreached ? 'dynamic' : 'static',
    target: settings.target,
    method: plan.method,
    methods: trials,
    search: found && { candidates: found.candidates, cleanSpeedup: found.cleanSpeedup, integerNodes: found.integerNodes, noGain: found.noGain, weighed: found.weighed, confirmations },
    plan,
    record,
    model: withSummary(asItCame ? model : quantized, record),
    changes: [...(asItCame ? [] : prepared.changes), ...improvements, ...changes],
    integer,
    verifyWritten: false,
    samples,
    foreignTarget,
    findSlowNodes: trial && (() => findSlowNodes(trial, planner, planned, choices, options.threads ?? 1)),
    needsExactProducts: plan.activationType === 'uint8' && plan.weightType === 'int8' && !choices.weights.reduceRange,
  };
}

/** The ranges of all samples that give any; and those of the samples that do not judge, for choices among plans. */
async function tablesFrom(job: QuantizeJob, prepared: PreparedModel, sha256: string, samples: SamplePartition, chooses: boolean): Promise<{ all: CalibrationTable; choosing: CalibrationTable }> {
  const { host, options, data } = job;
  // Where one method is settled that needs extremes only, nobody looks at more.
  const extremesOnly = !chooses && options.method === 'minmax';
  const collectWithout = (...parts: (readonly string[])[]) =>
    collectTables(host, { ...options, extremesOnly }, prepared, sha256, data!, parts.map((names) => [...samples.heldOut, ...names]));
  const { first, further } = rangeGivers(samples, false);
  if (!chooses || further.length === 0) {
    const [all] = await collectWithout([]);
    return { all: all!.table, choosing: all!.table };
  }
  const [choosing, rest] = (await collectWithout(further, first)).map(({ table }) => table);
  return { all: { ...choosing!, ...mergeObservations(choosing!, rest!) }, choosing: choosing! };
}

/** The samples that give ranges while plans are compared, and those that give them too in the end. */
function rangeGivers({ deciding, judging }: SamplePartition, hasTable: boolean): { readonly first: readonly string[]; readonly further: readonly string[] } {
  const judges = new Set(judging);
  const others = deciding.filter((name) => !judges.has(name));
  // Those of a table give ranges always.
  return others.length === 0 || hasTable ? { first: deciding, further: [] } : { first: others, further: judging };
}

/** Nodes of branches that no sample took and of loops that none went through, whose values have no ranges, with the reason. */
function untakenNodes(model: Model, selection: Selection, isKnown: (value: string) => boolean): ReadonlyMap<string, string> {
  if (!model.openBodies) return new Map();
  const bodies = bodyNames(model);
  const untaken = new Set(valuesToObserve(selection).flatMap((value) => (isKnown(value) ? [] : [bodies.get(value) ?? ''])));
  untaken.delete('');
  const untakenOf = (node: Node) => node.outputs.flatMap((output) => [...untaken].filter((body) => `${bodies.get(output)}/`.startsWith(`${body}/`)));
  return new Map(
    model.graph.nodes.flatMap((node) => {
      const [body] = untakenOf(node);
      return body === undefined ? [] : [[node.name, body.endsWith(':body') ? UNTAKEN.loop : UNTAKEN.branch] as const];
    }),
  );
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

/** A plan as it is carried out, after the runtime was asked what it makes of it. */
interface Settled {
  readonly planned: PlannedModel;
  readonly model: Model;
  readonly plan: QuantizationPlan;
  readonly changes: readonly Change[];
  readonly integer: FusedReport | null;
}

function noGainWarning({ label, integerNodes, noGain }: SearchResult, { prefer }: SearchGoal): Warning {
  const advice = `Ask for less with --min-sqnr${prefer === 'integer' ? '' : ', for integers at any speed with --prefer integer'}, or for no file with --require-speedup.`;
  const message =
    integerNodes === 0 && prefer === 'speed'
      ? `integers win nothing here that the error budget allows, and what was written runs in float ("${label}"): ${noGain}`
      : `what was written ("${label}", ${integerNodes} nodes on integers) shows no gain over float: ${noGain}`;
  return { code: 'no-gain', message, advice };
}

function searchGoal(options: QuantizeOptions, effort: Exclude<Effort, 'none'>, { heldOut, deciding, judging }: SamplePartition, begunAt: number): SearchGoal {
  const { maxDrop, target, weightType, reduceRange, minSqnr = QUANTIZE_DEFAULTS.minSqnr, prefer = QUANTIZE_DEFAULTS.prefer, threads = 1 } = options;
  // Who names the target means its weights, and machines that may not be this one.
  const isFree = target === undefined && weightType === undefined && reduceRange === undefined;
  const saturates = multipliesExactly() === false;
  const otherWeights: WeightForm[] = isFree && saturates ? [{ weightType: 'int8', reduceRange: true }, { weightType: 'uint8', reduceRange: false }] : [];
  const run = !isFree && saturates && !staticSettings(options).reduceRange ? 'simulated' : 'here';
  const flatteryDb = FLATTERY_DB[heldOut.length > 0 ? 'confirmed' : judging.length < deciding.length ? 'unseen' : 'seen'];
  return { minSqnrDb: minSqnr, marginDb: MARGIN_DB, flatteryDb, isConfirmed: heldOut.length > 0, maxDrop, threads, prefer, mixes: (options.mode ?? QUANTIZE_DEFAULTS.mode) === 'auto', run, otherWeights, budget: SEARCH_BUDGETS[effort], begunAt, endRuns: END_RUNS + END_RUNS_A_SAMPLE * Math.min(heldOut.length, MAX_CONFIRMING) };
}

/** Whether this machine adds products exactly. Without a search it does not matter: then nothing that is decided depends on the machine. */
function addsExactly(options: QuantizeOptions): boolean {
  const { target, reduceRange } = staticSettings(options);
  return !isForeignTarget(target) && (reduceRange || multipliesExactly() === true);
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
  const nothing = nothingStatic(plan, path);
  if (nothing) throw nothing;
}

/** The error of a plan that brings nothing to integers. */
function nothingStatic(plan: QuantizationPlan, path: string): QdqError | undefined {
  const compute = plan.nodes.filter(({ opType }) => isComputeOperator(opType));
  if (compute.some(({ decision }) => decision === 'quantized')) return undefined;
  const [left] = compute;
  return new QdqError(
    'nothing-to-quantize',
    `${path} has no node that static quantization can bring to integers${left ? `: ${left.opType} "${left.name}" stays float because ${left.reason}` : ''}`,
    'See its operators with `qdq inspect`; check --include, --exclude and --op-types.',
  );
}
