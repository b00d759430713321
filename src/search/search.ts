import type { NodeTime } from '../evaluation/profile-nodes.js';
import { initializerBytes } from '../graph/initializer-bytes.js';
import type { Node } from '../graph/model.js';
import { medianRatioInterval, statsOf, type MedianInterval } from '../metrics/statistics.js';
import type { Change } from '../passes/pass.js';
import type { ProgressListener } from '../progress.js';
import { isComputeOperator } from '../runtime/kernels.js';
import { stageModel } from '../runtime/staged-model.js';
import { chooseRanges } from './choose-ranges.js';
import { fastestForms, type AssignmentCosts, type FormCost } from './fastest-assignment.js';
import { measureNoise, profileModel, timeModels } from './measure.js';
import { OTHER_FORMS, type Choices, type OtherForm, type PlannedModel, type Planner, type WeightForm } from './planner.js';
import type { RangeSource } from './range-source.js';
import { otherFormTime, timeTable } from './time-table.js';
import { describeForms, FORM_NAMES, measuredReason, weightsLabel } from './wording.js';
import { judgeModels, type Trial, type TrialJob, type TrialRun } from './trials.js';

/** What is asked of a plan. */
export interface SearchGoal {
  /** SQNR in dB that every output is to have on unseen samples. */
  readonly minSqnrDb: number;
  /** What is asked on top on the samples that judge, which flatter. */
  readonly marginDb: number;
  /** Largest drop of the task metric, in its unit, instead of the SQNR; needs labels. */
  readonly maxDrop: number | undefined;
  readonly budget: SearchBudget;
  readonly threads: number;
  readonly prefer: Preference;
  /** Whether nodes may take other forms than static. */
  readonly mixes: boolean;
  /** How errors are judged: as this machine's kernels compute, unless the model is for another machine. */
  readonly run: TrialRun;
  /** Other forms of weights that may be tried where this machine's sums of products saturate. */
  readonly otherWeights: readonly WeightForm[];
}

/** How much is measured. */
export interface SearchBudget {
  /** Time in which ranges are tried tensor by tensor. */
  readonly rangesMs: number;
  /** Whether they are tried although the error budget is kept without. */
  readonly rangesAlways: boolean;
  /** Time in which the noise of nodes is measured, and runs for it at most. */
  readonly noiseMs: number;
  readonly noiseRuns: number;
  /** Time in which plans and the float model are timed in turn. */
  readonly timingMs: number;
  /** How many times float time counts in the assignments that are tried: measured parts do not add up to the whole exactly. */
  readonly floatBiases: readonly number[];
}

/** What the best plan is, among those inside the error budget. */
export type Preference = 'speed' | 'integer' | 'size';

/** A plan that was tried, with its figures. */
export interface SearchCandidate {
  readonly label: string;
  /** Nodes that multiply and that run on integers. */
  readonly integerNodes: number;
  /** SQNR of the worst output on the samples that judged; null where it could not be had. */
  readonly sqnrDb: number | null;
  /** Drop of the task metric on them; null without labels. */
  readonly drop: number | null;
  /** Time of the float model over its own; null where it was not timed. */
  readonly speedup: number | null;
  readonly speedupInterval: MedianInterval | null;
  /** Bytes of its constants. */
  readonly weightBytes: number;
  readonly chosen: boolean;
}

/** What a search found. */
export interface SearchResult {
  readonly planned: PlannedModel;
  readonly choices: Choices;
  readonly candidates: readonly SearchCandidate[];
  /** Time of the float model over that of the float model after clean-up. */
  readonly cleanSpeedup: MedianInterval | null;
  readonly changes: readonly Change[];
}

const ALL_STATIC = 'all static';


/** Rounds in which the noise that is allowed shrinks because the nodes' noises together came to more than their sum. */
const MAX_TIGHTENINGS = 3;

/** What a plan with fewer integer nodes must win in time to be kept instead of one with more: less is within the noise of timing. */
const MIN_GAIN = 1.02;

/** What counts as faster than float. */
const FASTER = 1.05;

/** Error that this machine's kernels may add to the rounding before other weights are tried. */
const SATURATION_DB = 1;

/** Where the budget is a drop of the task metric: noise that is allowed first, and by how much less in each round. */
const FIRST_DROP_BUDGET_DB = 10;
const DROP_STEP_DB = 6;

