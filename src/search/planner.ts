import type { Model, Node } from '../graph/model.js';
import { allNodes } from '../graph/traversal.js';
import { bodyNames, closeBodies } from '../passes/close-bodies.js';
import { isBodyInputs } from '../passes/open-bodies.js';
import { correctBiases, withBiases, type Biases, type KnownShifts } from '../quantization/bias-correction.js';
import { planDynamic, type DynamicOptions } from '../quantization/dynamic-plan.js';
import { applyDynamicPlan } from '../quantization/dynamic-recipe.js';
import { selectDynamic, tooOldFor, type DynamicChoice } from '../quantization/dynamic-select.js';
import { guardCaptures } from '../quantization/guard-captures.js';
import type { PlannedNode, QuantizationPlan } from '../quantization/plan.js';
import { planStatic, type StaticOptions } from '../quantization/plan-static.js';
import { migrationSites, type MigrationSite } from '../quantization/scale-migration.js';
import { selectNodes, type Selection, type ValueTypes } from '../quantization/select.js';
import { applyStaticPlan } from '../quantization/static-qdq.js';
import { storableNodes, withStoredWeights } from '../quantization/stored-weights.js';
import { withBlockProducts } from '../quantization/weight-only-products.js';
import { selectWeightOnly } from '../quantization/weight-only-select.js';
import { isComputeOperator } from '../runtime/kernels.js';
import type { QuantizedType } from '../tensor/affine.js';
import type { Migration } from './migration.js';
import { rangeLabel, type RangeChoice, type RangeSource } from './range-source.js';

/** Means of the channels of values, by value name. */
export type ChannelMeans = ReadonlyMap<string, ArrayLike<number>>;

/** How weights become integers. */
export interface WeightForm {
  readonly weightType: QuantizedType;
  readonly reduceRange: boolean;
}

/** How a node runs on integers that is not static: its activations get their scales in each run; or so do blocks of them, and of its weight. */
export const OTHER_FORMS = ['dynamic', 'blocks'] as const;
export type OtherForm = (typeof OTHER_FORMS)[number];

/** A node that is quantized in another form than static, and why. One that is `stored` runs in float, with weights that are integers in the file. */
export interface OtherNode {
  readonly form: OtherForm | 'stored';
  readonly reason: string;
}

/** What is decided about a model beyond the rules. */
export interface Choices {
  readonly range: RangeChoice;
  /** Ranges of values that are chosen in a way of their own. */
  readonly ranges: ReadonlyMap<string, RangeChoice>;
  readonly weights: WeightForm;
  /** Scales that are moved from activations into weights. */
  readonly migration: Migration | undefined;
  /** Means with which biases are corrected. */
  readonly means: ChannelMeans | undefined;
  /** Nodes that stay in float, with the reason. */
  readonly float: ReadonlyMap<string, string>;
  /** Nodes of the main graph in other forms. */
  readonly others: ReadonlyMap<string, OtherNode>;
  /** Nodes in bodies that stay in float, with the reason. */
  readonly bodies: ReadonlyMap<string, string>;
}

/** What makes a quantized model of a float one, as plain data but for the model. */
export interface PlannedModel {
  /** The float model, with moved scales and corrected biases. */
  readonly model: Model;
  readonly migration: Migration | undefined;
  /** The biases that were corrected. */
  readonly biases: Biases;
  readonly plan: QuantizationPlan;
  /** Nodes of the main graph in other forms. */
  readonly others: ReadonlyMap<string, OtherNode>;
  /** Nodes in bodies that stay in float by choice, with the reason. */
  readonly bodies: ReadonlyMap<string, string>;
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
  /** Why nodes cannot be static that may take other forms, by name. */
  readonly unplanned: ReadonlyMap<string, string>;
  /** Whether nodes may take other forms than static: those in bodies always are dynamic then. */
  readonly allowsOthers: boolean;
  /** Nodes whose form the user has decided: no search decides about them. */
  readonly fixed: ReadonlyMap<string, 'static' | 'dynamic'>;
}

