import type { Model, Node } from '../graph/model.js';
import { correctBiases, withBiases, type Biases } from '../quantization/bias-correction.js';
import { planDynamic, type DynamicOptions } from '../quantization/dynamic-plan.js';
import { applyDynamicPlan } from '../quantization/dynamic-recipe.js';
import { selectDynamic } from '../quantization/dynamic-select.js';
import type { PlannedNode, QuantizationPlan } from '../quantization/plan.js';
import { planStatic, type StaticOptions } from '../quantization/plan-static.js';
import { selectNodes, type Selection, type ValueTypes } from '../quantization/select.js';
import { applyStaticPlan } from '../quantization/static-qdq.js';
import type { QuantizedType } from '../tensor/affine.js';
import { rangeLabel, type RangeChoice, type RangeSource } from './range-source.js';

/** Means of the channels of values, by value name. */
export type ChannelMeans = ReadonlyMap<string, ArrayLike<number>>;

/** How weights become integers. */
export interface WeightForm {
  readonly weightType: QuantizedType;
  readonly reduceRange: boolean;
}

/** What is decided about a model beyond the rules. */
export interface Choices {
  readonly range: RangeChoice;
  /** Ranges of values that are chosen in a way of their own. */
  readonly ranges: ReadonlyMap<string, RangeChoice>;
  readonly weights: WeightForm;
  /** Means with which biases are corrected. */
  readonly means: ChannelMeans | undefined;
  /** Nodes that stay in float, with the reason. */
  readonly float: ReadonlyMap<string, string>;
  /** Nodes that are quantized dynamically, with the reason. */
  readonly dynamic: ReadonlyMap<string, string>;
}

/** What makes a quantized model of a float one, as plain data but for the model. */
export interface PlannedModel {
  /** The float model, with its corrected biases. */
  readonly model: Model;
  /** The biases that were corrected. */
  readonly biases: Biases;
  readonly plan: QuantizationPlan;
  /** Nodes of the main graph that are quantized dynamically, with the reason. */
  readonly dynamic: ReadonlyMap<string, string>;
  readonly dynamicOptions: DynamicOptions;
}

/** What a planner works from. */
export interface PlannerOptions {
  /** The float model, prepared. */
  readonly float: Model;
  readonly types: ValueTypes;
  /** What all plans have in common. */
  readonly settings: Omit<StaticOptions, 'method' | 'weightType' | 'reduceRange'>;
  /** Why the user, or a rule, keeps a node in float. */
  readonly keptFloat: (node: Node) => string | undefined;
  /** Whether nodes may be quantized dynamically: those in bodies always are then. */
  readonly mayBeDynamic: boolean;
}

/** Makes plans of choices. */
export class Planner {
  readonly float: Model;
  readonly #options: PlannerOptions;

  constructor(options: PlannerOptions) {
    this.float = options.float;
    this.#options = options;
  }

  /** What would be static with these nodes left out. */
  select(left: ReadonlyMap<string, string> = new Map()): Selection {
    return this.#select(this.float, left);
  }

  /** Nodes of the main graph that could be quantized dynamically. */
  dynamicNodes(): Node[] {
    if (!this.#options.mayBeDynamic) return [];
    const inMain = new Set(this.float.graph.nodes);
    const choices = selectDynamic(this.float.graph, this.#options.types, { keptFloat: this.#options.keptFloat, opTypes: [] });
    return choices.flatMap(({ node, form }) => (form !== null && form !== 'lookup' && inMain.has(node) ? [node] : []));
  }

  plan(ranges: RangeSource, choices: Choices): PlannedModel {
    const planned = this.#planStatic(this.float, ranges, choices);
    const { dynamic } = choices;
    const { weightType, reduceRange } = choices.weights;
    const { target, perChannel } = this.#options.settings;
    const dynamicOptions: DynamicOptions = { target, weightType, perChannel, reduceRange, opset: opsetOf(this.float) };
    const common = { dynamic, dynamicOptions };
    if (!choices.means) return { model: this.float, biases: {}, plan: planned, ...common };
    const biases = correctBiases(this.float, planned, choices.means);
    const model = withBiases(this.float, biases);
    return { model, biases, plan: this.#planStatic(model, ranges, choices), ...common };
  }

  /** A plan in which repairs have changed the static part; what they took back to float takes its own bias again. */
  replace(planned: PlannedModel, plan: QuantizationPlan): PlannedModel {
    const quantized = new Set(plan.nodes.flatMap(({ name, decision }) => (decision === 'quantized' ? [name] : [])));
    const biases = Object.fromEntries(Object.entries(planned.biases).filter(([name]) => quantized.has(name)));
    return { ...planned, plan, biases, model: withBiases(this.float, biases) };
  }

  /** Carries a plan out. Gives the entries of nodes that are quantized dynamically too. */
  quantize(planned: PlannedModel): { readonly model: Model; readonly plan: QuantizationPlan } {
    return carryOut(planned, this.#options.mayBeDynamic ? this.#options.keptFloat : undefined);
  }

  #planStatic(model: Model, ranges: RangeSource, { range, ranges: own, weights, float, dynamic }: Choices): QuantizationPlan {
    const rangeOf = (value: string) => ranges.rangeOf(value, own.get(value) ?? range);
    const options: StaticOptions = { ...this.#options.settings, ...weights, method: own.size > 0 ? `${rangeLabel(range)}, ${own.size} of their own` : rangeLabel(range) };
    return planStatic(model, this.#select(model, new Map([...float, ...dynamic])), this.#options.types, rangeOf, options);
  }

  #select(model: Model, left: ReadonlyMap<string, string>): Selection {
    const keptFloat = (node: Node) => this.#options.keptFloat(node) ?? left.get(node.name);
    return selectNodes(model.graph, this.#options.types, { opset: opsetOf(model), keptFloat });
  }
}

const opsetOf = (model: Model) => model.opsets.get('') ?? 1;

/** Why nodes in bodies are quantized dynamically in a model whose other nodes are static. */
const REASON = 'quantized dynamically, because static quantization does not reach it';

/**
 * The quantized model, and the plan with all that became of its nodes. Nodes in bodies are quantized dynamically where `inBodies` is given and
 * does not say why not.
 */
export function carryOut(
  { model, plan, dynamic, dynamicOptions }: Pick<PlannedModel, 'model' | 'plan' | 'dynamic' | 'dynamicOptions'>,
  inBodies: ((node: Node) => string | undefined) | undefined,
): { readonly model: Model; readonly plan: QuantizationPlan } {
  const quantized = applyStaticPlan(model, plan);
  const { graph } = quantized;
  const outside = new Set(graph.nodes);
  const keptFloat = (node: Node) => {
    if (outside.has(node)) return dynamic.has(node.name) ? undefined : 'static quantization decides about it';
    return inBodies ? inBodies(node) : 'nodes in bodies stay float';
  };
  const added = planDynamic(selectDynamic(graph, new Map(), { keptFloat, opTypes: [] }), dynamicOptions);
  const entries = new Map(
    added.nodes.flatMap((node) => (node.decision === 'float' ? [] : [[node.name, { ...node, reason: dynamic.get(node.name) ?? node.reason ?? REASON }] as const])),
  );
  if (entries.size === 0) return { model: quantized, plan };
  const planned = new Set(plan.nodes.map(({ name }) => name));
  const nodes: PlannedNode[] = [...plan.nodes.map((node) => entries.get(node.name) ?? node), ...[...entries.values()].filter(({ name }) => !planned.has(name))];
  return { model: applyDynamicPlan(quantized, added), plan: { ...plan, nodes, scales: { ...plan.scales, ...added.scales } } };
}