/** Share of the margin that a plan must keep which is faster than float where those that keep all of it are not. */
const LEAST_MARGIN = 0.6;

/** Plans that are timed at most. */
const MAX_TIMED = 10;
const CLEAN_BUDGET_MS = 1_500;

interface Contender extends Trial {
  readonly label: string;
  readonly choices: Choices;
  readonly planned: PlannedModel;
  readonly weightBytes: number;
  /** Nothing was left in float, or put into another form, by measurement. */
  readonly allStatic: boolean;
  /** Equal for plans that are carried out alike. */
  readonly key: string;
}

/** A contender with its time. */
interface Timed extends Contender {
  readonly speedup: MedianInterval | null;
}

/**
 * Looks for the fastest plan inside an error budget, on this machine: which nodes are static, which dynamic and which stay in float, with which
 * ranges and weights, judged at the model's outputs and by the clock.
 */
export class Search {
  readonly #job: TrialJob;
  readonly #planner: Planner;
  readonly #ranges: RangeSource;
  readonly #goal: SearchGoal;
  readonly #onProgress: ProgressListener | undefined;
  readonly #isStopped: () => boolean;
  readonly #contenders: Contender[] = [];
  readonly #changes: Change[] = [];
  #floatMs = 1;

  constructor(job: TrialJob, planner: Planner, ranges: RangeSource, goal: SearchGoal, control: { readonly onProgress?: ProgressListener | undefined; readonly isStopped: () => boolean }) {
    this.#job = job;
    this.#planner = planner;
    this.#ranges = ranges;
    this.#goal = goal;
    this.#onProgress = control.onProgress;
    this.#isStopped = control.isStopped;
  }

