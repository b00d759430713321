import { dirname } from 'node:path';
import { collectTable } from './calibrate.js';
import { requireTableFor } from './calibration/calibration-table.js';
import type { RangeMethod } from './calibration/choose-range.js';
import { readTable } from './calibration/table-file.js';
import { checkUpgrade } from './check-upgrade.js';
import { chooseMethod, rangeLookup, usableMethods, type MethodTrial } from './choose-method.js';
import { QUANTIZE_DEFAULTS } from './defaults.js';
import { QdqError } from './errors.js';
import { partitionSamples } from './partition-samples.js';
import type { Change } from './passes/pass.js';
import { prepareModel } from './prepare-model.js';
import type { QuantizeJob, QuantizedModel } from './quantize-job.js';
import { nodeFilter } from './quantization/filters.js';
import { NO_OVERRIDES, readOverrides } from './quantization/overrides.js';
import type { QuantizationPlan } from './quantization/plan.js';
import { planStatic, type StaticOptions } from './quantization/plan-static.js';
import { selectNodes, type Selection } from './quantization/select.js';
import { applyStaticPlan } from './quantization/static-qdq.js';
import { targetOf } from './quantization/target.js';
import type { QuantizeOptions } from './quantize-options.js';
import { stagedFile } from './runtime/staged-model.js';
import { INTEGER_LIMITS, type QuantizedType } from './tensor/affine.js';
import { verifyPlan } from './verify-plan.js';

/** Quantizes with ranges from calibration: Q/DQ around the nodes that an integer kernel takes. */
export async function quantizeStatic(job: QuantizeJob): Promise<QuantizedModel> {
  const { host, options, model, sha256, data, clock } = job;
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
  const selection = selectNodes(prepared.model.graph, prepared.types, { opset: prepared.model.opsets.get('') ?? 1, keptFloat: nodeFilter(filters) });
  refuseNothing(selection, options.model);
  const planWith = (method: RangeMethod) => {
    const range = { percentile: options.percentile ?? QUANTIZE_DEFAULTS.percentile, levels: levelsOf(settings.activationType), symmetric: settings.symmetricActivations };
    return { method, plan: planStatic(prepared.model, selection, prepared.types, rangeLookup(table, method, range, overrides.ranges), { ...settings, method }) };
  };
  const method = options.method ?? QUANTIZE_DEFAULTS.method;
  let plan: QuantizationPlan;
  let trials: readonly MethodTrial[] = [];
  if (method === 'auto' && data && samples && samples.forRanges.length > 0) {
    const plans = usableMethods(table).map(planWith);
    ({ plan, trials } = await chooseMethod(host, prepared.model, stagedFile(options.model), plans, data, samples.forRanges, folder));
  } else {
    ({ plan } = planWith(method === 'auto' ? 'percentile' : method));
  }
  clock.lap('plan');

  const verified = options.verify === false ? undefined : await verifyPlan(host, prepared.model, plan, folder);
  if (verified) ({ plan } = verified);
  clock.lap('verify');
  const changes: readonly Change[] = [...prepared.changes, ...(verified?.changes ?? [])];
  return {
    mode: 'static',
    target: settings.target,
    method: plan.method,
    methods: trials,
    plan,
    model: verified?.quantized ?? applyStaticPlan(prepared.model, plan),
    nodes: plan.nodes.map(({ name, opType, decision, reason }) => ({ name, opType, decision, reason })),
    changes,
    integer: verified?.integer ?? null,
    samples,
    needsExactProducts: settings.target === 'ort-x64-vnni' && !settings.reduceRange,
  };
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

function refuseNothing(selection: Selection, path: string): void {
  if ([...selection.nodes.values()].some(({ rule }) => rule.kind === 'compute')) return;
  const [[node, reason] = []] = [...selection.floatReasons].filter(([candidate]) => /Conv|MatMul|Gemm|LSTM|GRU|RNN|Attention/.test(candidate.opType));
  throw new QdqError(
    'nothing-to-quantize',
    `${path} has no node that static quantization can bring to integers${node ? `: ${node.opType} "${node.name || node.outputs[0]}" stays float because ${reason}` : ''}`,
    'See its operators with `qdq inspect`; check --include, --exclude and --op-types.',
  );
}
