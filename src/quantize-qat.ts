import { dirname } from 'node:path';
import { chooseRange, type RangeMethod } from './calibration/choose-range.js';
import { collect } from './calibration/collect.js';
import { checkUpgrade } from './check-upgrade.js';
import { QUANTIZE_DEFAULTS } from './defaults.js';
import { QdqError } from './errors.js';
import { indexOf, type GraphIndex } from './graph/graph-index.js';
import type { Model, Node } from './graph/model.js';
import { allNodes } from './graph/traversal.js';
import { partitionSamples, type SamplePartition } from './partition-samples.js';
import { closeInitializers } from './passes/close-initializers.js';
import { foldConstants } from './passes/fold-constants.js';
import { liftConstants } from './passes/lift-constants.js';
import { runPasses, type Change, type Pass } from './passes/pass.js';
import { prune } from './passes/prune.js';
import { removeIdentity } from './passes/remove-identity.js';
import { upgradeOpset } from './passes/upgrade-opset.js';
import { removeIdleCasts, widenFloat16 } from './passes/widen-float16.js';
import type { QuantizedModel, QuantizedNode, QuantizeJob } from './quantize-job.js';
import { liftQOperators } from './quantization/lift-qoperators.js';
import { activationInputs, ruleOf } from './quantization/operator-rules.js';
import type { PlannedTensor, QuantizationPlan } from './quantization/plan.js';
import type { Range } from './quantization/plan-static.js';
import { arrangePairs, keepRoundings } from './quantization/qat-arrange.js';
import { quantizeBiases } from './quantization/qat-biases.js';
import { recoverGrids } from './quantization/qat-grid.js';
import { takeOutChannelScales } from './quantization/qat-channels.js';
import { compactPairs } from './quantization/qat-compact.js';
import { removeDangling } from './quantization/qat-dangling.js';
import { hasFakeQuantize, recognizeFakeQuantize, roundedValues } from './quantization/qat-fake-quantize.js';
import { foldFollowers } from './quantization/qat-followers.js';
import { completeFromData, completeFromOperators, missingPairs } from './quantization/qat-missing.js';
import { isActivation, isDequantizedAnyhow, quantizersOf, readsIntegers, sourceOf } from './quantization/qat-pairs.js';
import { checkQuantizers, isDequantizeLinear, isPerTensor, isQuantizeLinear, labelOf, quantizerOf, scalarParameters } from './quantization/qat-quantizer.js';
import { shiftActivations, shiftWeights } from './quantization/qat-signedness.js';
import { spreadWeights } from './quantization/qat-spread.js';
import { foldWeights, foldWeightsOfBodies } from './quantization/qat-weights.js';
import type { ValueTypes } from './quantization/select.js';
import { targetOf, type Target } from './quantization/target.js';
import type { QuantizeOptions } from './quantize-options.js';
import { constantEvaluator } from './runtime/evaluate-constants.js';
import type { RuntimeHost } from './runtime/host.js';
import { inferTypes } from './runtime/infer-types.js';
import type { FusedReport } from './runtime/integer-report.js';
import { kernelCoverage } from './runtime/kernel-coverage.js';
import { stageModel, stagedFile } from './runtime/staged-model.js';
import { representableRange, type QuantizedType } from './tensor/affine.js';

/** Operator set from which Clip works on the integers of activations. */
const MIN_OPSET = 12;

/** Largest magnitude of an s8 weight, and of one whose products with u8 add up in 16 bits. */
const [MAX_WEIGHT, MAX_REDUCED] = [127, 64];

/** Rounds of taking dangling pairs out; each makes others dangle at most once, and real models need one or two. */
const MAX_ROUNDS = 8;

/** Whether a model says itself how it is to be quantized: with Q/DQ, with fake quantization of weights, or with quantized operators. */
export function carriesQdq(model: Model): boolean {
  const nodes = [...allNodes(model.graph)];
  if (nodes.some((node) => isQuantizeLinear(node) || isDequantizeLinear(node) || node.opType.startsWith('QLinear') || node.opType === 'QGemm')) return true;
  return nodes.some(({ opType }) => opType === 'Round') && hasFakeQuantize(runPasses(model, [liftConstants, closeInitializers, removeIdentity]).model);
}

/**
 * Brings a model that was trained with fake quantization, or that another tool quantized, to integers: weights are stored as integers, pairs
 * are put where the runtime fuses them, and no trained scale changes. Where ranges are missing, they come from data if there is some.
 */