  /** Runs the search from the plan with all nodes on integers. Where it is stopped, gives the best so far. */
  async run(start: Choices): Promise<SearchResult> {
    const cleanSpeedup = await this.#timeFloat();
    let choices = start;
    await this.#try([{ label: ALL_STATIC, choices, allStatic: true }]);
    for (const step of [this.#tryWeights, this.#tryRanges]) {
      if (this.#isStopped()) break;
      choices = (await step.call(this, choices)) ?? choices;
    }
    if (!this.#isStopped()) await this.#tryForms(choices);
    const timed = await this.#time();
    const best = this.#pick(timed);
    return {
      planned: best.planned,
      choices: best.choices,
      candidates: this.#report(timed, best),
      cleanSpeedup,
      changes: [...this.#changes, ...describe(best, timed)],
    };
  }

  get #wanted(): number {
    return this.#goal.minSqnrDb + this.#goal.marginDb;
  }

  #keepsBudget({ sqnrDb, drop }: Trial): boolean {
    const { maxDrop } = this.#goal;
    return maxDrop === undefined ? sqnrDb >= this.#wanted : drop !== null && drop <= maxDrop;
  }

  async #timeFloat(): Promise<MedianInterval | null> {
    const { host, baseline } = this.#job;
    const clean = await stageModel(host, this.#planner.float, 'clean-float.onnx', baseline.externalDataFolder);
    const [times] = await timeModels(this.#job, [clean], this.#goal.threads, CLEAN_BUDGET_MS);
    this.#floatMs = Math.max(1e-3, statsOf(times!.candidateMs)?.median ?? 1);
    return medianRatioInterval(times!.baselineMs, times!.candidateMs);
  }

  /** Plans and judges choices, and keeps them for the end. Those that are known already, or bring nothing to integers, are passed over. */
  async #try(those: readonly Pick<Contender, 'label' | 'choices' | 'allStatic'>[]): Promise<Contender[]> {
    const planned = those.flatMap((one) => {
      const plan = this.#planner.plan(this.#ranges, one.choices);
      const key = planKey(plan);
      return integerNodes(plan) > 0 && !this.#contenders.some((known) => known.key === key) ? [{ ...one, planned: plan, key }] : [];
    });
    if (planned.length === 0) return [];
    const models = planned.map((one) => this.#planner.quantize(one.planned).model);
    const judged = await judgeModels(this.#job, models, this.#goal.run);
    const contenders = planned.map((one, i): Contender => ({ ...one, ...judged[i]!, weightBytes: initializerBytes(models[i]!) }));
    this.#contenders.push(...contenders);
    this.#tell();
    return contenders;
  }

  /** Where sums of products saturate on this machine: weights in fewer bits, or unsigned ones, for which it adds exactly. */
  async #tryWeights(choices: Choices): Promise<Choices | undefined> {
    const { otherWeights, run } = this.#goal;
    const [here] = this.#contenders;
    if (otherWeights.length === 0 || run !== 'here' || !here) return undefined;
    const [simulated] = await judgeModels(this.#job, [this.#planner.quantize(here.planned).model], 'simulated');
    const exact = simulated!.sqnrDb;
    if (here.sqnrDb >= exact - SATURATION_DB) return undefined;
    const tried = await this.#try(otherWeights.map((weights) => ({ label: `${ALL_STATIC}, ${weightsLabel(weights)}`, choices: { ...choices, weights }, allStatic: true })));
    // Unsigned weights have slower kernels: they are tried as a whole only, unless nothing else is quiet enough.
    const signed = tried.filter(({ choices: { weights } }) => weights.weightType === 'int8');
    const best = [...signed, here].some(({ sqnrDb }) => sqnrDb >= this.#goal.minSqnrDb) ? signed[0] : [...tried].sort((a, b) => b.sqnrDb - a.sqnrDb)[0];
    if (!best || best.sqnrDb <= here.sqnrDb + SATURATION_DB) return undefined;
    const message = `${weightsLabel(best.choices.weights)} instead of s8 in 8 bits: sums of u8 × s8 products saturate on this machine, ${here.sqnrDb.toFixed(1)} → ${best.sqnrDb.toFixed(1)} dB (${exact.toFixed(1)} dB where they are exact; name the --target to rule this out)`;
    this.#changes.push({ pass: 'weights', names: [], message });
    return best.choices;
  }

  /** Ranges tensor by tensor, where the one method for all is far too noisy. */
  async #tryRanges(choices: Choices): Promise<Choices | undefined> {
    const before = this.#contenders.find((one) => one.choices === choices)!;
    const { rangesAlways, rangesMs } = this.#goal.budget;
    if (before.sqnrDb >= this.#goal.minSqnrDb && !rangesAlways) return undefined;
    const ranges = await chooseRanges(this.#job, this.#planner, this.#ranges, before, { threads: this.#goal.threads, budgetMs: rangesMs });
    if (ranges.size === 0) return undefined;
    const [found] = await this.#try([{ label: `${ALL_STATIC}, ranges tensor by tensor`, choices: { ...choices, ranges }, allStatic: true }]);
    if (!found || found.sqnrDb <= before.sqnrDb) return undefined;
    const message = `${ranges.size} tensors take another range than by ${choices.range.method}: ${before.sqnrDb.toFixed(1)} → ${found.sqnrDb.toFixed(1)} dB`;
    this.#changes.push({ pass: 'ranges', names: [...ranges.keys()], message });
    return found.choices;
  }

  /** Which nodes are static, dynamic or float: first all that can be in one form, then node by node. */
  async #tryForms(choices: Choices): Promise<void> {
    const start = this.#contenders.find((one) => one.choices === choices)!;
    const selection = this.#planner.select();
    const { graph } = this.#planner.float;
    const wholes = (this.#goal.mixes ? OTHER_FORMS : []).map((form) => {
      const nodes = this.#planner.nodesFor(form).filter(({ name }) => !this.#planner.fixed.has(name));
      const others = new Map([...choices.others, ...nodes.map(({ name }) => [name, { form, reason: `${form === 'dynamic' ? 'quantized dynamically' : 'its weight is in blocks'}, which was better than static by measurement` }] as const)]);
      const float = new Map([...selection.nodes.keys()].flatMap(({ name }) => (others.has(name) || this.#planner.fixed.has(name) ? [] : [[name, 'left in float by measurement'] as const])));
      return { form, nodes, others, float };
    }).filter(({ nodes }) => nodes.length > 0);
    const variants = await this.#try(
      wholes.flatMap(({ form, others, float }) => [
        { label: `products ${FORM_NAMES[form]}, the rest static`, choices: { ...choices, others }, allStatic: false },
        { label: `products ${FORM_NAMES[form]}, the rest float`, choices: { ...choices, others, float }, allStatic: false },
      ]),
    );
    if (this.#isStopped() || this.#goal.prefer === 'integer') return;
    const times = timeTable(graph, await this.#profile(this.#planner.float), await this.#profile(this.#planner.quantize(start.planned).model));
    const forms = new Map<string, FormCost[]>();
    for (const { form, nodes, float } of wholes) {
      const alone = variants.find((one) => one.choices.float === float) ?? variants.find((one) => [...one.choices.others.values()].some((other) => other.form === form));
      if (alone) for (const [name, cost] of await this.#costsOf(form, nodes, alone)) forms.set(name, [...(forms.get(name) ?? []), cost]);
    }
    const { threads, budget } = this.#goal;
    const limits = { threads, floatMs: this.#floatMs, budgetMs: budget.noiseMs, runs: budget.noiseRuns };
    const noise = this.#keepsBudget(start) ? new Map<string, number>() : inProportion(await measureNoise(this.#job, this.#planner, start.planned, limits), start.sqnrDb);
    await this.#tryAssignments(choices, { times, noise, forms });
  }

  async #tryAssignments(choices: Choices, costs: AssignmentCosts): Promise<void> {
    const selection = this.#planner.select();
    let budgetDb = this.#goal.maxDrop === undefined ? this.#wanted : FIRST_DROP_BUDGET_DB;
    for (let round = 0; round <= MAX_TIGHTENINGS && !this.#isStopped(); round++) {
      const those = this.#goal.budget.floatBiases.map((bias) => {
        const { fixed, float: model } = this.#planner;
        const assigned = [...fastestForms(model.graph, selection, costs, 10 ** (-budgetDb / 10), bias)].filter(([{ name }]) => !fixed.has(name));
        const kept = [...choices.others].filter(([name, { form }]) => fixed.has(name) || form === 'table');
        const reasonOf = (node: Node) => measuredReason(node, selection.nodes.get(node), costs);
        const float = new Map(assigned.flatMap(([node, form]) => (form === 'float' ? [[node.name, reasonOf(node)] as const] : [])));
        const others = new Map([...kept, ...assigned.flatMap(([node, form]) => (form === 'float' ? [] : [[node.name, { form, reason: reasonOf(node) }] as const]))]);
        return { label: `node by node${bias === 1 ? '' : `, float time × ${bias}`}`, choices: { ...choices, float, others }, allStatic: false };
      });
      const tried = await this.#try(those);
      if (tried.length === 0) return;
      if (costs.noise.size === 0 || tried.some((one) => this.#keepsBudget(one))) return;
      budgetDb += this.#goal.maxDrop === undefined ? Math.max(this.#wanted - Math.max(...tried.map(({ sqnrDb }) => sqnrDb)), 1) : DROP_STEP_DB;
    }
  }

  /** Times of nodes in a model in which they are all in one form, and an equal share of its noise for each. */
  async #costsOf(form: OtherForm, nodes: readonly Node[], { planned, sqnrDb }: Contender): Promise<[string, FormCost][]> {
    const timeOf = otherFormTime(await this.#profile(this.#planner.quantize(planned).model));
    const noise = 10 ** (-sqnrDb / 10) / nodes.length;
    const readers = (value: string) => nodes.filter(({ inputs }) => inputs[0] === value).length;
    return nodes.map((node) => [node.name, { form, timeMs: timeOf(node, readers), noise }]);
  }

  async #profile(model: Parameters<typeof profileModel>[1]): Promise<NodeTime[]> {
    return profileModel(this.#job, model, this.#floatMs, this.#goal.threads);
  }

  /** Times the plans that may win, in turn with the float model. */
  async #time(): Promise<Timed[]> {
    const { host, baseline } = this.#job;
    const quietest = [...this.#contenders].sort((a, b) => b.sqnrDb - a.sqnrDb);
    const good = this.#contenders.filter((one) => this.#keepsBudget(one));
    const chosen = [...new Set([this.#contenders[0]!, ...good, ...quietest])].slice(0, MAX_TIMED);
    const staged = [];
    for (const [i, { planned }] of chosen.entries()) staged.push(await stageModel(host, this.#planner.quantize(planned).model, `search-${i}.onnx`, baseline.externalDataFolder));
    const times = await timeModels(this.#job, staged, this.#goal.threads, this.#goal.budget.timingMs);
    return chosen.map((one, i) => ({ ...one, speedup: medianRatioInterval(times[i]!.baselineMs, times[i]!.candidateMs) }));
  }

  /**
   * The best plan that keeps the budget with its margin. Where none of them is faster than float, the quietest faster one that keeps at least
   * a part of the margin; where none keeps the budget, the quietest that is faster, or the quietest of all.
   */
  #pick(timed: readonly Timed[]): Timed {
    const good = timed.filter((one) => this.#keepsBudget(one));
    const fast = timed.filter((one) => speedOf(one) >= FASTER);
    const quietest = (plans: readonly Timed[]) => plans.reduce((a, b) => (b.sqnrDb > a.sqnrDb ? b : a));
    if (good.length === 0) return quietest(fast.length > 0 ? fast : timed);
    const { maxDrop, minSqnrDb, marginDb } = this.#goal;
    if (maxDrop === undefined && this.#goal.prefer === 'speed' && !good.some((one) => fast.includes(one))) {
      const nearly = fast.filter(({ sqnrDb }) => sqnrDb >= minSqnrDb + LEAST_MARGIN * marginDb);
      if (nearly.length > 0) return quietest(nearly);
    }
    if (this.#goal.prefer === 'size') return good.reduce((a, b) => (b.weightBytes < a.weightBytes ? b : a));
    const fastest = Math.max(...good.map(speedOf));
    const equal = this.#goal.prefer === 'integer' ? good : good.filter((one) => fastest <= MIN_GAIN * speedOf(one));
    return equal.reduce((a, b) => (integerNodes(b.planned) > integerNodes(a.planned) ? b : a));
  }

  #report(timed: readonly Timed[], best: Timed): SearchCandidate[] {
    return this.#contenders.map((one) => {
      const { speedup = null } = timed.find(({ planned }) => planned === one.planned) ?? {};
      return {
        label: one.label,
        integerNodes: integerNodes(one.planned),
        sqnrDb: Number.isFinite(one.sqnrDb) ? one.sqnrDb : null,
        drop: one.drop,
        speedup: speedup?.median ?? null,
        speedupInterval: speedup,
        weightBytes: one.weightBytes,
        chosen: one.planned === best.planned,
      };
    });
  }

  #tell(): void {
    const quietest = Math.max(...this.#contenders.map(({ sqnrDb }) => sqnrDb));
    const stage = `searching: ${this.#contenders.length} plans, the best ${quietest.toFixed(1)} dB`;
    this.#onProgress?.({ stage, done: this.#contenders.length, unit: 'plans' });
  }
}

function describe(best: Timed, timed: readonly Timed[]): Change[] {
  const { float, others } = best.choices;
  if (best.allStatic) return [];
  const all = timed.findLast(({ allStatic }) => allStatic);
  const ratio = (one: Timed | undefined) => (one?.speedup ? `${one.speedup.median.toFixed(2)} ×` : 'not timed');
  const message = `measured on this machine: ${describeForms(best.choices)}, ${ratio(best)} the speed of float at ${best.sqnrDb.toFixed(1)} dB; all on integers ${ratio(all)} at ${all ? `${all.sqnrDb.toFixed(1)} dB` : 'unknown'}`;
  return [{ pass: 'search', names: [...float.keys(), ...others.keys()], message }];
}

/** The noises of nodes alone, in proportion so that they add up to what all of them together make. */
function inProportion(noise: ReadonlyMap<string, number>, sqnrDb: number): Map<string, number> {
  const sum = [...noise.values()].reduce((total, power) => total + power, 0);
  const factor = sum > 0 && Number.isFinite(sqnrDb) ? 10 ** (-sqnrDb / 10) / sum : 1;
  return new Map([...noise].map(([name, power]) => [name, power * factor]));
}

const speedOf = ({ speedup }: Timed) => speedup?.median ?? 0;

/** Nodes that multiply and run on integers by plan. */
function integerNodes({ plan, others }: PlannedModel): number {
  return plan.nodes.filter(({ name, opType, decision }) => isComputeOperator(opType) && (decision === 'quantized' || others.has(name))).length;
}

function planKey({ plan, others, biases }: PlannedModel): string {
  const forms = [...others].map(([name, { form }]) => [name, form]);
  return JSON.stringify([plan.tensors, plan.weightType, plan.nodes.map(({ decision, constants }) => [decision, constants]), forms, Object.keys(biases)]);
}
