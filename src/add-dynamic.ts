import { dirname } from 'node:path';
import type { Node } from './graph/model.js';
import type { QuantizedModel, QuantizeJob } from './quantize-job.js';
import { planDynamic, weightsToMeasure } from './quantization/dynamic-plan.js';
import { applyDynamicPlan } from './quantization/dynamic-recipe.js';
import { selectDynamic } from './quantization/dynamic-select.js';
import { nodeFilter } from './quantization/filters.js';
import { NO_OVERRIDES, readOverrides } from './quantization/overrides.js';
import type { PlannedNode } from './quantization/plan.js';
import { VARYING_RANGE } from './quantization/varying-ranges.js';
import { measureWeights } from './quantization/weight-work.js';
import { kernelCoverage } from './runtime/kernel-coverage.js';
import { stageForLook } from './runtime/staged-model.js';
import { dynamicSettings } from './quantize-dynamic.js';

/** Why nodes are quantized dynamically in a model whose other nodes are static. */
const UNREACHED = 'quantized dynamically, because static quantization does not reach it';
const ASKED_FOR = 'quantized dynamically, as the overrides ask';

/** The job of quantizing statically what the overrides do not want dynamic: those nodes stay in float until `addDynamic` takes them. */
export async function withoutDynamicOverrides(job: QuantizeJob): Promise<QuantizeJob> {
  const { options } = job;
  const { dynamic } = options.overrides ? await readOverrides(options.overrides) : NO_OVERRIDES;
  return dynamic.length === 0 ? job : { ...job, options: { ...options, exclude: [...(options.exclude ?? []), ...dynamic] } };
}

/**
 * Adds dynamic nodes to a statically quantized model: those that the overrides name, those that the static plan left in float because their
 * range varies, and with `unreached` also what static quantization cannot bring to integers: LSTM, and nodes in bodies.
 */
export async function addDynamic({ host, options }: QuantizeJob, quantized: QuantizedModel, { unreached }: { readonly unreached: boolean }): Promise<QuantizedModel> {
  const { graph, opsets } = quantized.model;
  const outside = new Set(graph.nodes);
  const overrides = options.overrides ? await readOverrides(options.overrides) : NO_OVERRIDES;
  const kept = nodeFilter({ ...options, exclude: [...(options.exclude ?? []), ...overrides.float] });
  const isNamed = nodeFilter({ exclude: overrides.dynamic });
  const varying = new Map(quantized.plan.nodes.flatMap(({ name, reason }) => (reason?.startsWith(VARYING_RANGE) ? [[name, reason] as const] : [])));
  const reasonFor = (node: Node): string | undefined => {
    if (isNamed(node)) return ASKED_FOR;
    return varying.get(node.name) ?? (unreached && (node.opType === 'LSTM' || !outside.has(node)) ? UNREACHED : undefined);
  };
  const choices = selectDynamic(graph, new Map(), {
    keptFloat: (node) => (reasonFor(node) ? kept(node) : 'static quantization decides about it'),
    opTypes: overrides.dynamic.length > 0 ? ['Conv'] : [],
  });
  const settings = dynamicSettings(options, opsets.get('') ?? 1);
  await measureWeights(weightsToMeasure(choices, settings), options.onProgress);
  const dynamic = planDynamic(choices, settings);
  const added = new Map<string, PlannedNode>();
  dynamic.nodes.forEach((planned, i) => {
    if (planned.decision !== 'float') added.set(planned.name, { ...planned, reason: planned.reason ?? reasonFor(choices[i]!.node) ?? UNREACHED });
  });
  if (added.size === 0) return quantized;
  const model = applyDynamicPlan(quantized.model, dynamic);
  const staged = quantized.integer && (await stageForLook(host, model, 'mixed.onnx', dirname(options.model)));
  const planned = new Set(quantized.plan.nodes.map(({ name }) => name));
  const nodes: PlannedNode[] = [...quantized.plan.nodes.map((node) => added.get(node.name) ?? node), ...[...added.values()].filter(({ name }) => !planned.has(name))];
  return {
    ...quantized,
    model,
    plan: { ...quantized.plan, nodes, scales: { ...quantized.plan.scales, ...dynamic.scales } },
    nodes: nodes.map(({ name, opType, decision, reason }) => ({ name, opType, decision, reason })),
    integer: staged && (await kernelCoverage(host, staged, { fuseInt8: quantized.foreignTarget })).report,
  };
}