export async function quantizeQat(job: QuantizeJob): Promise<QuantizedModel> {
  const quantized = await quantizeTrained(job);
  if (!quantized) throw untrained(job.options.model);
  return quantized;
}

/** The same; undefined where the model carries no quantization, which may show only once its constants are computed. */
export async function quantizeTrained(job: QuantizeJob): Promise<QuantizedModel | undefined> {
  const { host, options, model, data, listed, clock } = job;
  const target = targetOf(options.target ?? QUANTIZE_DEFAULTS.target);
  const folder = dirname(options.model);
  if (!carriesQdq(model)) return undefined;
  checkQuantizers(model.graph);
  const before = await runsBefore(job);
  const prepared = await prepareTrained(host, model, folder);
  await checkUpgrade(job, prepared.upgraded);
  checkQuantizers(prepared.model.graph);
  if (!carriesQdq(prepared.model)) return undefined;
  refuseTrainedOptions(options);
  const samples = listed && partitionSamples(await listed);
  clock.lap('read');

  const types = await inferTypes(host, prepared.model, folder);
  const stored = runPasses(prepared.model, [(current) => removeIdleCasts(current, types), recoverGrids, foldWeights, foldWeightsOfBodies, (current) => takeOutChannelScales(current, types), foldFollowers, arrangePairs, (current) => completeFromOperators(current, { averages: !data }), arrangePairs]);
  const changes: Change[] = [...prepared.changes, ...stored.changes];
  clock.lap('plan');
  const completed = await completePairs(job, stored.model, target, samples);
  changes.push(...completed.changes);
  clock.lap('calibrate');
  const shifted = runPasses(completed.model, typePasses(target, types));
  changes.push(...shifted.changes);
  clock.lap('plan');

  const verified = options.verify === false ? undefined : await withoutDangling(host, shifted.model, folder);
  const result = compactPairs(verified?.model ?? shifted.model).model;
  changes.push(...(verified?.changes ?? []));
  if (before && verified) changes.push({ pass: 'qat', names: [], message: `${before.text}; ${runsAs('now', verified.integer)}` });
  const baseline = before?.rejected ? (await stageModel(host, await withScalarParameters(host, model, folder), 'baseline.onnx', folder)).path : undefined;
  if (verified && verified.integer.integerNodes === 0) {
    const advice = completed.reasons.size > 0 ? 'Give samples with --data: ranges that training left out come from them.' : 'The reasons stand beside the nodes; `qdq inspect` shows the graph.';
    job.warn({ code: 'stays-float', message: 'none of its compute nodes runs on integers', advice });
  }
  clock.lap('verify');
  const nodes = describeNodes(result, verified?.integer, completed.reasons);
  const judging = samples && (completed.observed ? samples : { ...samples, deciding: [], heldOut: samples.all });
  return {
    mode: 'qat',
    target: target.name,
    method: completed.observed ? completed.method : 'trained',
    methods: [],
    plan: planOf(result, target, nodes),
    model: result,
    changes,
    integer: verified?.integer ?? null,
    verifyWritten: false,
    ...(baseline === undefined ? {} : { baseline }),
    samples: judging,
    foreignTarget: false,
    needsExactProducts: target.name === 'ort-x64-vnni',
  };
}

function untrained(path: string): QdqError {
  return new QdqError('usage', `${path} carries no Q/DQ and no fake quantization that --mode qat could keep`, 'Quantize it with --mode static and --data, or with --mode dynamic.');
}

/** What the model ran as when it came in; `rejected` with the runtime's words where it refuses it. Undefined without verification. */
async function runsBefore({ host, options }: QuantizeJob): Promise<{ text: string; rejected: boolean } | undefined> {
  if (options.verify === false) return undefined;
  try {
    return { text: runsAs('before', (await kernelCoverage(host, stagedFile(options.model))).report), rejected: false };
  } catch (error) {
    if (!(error instanceof QdqError && error.code === 'runtime-rejected')) throw error;
    return { text: `before, the runtime refused the model (${error.message})`, rejected: true };
  }
}

/** The model as it came in, except that scales of one element are scalars: that says the same, and the runtime does not refuse it. */
async function withScalarParameters(host: RuntimeHost, model: Model, folder: string): Promise<Model> {
  const lifted = runPasses(model, [liftConstants, closeInitializers, removeIdentity]);
  const folded = await foldConstants(lifted.model, constantEvaluator(host, folder));
  return scalarParameters(folded.model).model;
}

interface PreparedTrained {
  readonly model: Model;
  readonly changes: readonly Change[];
  readonly upgraded: Model | undefined;
}

