import { dirname } from 'node:path';
import { checkUpgrade } from './check-upgrade.js';
import { QUANTIZE_DEFAULTS } from './defaults.js';
import { QdqError } from './errors.js';
import { indexOf } from './graph/graph-index.js';
import type { Graph, Model, Node } from './graph/model.js';
import { allNodes } from './graph/traversal.js';
import { lookAhead } from './look-ahead.js';
import { partitionSamples } from './partition-samples.js';
import { prepareModel } from './prepare-model.js';
import type { QuantizeJob, QuantizedModel } from './quantize-job.js';
import { nodeFilter } from './quantization/filters.js';
import { NO_OVERRIDES, readOverrides } from './quantization/overrides.js';
import type { QuantizationPlan } from './quantization/plan.js';
import { checkBlockSize } from './quantization/weight-only-format.js';
import { fitHalfQuadratic } from './quantization/weight-only-hqq.js';
import { BLOCK_WEIGHT_TYPES, blockFormat, planWeightOnly, weightForm, weightOnlySettings, type BlockWeightType, type WeightOnlySettings } from './quantization/weight-only-plan.js';
import { storeWeights } from './quantization/weight-only-recipe.js';
import { fitRange } from './quantization/weight-only-rounding.js';
import { selectWeightOnly } from './quantization/weight-only-select.js';
import { canFeed, convertToFloat16 } from './quantize-float16.js';
import { roundByInputs } from './round-by-inputs.js';
import type { QuantizeOptions } from './quantize-options.js';

/** Stores weights in few bits; activations stay float between nodes, and the runtime rounds them for integer products in every run. */
export async function quantizeWeightOnly(job: QuantizeJob): Promise<QuantizedModel> {
  const { host, options, model, data, listed, clock } = job;
  refuseRangeOptions(options);
  if (options.blockSize !== undefined) checkBlockSize(options.blockSize);
  const folder = dirname(options.model);
  const overrides = options.overrides ? await readOverrides(options.overrides) : NO_OVERRIDES;
  if (Object.keys(overrides.ranges).length > 0) throw senseless(`the ranges in ${options.overrides}`);
  // A Transpose is taken into the layout of its blocks; folded, the weight would be one more in memory, and no longer the table of a lookup too.
  const prepared = await prepareModel(host, model, folder, transposesOfWeights);
  await checkUpgrade(job, prepared.upgraded);
  const samples = listed && partitionSamples(await listed);
  clock.lap('read');

  const settings = settingsOf(options, prepared.model.opsets.get('') ?? 1);
  const algorithm = options.algorithm ?? 'rtn';
  if (algorithm !== 'rtn' && settings.format === 'qdq' && settings.blockSize === null) {
    throw new QdqError('usage', `${algorithm} chooses the scales of blocks, and these weights have one a channel`, 'Take 4 bits, or name a --block-size.');
  }
  if (algorithm === 'gptq' && !data) throw new QdqError('usage', 'gptq looks at the inputs of products, and no samples were given', 'Give samples with --data, or take --algorithm hqq.');
  const keptFloat = nodeFilter({ ...options, exclude: [...(options.exclude ?? []), ...overrides.float] });
  const lookupBlock = options.opTypes?.includes('Gather') ? blockFormat(settings).blockSize : null;
  const choices = selectWeightOnly(prepared.model.graph, { keptFloat, lookupBlock });
  const plan = planWeightOnly(choices, settings, options.target ?? QUANTIZE_DEFAULTS.target, algorithm);
  refuseNothing(plan, options.model);
  const seen = samples && samples.deciding.length > 0 ? samples.deciding : samples?.all;
  const rounded = algorithm === 'gptq' ? await roundByInputs(host, prepared.model, folder, choices, blockFormat(settings), { data: data!, only: seen!, onProgress: options.onProgress }) : undefined;
  const graph = storeWeights(prepared.model.graph, choices, {
    formOf: (choice) => weightForm(choice, settings),
    fit: algorithm === 'rtn' ? fitRange : fitHalfQuadratic,
    ...(rounded ? { rounded } : {}),
  });
  const opsets = new Map(prepared.model.opsets).set('com.microsoft', prepared.model.opsets.get('com.microsoft') ?? 1);
  const stored: Model = { ...prepared.model, graph, opsets: [...importedDomains(graph)].includes('com.microsoft') ? opsets : prepared.model.opsets };
  const half = options.float16 ? await convertToFloat16(host, stored, options, folder) : undefined;
  const quantized = half?.model ?? stored;
  clock.lap('plan');

  const look = await lookAhead(job, quantized);
  clock.lap('verify');
  return {
    mode: 'weight-only',
    target: plan.target,
    method: plan.method,
    methods: [],
    plan,
    model: quantized,
    changes: [...prepared.changes, ...(half?.changes ?? [])],
    ...look,
    foreignTarget: false,
    // Unless samples decided how weights are rounded, each may judge.
    samples: samples && canFeed(job, quantized) ? (rounded ? samples : { ...samples, deciding: [], heldOut: samples.all }) : undefined,
    needsExactProducts: false,
  };
}

