import type { Model } from '../../src/graph/model.js';
import { planDynamic, type DynamicOptions } from '../../src/quantization/dynamic-plan.js';
import { applyDynamicPlan } from '../../src/quantization/dynamic-recipe.js';
import { selectDynamic } from '../../src/quantization/dynamic-select.js';
import { nodeFilter, type NodeFilters } from '../../src/quantization/filters.js';
import type { PlannedConstant, PlannedNode, QuantizationPlan } from '../../src/quantization/plan.js';
import type { ValueTypes } from '../../src/quantization/select.js';

/** What a test says about a dynamic quantization beside the model. */
export interface DynamicSetting {
  readonly filters?: NodeFilters;
  readonly options?: Partial<DynamicOptions>;
}

/** A plan for a model and the model that it makes. Weights in 7 bits, so that products are exact on every machine. */
export function quantizeDynamically(model: Model, { filters = {}, options = {} }: DynamicSetting = {}): { plan: QuantizationPlan; quantized: Model } {
  const types: ValueTypes = new Map(model.graph.inputs.map(({ name, type }) => [name, type]));
  const choices = selectDynamic(model.graph, types, { keptFloat: nodeFilter(filters), opTypes: filters.opTypes ?? [] });
  const opset = model.opsets.get('') ?? 1;
  const plan = planDynamic(choices, { target: 'ort-x64', weightType: 'int8', perChannel: true, reduceRange: true, opset, ...options });
  return { plan, quantized: applyDynamicPlan(model, plan) };
}

/** A plan as text, a line for each node. */
export function dynamicPlanText(plan: QuantizationPlan): string {
  return plan.nodes.map((node) => nodeText(node, plan)).join('\n');
}

function nodeText({ name, opType, decision, reason, kernel, takenBy, constants = {} }: PlannedNode, { scales }: QuantizationPlan): string {
  if (takenBy !== undefined) return `${name} ${opType}: part of ${takenBy}`;
  const stored = Object.entries(constants).map(([input, constant]) => `${input}:${constantText(constant, scales)}`);
  return [`${name} ${opType}: ${kernel ?? decision}`, ...stored, ...(reason === null ? [] : [reason.replace(/\d+\.\d dB/, 'N dB')])].join(', ');
}

function constantText({ dtype, axis, scales }: PlannedConstant, table: QuantizationPlan['scales']): string {
  return `${dtype}${axis === null ? '' : `@${axis}`} ×${table[scales]!.length}`;
}