/** Brings constants to light and fake quantization into the form of Q/DQ; nothing that a Q or DQ does is folded. */
async function prepareTrained(host: RuntimeHost, model: Model, folder: string): Promise<PreparedTrained> {
  const lifted = runPasses(model, [liftConstants, (current) => upgradeOpset(current, MIN_OPSET), closeInitializers, removeIdentity]);
  // Scales that the graph computes from constants come to light before what they round is folded.
  const scales = hasFakeQuantize(lifted.model) ? await foldConstants(lifted.model, constantEvaluator(host, folder), roundedValues(lifted.model)) : lifted;
  const recognized = runPasses(scales.model, [recognizeFakeQuantize, liftQOperators]);
  const folded = await foldConstants(recognized.model, constantEvaluator(host, folder));
  const widened = widenFloat16(folded.model, (node) => isQuantizeLinear(node) || isDequantizeLinear(node));
  const cleaned = runPasses(widened.model, [prune, scalarParameters]);
  const raised = lifted.model.opsets.get('') !== model.opsets.get('');
  const changes = [...lifted.changes, ...recognized.changes, ...folded.changes, ...widened.changes, ...cleaned.changes];
  return { model: cleaned.model, changes, upgraded: raised ? lifted.model : undefined };
}

/** What follows from the types that a target multiplies. */
function typePasses(target: Target, types: ValueTypes): Pass[] {
  const spread: Pass = (model) => spreadWeights(model, target.reduceRange ? MAX_REDUCED : MAX_WEIGHT);
  const biases: Pass = (model) => quantizeBiases(model, types);
  if (target.activationType !== 'uint8') return [keepRoundings, spread, biases];
  return target.reduceRange ? [shiftActivations, keepRoundings, spread, shiftWeights, biases] : [shiftActivations, keepRoundings, spread, biases];
}

interface CompletedPairs {
  readonly model: Model;
  readonly changes: readonly Change[];
  /** Whether samples gave ranges. */
  readonly observed: boolean;
  readonly method: RangeMethod;
  /** Why compute nodes stay float, by name, where a range is missing still. */
  readonly reasons: ReadonlyMap<string, string>;
}

/** Gives values without a trained range one from the samples; without samples, says which nodes that keeps in float. */
async function completePairs({ host, options, data }: QuantizeJob, model: Model, target: Target, samples: SamplePartition | undefined): Promise<CompletedPairs> {
  const method: RangeMethod = options.method && options.method !== 'auto' ? options.method : 'percentile';
  const missing = missingPairs(indexOf(model.graph), model.graph.nodes);
  if (missing.length === 0) return { model, changes: [], observed: false, method, reasons: new Map() };
  if (!data) {
    const reasons = new Map(missing.flatMap(({ value, nodes }) => nodes.map((name) => [name, `"${value}" has no trained range, and no samples give one: see --data`] as const)));
    return { model, changes: [], observed: false, method, reasons };
  }
  const { tensors } = await collect(host, {
    model,
    externalDataFolder: dirname(options.model),
    names: missing.map(({ value }) => value),
    data,
    exclude: samples?.heldOut ?? [],
    exact: options.exact ?? 'auto',
    ...(options.threads === undefined ? {} : { threads: options.threads }),
  });
  const settings = { percentile: options.percentile ?? QUANTIZE_DEFAULTS.percentile, levels: 256, symmetric: false };
  const rangeOf = (value: string): Range | undefined => {
    const record = tensors[value];
    if (!record || record.dtype !== 'float32' || record.min === null) return undefined;
    const { min, max } = chooseRange(record, method, settings);
    return [min, max];
  };
  const completed = runPasses(model, [(current) => completeFromData(current, rangeOf, target.activationType, domainOf(current)), arrangePairs, (current) => completeFromOperators(current), arrangePairs]);
  return { ...completed, observed: completed.changes.length > 0, method, reasons: new Map() };
}

/** Domain of the Q/DQ nodes of a model. */
function domainOf({ graph }: Model): string {
  return graph.nodes.find((node) => isQuantizeLinear(node) || isDequantizeLinear(node))?.domain ?? '';
}

/** Takes out pairs that the runtime converts by for no integer kernel, until none is left. */
async function withoutDangling(host: RuntimeHost, model: Model, folder: string): Promise<{ model: Model; integer: FusedReport; changes: readonly Change[] }> {
  const changes: Change[] = [];
  let current = model;
  for (let round = 0; ; round++) {
    const { report, danglingQdq } = await kernelCoverage(host, await stageModel(host, current, 'qat.onnx', folder));
    const removed = round < MAX_ROUNDS && danglingQdq.length > 0 ? removeDangling(current, new Set(danglingQdq)) : undefined;
    if (!removed || removed.changes.length === 0) return { model: current, integer: report, changes };
    changes.push(...removed.changes);
    current = removed.model;
  }
}

