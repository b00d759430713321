import { dirname } from 'node:path';
import type { QuantizedModel, QuantizeJob } from './quantize-job.js';
import { planDynamic } from './quantization/dynamic-plan.js';
import { applyDynamicPlan } from './quantization/dynamic-recipe.js';
import { selectDynamic } from './quantization/dynamic-select.js';
import { nodeFilter } from './quantization/filters.js';
import { nonFiniteConstants } from './quantization/non-finite-constants.js';
import { NO_OVERRIDES, readOverrides } from './quantization/overrides.js';
import type { PlannedNode } from './quantization/plan.js';
import { kernelCoverage } from './runtime/kernel-coverage.js';
import { stageModel } from './runtime/staged-model.js';
import { dynamicSettings, tooOldFor } from './quantize-dynamic.js';

/** Why a node is quantized dynamically in a model whose other nodes are static. */
const REASON = 'quantized dynamically, because static quantization does not reach it';

/** Adds to a statically quantized model what only dynamic quantization brings to integers: LSTM, and nodes in bodies. */
export async function addDynamic({ host, options }: QuantizeJob, quantized: QuantizedModel): Promise<QuantizedModel> {
  const { graph, opsets } = quantized.model;
  const outside = new Set(graph.nodes);
  const overrides = options.overrides ? await readOverrides(options.overrides) : NO_OVERRIDES;
  const kept = nodeFilter({ ...options, exclude: [...(options.exclude ?? []), ...overrides.float] });
  const nonFiniteConstant = nonFiniteConstants(graph);
  const choices = selectDynamic(graph, new Map(), {
    keptFloat: (node) => (node.opType === 'LSTM' || !outside.has(node) ? (tooOldFor(node, quantized.model) ?? nonFiniteConstant(node) ?? kept(node)) : 'static quantization decides about it'),
    opTypes: [],
  });
  const dynamic = planDynamic(choices, dynamicSettings(options, opsets.get('') ?? 1));
  const added = new Map(dynamic.nodes.filter(({ decision }) => decision !== 'float').map((node) => [node.name, { ...node, reason: node.reason ?? REASON }]));
  if (added.size === 0) return quantized;
  const model = applyDynamicPlan(quantized.model, dynamic);
  const staged = quantized.integer && (await stageModel(host, model, 'mixed.onnx', dirname(options.model)));
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
