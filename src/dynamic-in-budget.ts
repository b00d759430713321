import { QUANTIZE_DEFAULTS } from './defaults.js';
import type { Model, Node } from './graph/model.js';
import type { Change } from './passes/pass.js';
import { planDynamic, type DynamicOptions } from './quantization/dynamic-plan.js';
import { applyDynamicPlan } from './quantization/dynamic-recipe.js';
import { selectDynamic, type DynamicSelectionOptions } from './quantization/dynamic-select.js';
import type { ValueTypes } from './quantization/select.js';
import type { QuantizeOptions } from './quantize-options.js';
import { multipliesExactly } from './runtime/machine.js';
import { judgeModels, type Trial, type TrialJob } from './search/trials.js';

/** Groups that are judged one by one at most; more nodes are judged together with the others of their operator. */
const MAX_GROUPS = 24;

/** Samples that judge at most: a plan with few nodes more or less is asked for coarsely. */
const MAX_SAMPLES = 8;

/** Error that saturating sums may add to the rounding before weights in fewer bits are taken. */
const SATURATION_DB = 1;

/** Says that weights in fewer bits were taken. */
export const REDUCED_WEIGHTS: Change = {
  pass: 'weights',
  names: [],
  message: 's8 in 7 bits instead of 8: sums of u8 × s8 products saturate on this machine, and nodes that are quantized dynamically would be too noisy (name the --target to rule this out)',
};

/** What counts as no difference from the model with nothing quantized. */
const SAME_DB = 0.01;

/** Nodes that would be quantized dynamically, and what judges them. */
export interface DynamicTrial {
  readonly model: Model;
  readonly types: ValueTypes;
  readonly selection: DynamicSelectionOptions;
  readonly settings: DynamicOptions;
  /** Weights in fewer bits, which may be tried where this machine's sums of products saturate. */
  readonly reduced: DynamicOptions | undefined;
  readonly job: TrialJob;
  readonly options: Pick<QuantizeOptions, 'minSqnr' | 'maxDrop'>;
  /** Asked in dB on top of the error budget, for samples that are not seen and for what else will be quantized. */
  readonly marginDb: number;
}

/** What of them keeps the error budget, and with which weights. */
export interface DynamicInBudget {
  readonly settings: DynamicOptions;
  /** Why nodes stay float, by name; empty where all may be quantized. */
  readonly left: ReadonlyMap<string, string>;
}

interface Group {
  readonly nodes: readonly Node[];
  readonly opType: string;
  /** Noise power of the worst output over its signal when nothing else is quantized; 0 where no sample shows a difference. */
  readonly noise: number;
}

/** The settings, with weights in fewer bits where sums of products saturate on this machine and the user has left the weights to qdq. */
export function reducedSettings({ target, weightType, reduceRange }: QuantizeOptions, settings: DynamicOptions): DynamicOptions | undefined {
  const isFree = target === undefined && weightType === undefined && reduceRange === undefined;
  return isFree && multipliesExactly() === false ? { ...settings, reduceRange: true } : undefined;
}

/**
 * Leaves nodes in float that would be quantized dynamically, so that the error budget is kept: the noisiest first. Nodes whose rounding no sample
 * shows, as in branches that none takes, follow the others of their operator.
 */
export async function keepInBudget(trial: DynamicTrial): Promise<DynamicInBudget> {
  const { model, types, selection, options, marginDb } = trial;
  const { minSqnr = QUANTIZE_DEFAULTS.minSqnr, maxDrop } = options;
  const nodes = selectDynamic(model.graph, types, selection).flatMap((choice) => (choice.form ? [choice.node] : []));
  if (nodes.length === 0) return { settings: trial.settings, left: new Map() };
  const wantedDb = minSqnr + marginDb;
  const job = { ...trial.job, samples: trial.job.samples.slice(0, MAX_SAMPLES) };
  const judge = (settings: DynamicOptions, sets: readonly (readonly Node[])[]) => judgeModels(job, sets.map((set) => onlyThese(trial, settings, set)), 'here');
  const keeps = ({ sqnrDb, drop }: Trial) => (maxDrop === undefined || drop === null ? sqnrDb >= wantedDb : drop <= maxDrop);

  let { settings } = trial;
  let [together] = await judge(settings, [nodes]);
  if (!keeps(together!) && trial.reduced) {
    const [reduced] = await judge(trial.reduced, [nodes]);
    if (reduced!.sqnrDb > together!.sqnrDb + SATURATION_DB) [settings, together] = [trial.reduced, reduced];
  }
  if (keeps(together!)) return { settings, left: new Map() };

  const sets = groupsOf(nodes);
  const [clean, ...alone] = await judge(settings, [[], ...sets]);
  const noiseOf = ({ sqnrDb }: Trial) => (sqnrDb >= clean!.sqnrDb - SAME_DB ? 0 : 10 ** (-sqnrDb / 10));
  const groups = sets.map((set, i): Group => ({ nodes: set, opType: set[0]!.opType, noise: noiseOf(alone[i]!) }));
  const loudFirst = groups.filter(({ noise }) => noise > 0).sort((a, b) => b.noise - a.noise);
  const allowed = 10 ** (-wantedDb / 10);
  let rest = loudFirst;
  let sum = rest.reduce((total, { noise }) => total + noise, 0);
  while (rest.length > 0 && maxDrop === undefined && sum > allowed) {
    sum -= rest[0]!.noise;
    rest = rest.slice(1);
  }
  const isKept = async () => keeps((await judge(settings, [rest.flatMap((group) => group.nodes)]))[0]!);
  while (rest.length > 0 && (rest.length === loudFirst.length || !(await isKept()))) rest = rest.slice(1);

  const loud = loudFirst.slice(0, loudFirst.length - rest.length);
  const loudTypes = new Set(loud.map(({ opType }) => opType));
  const unseen = groups.filter(({ noise, opType }) => noise === 0 && loudTypes.has(opType));
  const why = maxDrop === undefined ? `its noise is too much for the ${wantedDb} dB that are asked of the samples that judge` : 'the task metric would drop by more than was allowed';
  const left = [
    ...loud.flatMap((group) => group.nodes.map((node) => [node.name, `measured: quantized dynamically, ${why}`] as const)),
    ...unseen.flatMap((group) => group.nodes.map((node) => [node.name, `no sample shows what its rounding does, and that of other ${node.opType} nodes is too much`] as const)),
  ];
  return { settings, left: new Map(left) };
}

function onlyThese({ model, types, selection }: DynamicTrial, settings: DynamicOptions, nodes: readonly Node[]): Model {
  const among = new Set(nodes);
  const keptFloat = (node: Node) => selection.keptFloat(node) ?? (among.has(node) ? undefined : 'left out');
  return applyDynamicPlan(model, planDynamic(selectDynamic(model.graph, types, { ...selection, keptFloat }), settings));
}

function groupsOf(nodes: readonly Node[]): readonly (readonly Node[])[] {
  if (nodes.length <= MAX_GROUPS) return nodes.map((node) => [node]);
  const byOperator = new Map<string, Node[]>();
  for (const node of nodes) byOperator.set(node.opType, [...(byOperator.get(node.opType) ?? []), node]);
  return [...byOperator.values()];
}