function settingsOf({ weightType, blockSize, perTensor, format, accuracyLevel }: QuantizeOptions, opset: number): WeightOnlySettings {
  if (weightType !== undefined && !(BLOCK_WEIGHT_TYPES as readonly string[]).includes(weightType)) throw new QdqError('usage', `weights of ${weightType} have no form in blocks`, 'Take s8, u8, s4 or u4.');
  if (format === 'qoperator') throw new QdqError('usage', 'weights alone have no operators on integers', 'Take --format qdq or contrib.');
  return weightOnlySettings({ dtype: weightType as BlockWeightType | undefined, blockSize, perTensor, format, accuracyLevel }, opset);
}

/** Transposes of constant matrices, from which a product reads its weight. */
function transposesOfWeights(graph: Graph): ReadonlySet<string> {
  const index = indexOf(graph);
  const isWeight = ({ opType, inputs, outputs }: Node) =>
    opType === 'Transpose' && index.constant(inputs[0] ?? '')?.dims.length === 2 && index.uses(outputs[0]!).every(({ node, input }) => node.opType === 'MatMul' && input === 1);
  return new Set(graph.nodes.filter(isWeight).map(({ outputs }) => outputs[0]!));
}

function* importedDomains(graph: Graph): Generator<string> {
  for (const node of allNodes(graph)) yield node.domain;
}

/** Refuses what only ranges of activations could use. */
function refuseRangeOptions(options: QuantizeOptions): void {
  const { calibration, method, percentile, exact, activationType, symmetricActivations, reduceRange } = options;
  if (calibration) throw senseless('--calibration');
  if (method !== undefined && method !== 'auto') throw senseless(`--method ${method}`);
  if (percentile !== undefined && percentile !== QUANTIZE_DEFAULTS.percentile) throw senseless('--percentile');
  if (exact) throw senseless('--exact');
  if (symmetricActivations) throw senseless('--symmetric-activations');
  if (activationType) throw senseless(`--activation-type ${activationType}`);
  if (reduceRange) throw senseless('--reduce-range');
}

function senseless(what: string): QdqError {
  return new QdqError('usage', `weight-only quantization leaves activations as they are, and has no use for ${what}`, 'Leave it out, or quantize with --mode static and --data.');
}

function refuseNothing(plan: QuantizationPlan, path: string): void {
  if (plan.nodes.some(({ decision }) => decision !== 'float')) return;
  const kept = plan.nodes.find(({ opType }) => /MatMul|Gemm|Conv|LSTM|GRU|RNN|Attention/.test(opType));
  throw new QdqError(
    'nothing-to-quantize',
    `${path} has no product with a constant matrix that can be stored in blocks${kept ? `: ${kept.opType} "${kept.name}" stays float because ${kept.reason}` : ''}`,
    'See its operators with `qdq inspect`; convolutions need samples: --data without --mode weight-only.',
  );
}