/** Makes plans of choices. */
export class Planner {
  readonly float: Model;
  readonly #options: PlannerOptions;
  readonly #main: ReadonlySet<Node>;
  readonly #shifts = new WeakMap<ChannelMeans, KnownShifts>();
  #dynamicChoices: readonly DynamicChoice[] | undefined;
  #sites: readonly MigrationSite[] | undefined;
  #inBodies: ReadonlyMap<string, string> | undefined;
  /** Planners of this float model with moved scales. */
  readonly #migrated = new WeakMap<Model, Planner>();

  constructor(options: PlannerOptions) {
    this.float = options.float;
    this.#main = new Set(options.float.graph.nodes);
    this.#options = options;
  }

  /** The planner of the float model that choices, or a plan, are for: this one, or one of the same model with moved scales. */
  of({ migration }: Pick<Choices, 'migration'>): Planner {
    if (!migration) return this;
    let planner = this.#migrated.get(migration.float);
    if (!planner) {
      const { types, keptFloat } = this.#options;
      const withInserted = new Map([...types, ...[...migration.inserted].flatMap(([value, from]) => (types.has(from) ? [[value, types.get(from)!] as const] : []))]);
      const isInserted = (node: Node) => migration.inserted.has(node.outputs[0] ?? '');
      planner = new Planner({ ...this.#options, float: migration.float, types: withInserted, keptFloat: (node) => (isInserted(node) ? SCALES_CHANNELS : keptFloat(node)) });
      this.#migrated.set(migration.float, planner);
    }
    return planner;
  }

  /** Where scales can move from activations into weights. */
  migrationSites(): readonly MigrationSite[] {
    return (this.#sites ??= migrationSites(this.float.graph, this.#options.types).filter(({ value }) => this.isAlwaysComputed(value)));
  }

  /** Whether each run computes a value, once: those of bodies may be without, or have several. */
  isAlwaysComputed(value: string): boolean {
    return !(this.#inBodies ??= bodyNames(this.float)).get(value);
  }

  /** What would be static with these nodes left out. */
  select(left: ReadonlyMap<string, string> = new Map()): Selection {
    return this.#select(this.float, left);
  }

  /** Nodes whose form the user has decided. */
  get fixed(): PlannerOptions['fixed'] {
    return this.#options.fixed;
  }

  /** Nodes of the main graph that could take another form, convolutions on request. */
  nodesFor(form: OtherForm, opTypes: readonly string[] = []): Node[] {
    if (!this.#options.allowsOthers) return [];
    const choices = form === 'dynamic' ? this.#dynamic(opTypes) : selectWeightOnly(this.float.graph, { keptFloat: this.#options.keptFloat, lookupBlock: null });
    return choices.flatMap((choice) => (choice.form !== null && choice.form !== 'lookup' && this.#main.has(choice.node) ? [choice.node] : []));
  }

  /** Lookups of the main graph whose tables can be stored in 8 bits. */
  tables(): Node[] {
    return this.#dynamic().flatMap(({ form, node }) => (form === 'lookup' && this.#main.has(node) ? [node] : []));
  }

  /** Nodes in bodies that are quantized dynamically unless they are kept. */
  nodesInBodies(): Node[] {
    return this.#dynamic().flatMap(({ form, node }) => (form !== null && form !== 'lookup' && !this.#main.has(node) ? [node] : []));
  }

  #dynamic(opTypes: readonly string[] = []): readonly DynamicChoice[] {
    const { allowsOthers, keptFloat, types } = this.#options;
    if (!allowsOthers) return [];
    const select = () => selectDynamic(this.float.graph, types, { keptFloat: (node) => tooOldFor(node, this.float) ?? keptFloat(node), opTypes });
    return opTypes.length > 0 ? select() : (this.#dynamicChoices ??= select());
  }

  /** Nodes of the main graph whose weights can be integers in the file where they run in float. */
  storableNodes(): Node[] {
    return this.#options.allowsOthers ? storableNodes(this.float.graph).filter((node) => this.#options.keptFloat(node) === undefined) : [];
  }

  /** What of nodes in bodies a record must know: whether they are quantized, and which are kept, with the reasons. */
  bodies({ bodies: chosen }: Pick<PlannedModel, 'bodies'>): { readonly bodies: boolean; readonly keptInBodies: Readonly<Record<string, string>> } {
    const { allowsOthers, keptFloat } = this.#options;
    const kept = [...allNodes(this.float.graph)].flatMap((node) => {
      const reason = allowsOthers && !this.#main.has(node) ? (chosen.get(node.name) ?? keptFloat(node)) : undefined;
      return reason === undefined ? [] : [[node.name, reason] as const];
    });
    return { bodies: allowsOthers, keptInBodies: Object.fromEntries(kept) };
  }

  plan(ranges: RangeSource, choices: Choices): PlannedModel {
    const { migration } = choices;
    return this.of(choices).#plan(migration ? ranges.with(migration.records) : ranges, choices);
  }

  #plan(ranges: RangeSource, choices: Choices): PlannedModel {
    const planned = this.#planStatic(this.float, ranges, choices);
    const { others, bodies, migration } = choices;
    const { weightType, reduceRange } = choices.weights;
    const { target, perChannel } = this.#options.settings;
    const dynamicOptions: DynamicOptions = { target, weightType, perChannel, reduceRange, opset: opsetOf(this.float) };
    const common = { migration, others, bodies, dynamicOptions };
    if (!choices.means) return { model: this.float, biases: {}, plan: planned, ...common };
    let known = this.#shifts.get(choices.means);
    if (!known) this.#shifts.set(choices.means, (known = new Map<string, Float64Array>()));
    const biases = correctBiases(this.float, planned, choices.means, known);
    const model = withBiases(this.float, biases);
    return { model, biases, plan: this.#planStatic(model, ranges, choices), ...common };
  }

  /** A plan in which repairs have changed the static part; what they took back to float takes its own bias again. */
  replace(planned: PlannedModel, plan: QuantizationPlan): PlannedModel {
    const quantized = new Set(plan.nodes.flatMap(({ name, decision }) => (decision === 'quantized' ? [name] : [])));
    const biases = Object.fromEntries(Object.entries(planned.biases).filter(([name]) => quantized.has(name)));
    return { ...planned, plan, biases, model: withBiases(this.of(planned).float, biases) };
  }

  /** Carries a plan out. Gives the entries of nodes that are quantized dynamically too. */
  quantize(planned: PlannedModel): { readonly model: Model; readonly plan: QuantizationPlan } {
    const { allowsOthers, keptFloat } = this.#options;
    return carryOut(planned, allowsOthers ? (node) => planned.bodies.get(node.name) ?? keptFloat(node) : undefined);
  }

  #planStatic(model: Model, ranges: RangeSource, { range, ranges: own, weights, float, others }: Choices): QuantizationPlan {
    const rangeOf = (value: string) => ranges.rangeOf(value, own.get(value) ?? range);
    const options: StaticOptions = { ...this.#options.settings, ...weights, method: own.size > 0 ? `${rangeLabel(range)}, ${own.size} of their own` : rangeLabel(range) };
    return planStatic(model, this.#select(model, leftOut({ float, others })), this.#options.types, rangeOf, options);
  }

  #select(model: Model, left: ReadonlyMap<string, string>): Selection {
    const keptFloat = (node: Node) => this.#options.keptFloat(node) ?? left.get(node.name) ?? this.#options.unplanned.get(node.name);
    return selectNodes(model.graph, this.#options.types, { opset: opsetOf(model), keptFloat });
  }
}

/** Why what scales channels for products stays in float. */
const SCALES_CHANNELS = 'it scales channels before they are quantized';

/** What is not static, with the reasons. */
export function leftOut({ float, others }: Pick<Choices, 'float' | 'others'>): Map<string, string> {
  return new Map([...float, ...[...others].map(([name, { reason }]) => [name, reason] as const)]);
}

const opsetOf = (model: Model) => model.opsets.get('') ?? 1;

/** Why nodes in bodies are quantized dynamically in a model whose other nodes are static. */
const REASON = 'quantized dynamically, because static quantization does not reach it';

/**
 * The quantized model, and the plan with all that became of its nodes. Nodes in bodies are quantized dynamically where `inBodies` is given and
 * does not say why not.
 */
export function carryOut(
  { model, plan, others, dynamicOptions }: Pick<PlannedModel, 'model' | 'plan' | 'others' | 'dynamicOptions'>,
  inBodies: ((node: Node) => string | undefined) | undefined,
): { readonly model: Model; readonly plan: QuantizationPlan } {
  const quantized = applyStaticPlan(model, plan);
  const outside = new Set(quantized.graph.nodes);
  const keptInBodies = new Map<string, string>();
  const keptFloat = (node: Node) => {
    if (outside.has(node)) return others.get(node.name)?.form === 'dynamic' ? undefined : 'static quantization decides about it';
    if (node.opType === 'Conv' || !inBodies) return 'it stays float in bodies';
    const kept = inBodies(node);
    if (kept !== undefined && isComputeOperator(node.opType)) keptInBodies.set(node.name, kept);
    return tooOldFor(node, model) ?? kept;
  };
  const added = planDynamic(selectDynamic(quantized.graph, new Map(), { keptFloat, opTypes: ['Conv'] }), dynamicOptions);
  const dynamic = added.nodes.filter(({ decision }) => decision !== 'float');
  const namesIn = (wanted: OtherNode['form']) => new Set([...others].flatMap(([name, { form }]) => (form === wanted ? [name] : [])));
  const [blocks, stored] = [namesIn('blocks'), namesIn('stored')];
  const entries = new Map<string, PlannedNode>(dynamic.map((node) => [node.name, { ...node, reason: others.get(node.name)?.reason ?? node.reason ?? REASON }]));
  for (const node of added.nodes) if (keptInBodies.has(node.name)) entries.set(node.name, node);
  for (const { name, opType } of plan.nodes) {
    const other = others.get(name);
    if (other && other.form !== 'dynamic') entries.set(name, { name, opType, decision: 'weights-only', reason: other.reason, ...(other.form === 'blocks' && { kernel: 'MatMulNBits' }) });
  }
  const planned = new Set(plan.nodes.map(({ name }) => name));
  const standIns = new Set(model.graph.nodes.filter(isBodyInputs).map(({ name }) => name));
  const shown = standIns.size > 0 ? plan.nodes.filter(({ name }) => !standIns.has(name)) : plan.nodes;
  const nodes = [...shown.map((node) => entries.get(node.name) ?? node), ...[...entries.values()].filter(({ name }) => !planned.has(name))];
  const withDynamic = dynamic.length > 0 ? applyDynamicPlan(quantized, added) : quantized;
  const inBlocks = blocks.size > 0 ? withBlocks(withDynamic, blocks) : withDynamic;
  return {
    model: guardCaptures(closeBodies(stored.size > 0 ? { ...inBlocks, graph: withStoredWeights(inBlocks.graph, stored) } : inBlocks)),
    plan: entries.size > 0 || standIns.size > 0 ? { ...plan, nodes, scales: { ...plan.scales, ...(dynamic.length > 0 ? added.scales : {}) } } : plan,
  };
}

function withBlocks(model: Model, names: ReadonlySet<string>): Model {
  const opsets = new Map(model.opsets).set(CONTRIB, model.opsets.get(CONTRIB) ?? 1);
  return { ...model, opsets, graph: withBlockProducts(model.graph, names) };
}

const CONTRIB = 'com.microsoft';