function runsAs(when: string, { computeNodes, integerNodes, danglingQdqNodes }: FusedReport): string {
  return `${when}, ${integerNodes} of ${computeNodes} compute nodes run on integers, with ${danglingQdqNodes} dangling Q/DQ nodes`;
}

/** Every node but Q and DQ, with what it became. */
function describeNodes({ graph }: Model, integer: FusedReport | undefined, reasons: ReadonlyMap<string, string>): QuantizedNode[] {
  const index = indexOf(graph);
  const reported = new Map(integer?.nodes.map((node) => [node.name, node]));
  return graph.nodes.flatMap((node): QuantizedNode[] => {
    if (isQuantizeLinear(node) || isDequantizeLinear(node)) return [];
    const name = labelOf(node);
    const known = reported.get(name);
    const rule = ruleOf(node);
    const source = sourceOf(index, node.outputs[0] ?? '');
    const absorbed = isActivation(node) && source !== undefined && source !== node && readsIntegers(index, source) && quantizersOf(index, node.outputs[0]!).length > 0;
    const runsOnIntegers = known ? known.runsAs === 'integer' : absorbed || readsIntegers(index, node) || readsStored(index, node);
    if (runsOnIntegers) return [{ name, opType: node.opType, decision: 'quantized', reason: null }];
    const unquantized = rule && activationInputs(rule, node).map((i) => node.inputs[i]!).find((value) => !isDequantizedAnyhow(index, value));
    const reason = reasons.get(name) ?? known?.reason ?? (rule ? (unquantized === undefined ? 'its inputs have scales for each channel' : `"${unquantized}" is not quantized`) : `${node.opType} has no integer kernel in onnxruntime`);
    return [{ name, opType: node.opType, decision: 'float', reason }];
  });
}

/** Whether an operator between Q and DQ works on the integers themselves. */
function readsStored(index: GraphIndex, node: Node): boolean {
  const producer = index.producer(node.inputs[0] ?? '');
  return producer !== undefined && (isQuantizeLinear(producer) || (producer.domain === '' && !isDequantizeLinear(producer) && index.uses(node.outputs[0] ?? '').some((use) => isDequantizeLinear(use.node))));
}

/** The trained parameters as a plan, for --dry-run. */
function planOf(model: Model, target: Target, nodes: readonly QuantizedNode[]): QuantizationPlan {
  const index = indexOf(model.graph);
  const tensors: Record<string, PlannedTensor> = {};
  for (const node of model.graph.nodes.filter(isQuantizeLinear)) {
    const quantizer = quantizerOf(index, node);
    if (!quantizer || !isPerTensor(quantizer)) continue;
    const parameters = { dtype: quantizer.dtype as QuantizedType, scale: quantizer.scales[0]!, zeroPoint: quantizer.zeroPoints[0]! };
    tensors[node.inputs[0]!] = { ...parameters, range: quantizer.dtype === 'uint8' || quantizer.dtype === 'int8' ? representableRange(parameters) : [0, 0] };
  }
  const { name, activationType, weightType } = target;
  return { schema: 'qdq.plan/1', mode: 'qat', target: name, activationType, weightType, method: 'trained', domain: domainOf(model), nodes, tensors, scales: {} };
}

/** Refuses what only quantization of a float model could use. */
function refuseTrainedOptions(options: QuantizeOptions): void {
  const { calibration, overrides, activationType, weightType, perTensor, reduceRange, symmetricActivations, include, exclude, opTypes } = options;
  const given: readonly [string, unknown][] = [
    ['--calibration', calibration],
    ['--overrides', overrides],
    ['--activation-type', activationType],
    ['--weight-type', weightType],
    ['--per-tensor', perTensor],
    ['--reduce-range', reduceRange],
    ['--symmetric-activations', symmetricActivations],
    ['--include', include?.length],
    ['--exclude', exclude?.length],
    ['--op-types', opTypes?.length],
  ];
  const senseless = given.find(([, value]) => Boolean(value));
  if (!senseless) return;
  throw new QdqError('usage', `${options.model} carries Q/DQ, whose types and scales training decided, and qdq has no use for ${senseless[0]}`, 'Leave it out, or quantize the float model.');
}
