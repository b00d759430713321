import { performance } from 'node:perf_hooks';
import type { NodeTime } from '../evaluation/profile-nodes.js';
import type { PairedTimes } from '../evaluation/time.js';
import { constantBytes } from '../graph/constant-bytes.js';
import type { Model, Node } from '../graph/model.js';
import { medianRatioInterval, statsOf, type MedianInterval } from '../metrics/statistics.js';
import type { Change } from '../passes/pass.js';
import type { ProgressListener } from '../progress.js';
import { stageModel, type StagedModel } from '../runtime/staged-model.js';
import { choosePlan, FASTER, keepsBudget } from './choose-plan.js';
import { chooseRanges } from './choose-ranges.js';
import { describe, inProportion, integerNodes, planKey, type Contender, type Timed } from './contender.js';
import { assignmentTime, fastestForms, type AssignmentCosts, type FormCost } from './fastest-assignment.js';
import { measureNoise, profileModel, timeModels } from './measure.js';
import { reasonOfNoGain } from './no-gain.js';
import { proposeMigrations, scaledMeans, type Migration, type RangeSamples } from './migrate-scales.js';
import { OTHER_FORMS, type Choices, type OtherForm, type PlannedModel, type Planner } from './planner.js';
import type { RangeSource } from './range-source.js';
import type { SearchCandidate, SearchGoal, SearchResult } from './search-result.js';
import { otherFormTime, timeTable } from './time-table.js';
import { FORM_NAMES, measuredReason, weightsLabel } from './wording.js';
import { judgeModels, judgeStaged, type Trial, type TrialJob } from './trials.js';

/** The plan that the search starts from, in words. */
const ALL_STATIC = 'all static';
export const ALL_DYNAMIC = 'all dynamic';

/** Rounds in which the noise that is allowed shrinks because the nodes' noises together came to more than their sum. */
const MAX_TIGHTENINGS = 3;

/** Error that this machine's kernels may add to the rounding before other weights are tried. */
const SATURATION_DB = 1;

/** Where the budget is a drop of the task metric: noise that is allowed first, and by how much less in each round. */
const FIRST_DROP_BUDGET_DB = 10;
const DROP_STEP_DB = 6;

/** How much quieter than asked for an assignment must be for a louder and faster one to be looked for. */
const MIN_ROOM_DB = 1.5;

/** What static nodes make of the noise at least, where the shares of other forms would leave them less. */
const LEAST_STATIC_SHARE = 0.1;

/** What is asked beyond what a plan lacked on samples that it was confirmed on. */
const BEYOND_MISSING_DB = 1;

/** What nodes in bodies must win at the worst output to stay in float. */
const BODY_GAIN_DB = 1;

/** What moved scales must win at the worst output to be kept, and how near the float model must stay to what it was. */
const MIGRATION_GAIN_DB = 1;
const SAME_FLOAT_DB = 60;

/** Nodes that are judged one by one at most, a session each. */
const MAX_JUDGED_ALONE = 12;

/** Noise that such nodes may come to where all else makes more than is allowed, as a multiple of that. */
const QUIET_SHARE = 1.25;

/** Room on disk for plans that were judged and may be timed. */
const MAX_STAGED_BYTES = 500e6;

/** Plans that are timed at most, and at least, however long a run takes. */
const MAX_TIMED = 10;
const LEAST_PLANS_TIMED = 3;

/** Pairs of runs that timing a plan takes at least, warm-up included; for a first look at all plans there is this share of the time. */
const LEAST_PAIRS = 7;
const FIRST_SHARE = 0.6;

/** Repetitions of timings that have not decided, the plans that they are for, and how far apart the ends of an interval may be among equals. */
const MAX_REPETITIONS = 4;
const MAX_RIVALS = 2;
const MAX_WIDTH = 1.1;
const CLEAN_BUDGET_MS = 1_500;

/** Choices to try. */
interface Proposal extends Pick<Contender, 'label' | 'choices' | 'allStatic'> {
  /** Whether it may bring nothing to integers. */
  readonly isFloat?: boolean;
}

/** Why a plan that was chosen is given up: by how many dB it misses the budget on samples that it was confirmed on, or that it is slower than float. */
export interface Refutation {
  readonly planned: PlannedModel;
  readonly missingDb: number;
}

/** What a search may use beside models, and how it is watched and stopped. */
export interface SearchControl {
  /** Where further ranges come from; without, no scales are moved. */
  readonly rangeSamples?: RangeSamples;
  readonly onProgress?: ProgressListener | undefined;
  readonly isStopped: () => boolean;
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
  readonly #rangeSamples: RangeSamples | undefined;
  readonly #onProgress: ProgressListener | undefined;
  readonly #isStopped: () => boolean;
  readonly #contenders: Contender[] = [];
  readonly #speedups = new Map<Contender, MedianInterval | null>();
  /** Plans that are not to be chosen: given up, or like another one that is quieter. */
  readonly #out = new Set<Contender>();
  readonly #changes: Change[] = [];
  readonly #times = new Map<Contender, PairedTimes>();
  readonly #begun = performance.now();
  #floatMs = 1;
  #stagedBytes = 0;
  #floatTimes: readonly NodeTime[] | undefined;
  #cleanSpeedup: MedianInterval | null = null;
  #leastDb: number;
  /** What nodes cost, and the choices that they were measured with. */
  #costs: { readonly choices: Choices; readonly costs: AssignmentCosts } | undefined;

  constructor(job: TrialJob, planner: Planner, ranges: RangeSource, goal: SearchGoal, control: SearchControl) {
    this.#job = job;
    this.#planner = planner;
    this.#ranges = ranges;
    this.#goal = goal;
    this.#rangeSamples = control.rangeSamples;
    this.#onProgress = control.onProgress;
    this.#isStopped = control.isStopped;
    this.#leastDb = goal.minSqnrDb + goal.flatteryDb;
  }

  /** Runs the search from the plan with all nodes on integers. Where it is stopped, gives the best so far. */
  async run(start: Choices, label = ALL_STATIC): Promise<SearchResult> {
    this.#cleanSpeedup = await this.#timeFloat();
    let choices = start;
    await this.#try([{ label, choices, allStatic: true }]);
    for (const step of [this.#tryWeights, this.#tryMigration, this.#tryRanges, this.#tryBodies]) {
      if (this.#isStopped()) break;
      choices = (await step.call(this, choices)) ?? choices;
    }
    if (!this.#isStopped()) await this.#tryForms(choices);
    if (!this.#isStopped()) await this.#tryFloat(choices);
    return this.#conclude();
  }

  /** The next best plan after one that did not prove right, or undefined where no other is left. Quieter ones are looked for where too few are known. */
  async next({ planned, missingDb }: Refutation): Promise<SearchResult | undefined> {
    const refuted = this.#contenders.find((one) => one.planned === planned)!;
    this.#out.add(refuted);
    if (missingDb > 0) this.#leastDb = Math.max(this.#leastDb, refuted.sqnrDb + missingDb + BEYOND_MISSING_DB);
    const isPromising = (one: Contender) => one.integerNodes > 0 && (this.#speedups.get(one)?.median ?? 0) >= FASTER && this.#keepsBudget(one) && !this.#out.has(one);
    if (missingDb > 0 && this.#costs && !this.#contenders.some(isPromising) && !this.#isStopped()) {
      const { choices, costs } = this.#costs;
      const noise = costs.noise.size > 0 ? costs.noise : await this.#noiseOf(choices, costs);
      this.#costs = { choices, costs: { ...costs, noise } };
      await this.#tryAssignments(choices, { ...costs, noise });
    }
    return this.#contenders.length > this.#out.size ? this.#conclude() : undefined;
  }

  async #conclude(): Promise<SearchResult> {
    const timed = await this.#time();
    const best = choosePlan(timed.filter((one) => !this.#out.has(one.contender)), { ...this.#goal, leastDb: this.#leastDb });
    const noGain = best.integerNodes === 0 ? reasonOfNoGain({ plans: timed, wantedDb: this.#wanted, maxDrop: this.#goal.maxDrop, floatMs: this.#floatMs, graph: this.#planner.of(best.choices).float.graph, times: this.#floatTimes ?? [] }) : null;
    return {
      planned: best.planned,
      choices: best.choices,
      label: best.label,
      sqnrDb: best.sqnrDb,
      candidates: this.#report(timed, best),
      cleanSpeedup: this.#cleanSpeedup,
      noGain,
      changes: [...this.#changes, ...this.#describeMigration(best), ...describe(best, timed)],
    };
  }

  get #wanted(): number {
    return Math.max(this.#goal.minSqnrDb + this.#goal.marginDb, this.#leastDb);
  }

  #keepsBudget(trial: Trial): boolean {
    return keepsBudget(trial, { ...this.#goal, leastDb: this.#leastDb });
  }

  #stage(model: Model, name: string): Promise<StagedModel> {
    return stageModel(this.#job.host, model, name, this.#job.baseline.externalDataFolder);
  }

  async #timeFloat(): Promise<MedianInterval | null> {
    const clean = await this.#stage(this.#planner.float, 'clean-float.onnx');
    const [times] = await timeModels(this.#job, [clean], this.#goal.threads, CLEAN_BUDGET_MS);
    this.#floatMs = Math.max(1e-3, statsOf(times!.candidateMs)?.median ?? 1);
    return medianRatioInterval(times!.baselineMs, times!.candidateMs);
  }

  /** Plans and judges choices, and keeps them for the end. Those that are known already, or bring nothing to integers, are passed over. */
  async #try(those: readonly Proposal[]): Promise<Contender[]> {
    const planned = those.flatMap((one) => {
      const plan = this.#planner.plan(this.#ranges, one.choices);
      const key = planKey(plan);
      const nodes = integerNodes(plan) + this.#planner.nodesInBodies().filter(({ name }) => !plan.bodies.has(name)).length;
      return (nodes > 0 || one.isFloat) && !this.#contenders.some((known) => known.key === key) ? [{ ...one, planned: plan, key, integerNodes: nodes }] : [];
    });
    if (planned.length === 0) return [];
    const staged: { model: StagedModel; weightBytes: number; keeps: boolean }[] = [];
    for (const [i, one] of planned.entries()) {
      const { model } = this.#planner.quantize(one.planned);
      const weightBytes = constantBytes(model.graph);
      // Those that are timed later need not be made again, where there is room.
      const keeps = this.#stagedBytes + weightBytes <= MAX_STAGED_BYTES;
      if (keeps) this.#stagedBytes += weightBytes;
      staged.push({ model: await this.#stage(model, keeps ? `plan-${this.#contenders.length + i}.onnx` : `trial-${i}.onnx`), weightBytes, keeps });
    }
    const judged = await judgeStaged(this.#job, staged.map(({ model }) => model), this.#goal.run);
    const contenders = planned.map((one, i): Contender => ({ ...one, ...judged[i]!, weightBytes: staged[i]!.weightBytes, staged: staged[i]!.keeps ? staged[i]!.model : undefined }));
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
    const showsHere = here.sqnrDb < exact - SATURATION_DB;
    // What is dynamic saturates in a simulation as well.
    const mayHide = here.planned.others.size + this.#planner.nodesInBodies().length > 0 && !this.#keepsBudget(here);
    if (!showsHere && !mayHide) return undefined;
    const tried = await this.#try(otherWeights.map((weights) => ({ label: `${ALL_STATIC}, ${weightsLabel(weights)}`, choices: { ...choices, weights }, allStatic: true })));
    // Unsigned weights have slower kernels: they are tried as a whole only, unless nothing else is quiet enough.
    const signed = tried.filter(({ choices: { weights } }) => weights.weightType === 'int8');
    const best = [...signed, here].some(({ sqnrDb }) => sqnrDb >= this.#goal.minSqnrDb) ? signed[0] : [...tried].sort((a, b) => b.sqnrDb - a.sqnrDb)[0];
    if (!best || best.sqnrDb <= here.sqnrDb + SATURATION_DB) return undefined;
    const message = `${weightsLabel(best.choices.weights)} instead of s8 in 8 bits: sums of u8 × s8 products saturate on this machine, ${here.sqnrDb.toFixed(1)} → ${best.sqnrDb.toFixed(1)} dB (${showsHere ? `${exact.toFixed(1)} dB where they are exact; ` : ''}name the --target to rule this out)`;
    this.#changes.push({ pass: 'weights', names: [], message });
    return best.choices;
  }

  /** Scales moved from activations into weights, where the budget is not kept without: with several shares, of which the best is kept. */
  async #tryMigration(choices: Choices): Promise<Choices | undefined> {
    const before = this.#contenders.find((one) => one.choices === choices);
    if (!before || !this.#rangeSamples || (this.#keepsBudget(before) && !this.#goal.budget.rangesAlways)) return undefined;
    const migrations = await proposeMigrations(this.#job, this.#planner, this.#rangeSamples);
    const sites = this.#planner.migrationSites();
    const tried = await this.#try(
      migrations.map((migration) => ({
        label: `${before.label}, scales moved into weights (α = ${migration.alpha})`,
        choices: { ...choices, migration, means: choices.means && scaledMeans(choices.means, sites, migration) },
        allStatic: true,
      })),
    );
    const [best] = [...tried].sort((a, b) => b.sqnrDb - a.sqnrDb);
    const gains = best !== undefined && best.sqnrDb > before.sqnrDb + MIGRATION_GAIN_DB && (await this.#staysSame(best.choices.migration!));
    // They are equally fast: the quietest stands for all.
    for (const one of tried) if (one !== best || !gains) this.#out.add(one);
    if (!gains) return undefined;
    return (await this.#trySignedAgain(best)) ?? best.choices;
  }

  /** Whether the float model gives what it gave before scales were moved, but for rounding. */
  async #staysSame({ float }: Migration): Promise<boolean> {
    const [judged] = await judgeModels(this.#job, [float], 'simulated');
    return judged!.sqnrDb >= SAME_FLOAT_DB;
  }

  /** Signed weights, whose kernels are faster, where unsigned ones were taken because nothing else was quiet enough before scales were moved. */
  async #trySignedAgain({ label, choices }: Contender): Promise<Choices | undefined> {
    const weights = this.#goal.otherWeights.find(({ weightType }) => weightType === 'int8');
    if (choices.weights.weightType !== 'uint8' || !weights) return undefined;
    const [signed] = await this.#try([{ label: `${label}, ${weightsLabel(weights)}`, choices: { ...choices, weights }, allStatic: true }]);
    return signed && signed.sqnrDb >= this.#goal.minSqnrDb ? signed.choices : undefined;
  }

  #describeMigration({ choices: { migration } }: Pick<Contender, 'choices'>): Change[] {
    if (!migration) return [];
    const figure = (those: readonly Contender[]) => `${Math.max(...those.map(({ sqnrDb }) => sqnrDb)).toFixed(1)} dB`;
    const wholes = this.#contenders.filter(({ allStatic }) => allStatic);
    const [without, moved] = [wholes.filter((one) => !one.choices.migration), wholes.filter((one) => one.choices.migration === migration)];
    const message = `the channels of ${migration.scales.length} activations were scaled, and the weights that they meet the other way (α = ${migration.alpha}): ${figure(without)} → ${figure(moved)}`;
    return [{ pass: 'scale-migration', names: migration.scales.map(({ value }) => value), message }];
  }

  /** Ranges tensor by tensor, where the one method for all is far too noisy. */
  async #tryRanges(choices: Choices): Promise<Choices | undefined> {
    const before = this.#contenders.find((one) => one.choices === choices);
    const { rangesAlways, rangesMs } = this.#goal.budget;
    if (!before || (before.sqnrDb >= this.#goal.minSqnrDb && !rangesAlways) || this.#planner.of(choices).select().nodes.size === 0) return undefined;
    const ranges = await chooseRanges(this.#job, this.#planner, this.#ranges, before, { threads: this.#goal.threads, budgetMs: rangesMs });
    if (ranges.size === 0) return undefined;
    const [found] = await this.#try([{ label: `${ALL_STATIC}, ranges tensor by tensor`, choices: { ...choices, ranges }, allStatic: true }]);
    if (!found || found.sqnrDb <= before.sqnrDb) return undefined;
    const message = `${ranges.size} tensors take another range than by ${choices.range.method}: ${before.sqnrDb.toFixed(1)} → ${found.sqnrDb.toFixed(1)} dB`;
    this.#changes.push({ pass: 'ranges', names: [...ranges.keys()], message });
    return found.choices;
  }

  /** Nodes in bodies of control flow in float, where dynamic ones do not keep the budget: all of them, or those that make the noise. */
  async #tryBodies(choices: Choices): Promise<Choices | undefined> {
    const nodes = this.#planner.nodesInBodies();
    const before = this.#contenders.find((one) => one.choices === choices);
    if (nodes.length === 0 || !before) return undefined;
    const kept = (names: readonly string[]): Choices => ({ ...choices, bodies: new Map(names.map((name) => [name, 'left in float by measurement'] as const)) });
    const names = nodes.map(({ name }) => name);
    const [allFloat] = await this.#try([{ label: 'bodies in float', choices: kept(names), allStatic: false, isFloat: true }]);
    if (!allFloat || this.#keepsBudget(before) || allFloat.sqnrDb <= before.sqnrDb + BODY_GAIN_DB) return undefined;
    const rest = 10 ** (-allFloat.sqnrDb / 10);
    // What made no difference did not run: it cannot be judged, where others like it are too loud.
    const loud = await this.#loudNodes(names, rest, (others) => kept(others), (noise) => noise === 0);
    const [found] = loud.length < names.length ? await this.#try([{ label: `${loud.length} of ${names.length} nodes in bodies in float`, choices: kept(loud), allStatic: false }]) : [];
    return (found ?? allFloat).choices;
  }

  /**
   * Those of nodes that, quietest first, do not go together into what the budget allows beside the noise of all else. `without` gives choices in
   * which nodes stay as they are. All of them where they are too many to be judged one by one.
   */
  async #loudNodes(names: readonly string[], rest: number, without: (names: readonly string[]) => Choices, isLoud: (noise: number) => boolean = () => false): Promise<string[]> {
    if (names.length < 2 || names.length > MAX_JUDGED_ALONE) return [...names];
    const models = names.map((name) => this.#planner.quantize(this.#planner.plan(this.#ranges, without(names.filter((other) => other !== name)))).model);
    const alone = (await judgeModels(this.#job, models, this.#goal.run)).map(({ sqnrDb }, i) => ({ name: names[i]!, noise: Math.max(0, 10 ** (-sqnrDb / 10) - rest) }));
    const allowed = Math.max(10 ** (-this.#wanted / 10), rest * QUIET_SHARE);
    let sum = rest;
    return alone
      .sort((a, b) => a.noise - b.noise)
      .flatMap(({ name, noise }) => {
        sum += noise;
        return sum > allowed || isLoud(noise) ? [name] : [];
      });
  }

  /** The float model after clean-up, as it is and with weights that are integers in the file: what is written where no integers win. */
  async #tryFloat(choices: Choices): Promise<void> {
    if (!this.#goal.mixes || this.#planner.fixed.size > 0) return;
    const because = 'nothing wins by integers, by measurement';
    const left = (names: Iterable<string>) => new Map([...names].map((name) => [name, `left in float: ${because}`] as const));
    const selected = [...this.#planner.select().nodes.keys()].map(({ name }) => name);
    const common = { ...choices, migration: undefined, means: undefined, ranges: new Map(), bodies: left(this.#planner.nodesInBodies().map(({ name }) => name)) };
    const storing = (names: readonly string[]): Choices => {
      const others = new Map(names.map((name) => [name, { form: 'stored', reason: `its weight is stored in 8 bits and read as float: ${because}` }] as const));
      return { ...common, others, float: left(selected.filter((name) => !others.has(name))) };
    };
    const storable = this.#planner.storableNodes().map(({ name }) => name);
    await this.#try([{ label: 'float after clean-up', choices: storing([]), allStatic: false, isFloat: true }]);
    const [found] = storable.length > 0 ? await this.#try([{ label: 'float, weights stored in 8 bits', choices: storing(storable), allStatic: false, isFloat: true }]) : [];
    if (!found || this.#keepsBudget(found)) return;
    const loud = new Set(await this.#loudNodes(storable, 0, (others) => storing(storable.filter((name) => !others.includes(name)))));
    const quiet = storable.filter((name) => !loud.has(name));
    if (quiet.length > 0) await this.#try([{ label: `float, weights of ${quiet.length} nodes stored in 8 bits`, choices: storing(quiet), allStatic: false, isFloat: true }]);
  }

  /** Which nodes are static, dynamic or float: first all that can be in one form, then node by node. */
  async #tryForms(choices: Choices): Promise<void> {
    const start = this.#contenders.find((one) => one.choices === choices);
    if (!start) return;
    const planner = this.#planner.of(choices);
    const selection = planner.select();
    const { graph } = planner.float;
    const wholes = (this.#goal.mixes ? OTHER_FORMS : []).map((form) => {
      const nodes = planner.nodesFor(form).filter(({ name }) => !planner.fixed.has(name));
      const others = new Map([...choices.others, ...nodes.map(({ name }) => [name, { form, reason: `${form === 'dynamic' ? 'quantized dynamically' : 'its weight is in blocks'}, which was better than static by measurement` }] as const)]);
      const float = new Map([...selection.nodes.keys()].flatMap(({ name }) => (others.has(name) || planner.fixed.has(name) ? [] : [[name, 'left in float by measurement'] as const])));
      return { form, nodes, others, float };
    }).filter(({ nodes }) => nodes.length > 0);
    await this.#try(
      wholes.flatMap(({ form, others, float }) => [
        { label: `products ${FORM_NAMES[form]}, the rest static`, choices: { ...choices, others }, allStatic: false },
        { label: `products ${FORM_NAMES[form]}, the rest float`, choices: { ...choices, others, float }, allStatic: false },
      ]),
    );
    if (this.#isStopped() || this.#goal.prefer === 'integer') return;
    this.#floatTimes = await this.#profile(planner.float);
    const times = timeTable(graph, this.#floatTimes, await this.#profile(planner.quantize(start.planned).model));
    const forms = new Map<string, FormCost[]>();
    for (const { form, nodes, float } of wholes) {
      const inForm = this.#contenders.filter((one) => nodes.every(({ name }) => one.choices.others.get(name)?.form === form));
      const alone = inForm.find((one) => one.choices.float === float) ?? inForm[0];
      if (alone) for (const [name, cost] of await this.#costsOf(form, nodes, alone)) forms.set(name, [...(forms.get(name) ?? []), cost]);
    }
    const alone = { times, noise: new Map<string, number>(), forms };
    const costs = this.#keepsBudget(start) ? alone : { ...alone, noise: await this.#noiseOf(choices, alone) };
    this.#costs = { choices, costs };
    await this.#tryAssignments(choices, costs);
  }

  /**
   * Noise of each static node alone that is worth its time, so that all of them add up to what they make together: what is better in another form
   * where noise costs nothing is no better in static form where it does.
   */
  async #noiseOf(choices: Choices, costs: AssignmentCosts): Promise<Map<string, number>> {
    const proposal = this.#assign(choices, costs, Infinity, Math.max(...this.#goal.budget.floatBiases), 'node by node, by time alone');
    const [tried] = await this.#try([proposal]);
    const free = tried ?? this.#known(proposal);
    if (!free) return new Map();
    const { threads, budget } = this.#goal;
    const limits = { threads, floatMs: this.#floatMs, budgetMs: budget.noiseMs, runs: budget.noiseRuns };
    const ofOthers = [...free.choices.others].reduce((sum, [name, { form }]) => sum + (costs.forms.get(name)?.find((cost) => cost.form === form)?.noise ?? 0), 0);
    const together = 10 ** (-free.sqnrDb / 10);
    return inProportion(await measureNoise(this.#job, this.#planner, free.planned, limits), Math.max(together - ofOthers, LEAST_STATIC_SHARE * together));
  }

  /** Assignments under the budget: it shrinks where the nodes' noises together come to more than their sum, and grows where they come to less. */
  async #tryAssignments(choices: Choices, costs: AssignmentCosts): Promise<void> {
    const [, ...otherBiases] = [...new Set([1, ...this.#goal.budget.floatBiases])];
    const isDrop = this.#goal.maxDrop !== undefined;
    let budgetDb = isDrop ? FIRST_DROP_BUDGET_DB : this.#wanted;
    let keptDb: number | undefined;
    for (let round = 0; round <= MAX_TIGHTENINGS && !this.#isStopped(); round++) {
      const proposal = this.#assign(choices, costs, budgetDb);
      const [tried] = await this.#try([proposal]);
      const one = tried ?? this.#known(proposal);
      if (!one || costs.noise.size === 0) break;
      if (!this.#keepsBudget(one)) {
        if (keptDb !== undefined) break;
        budgetDb += isDrop ? DROP_STEP_DB : Math.max(this.#wanted - one.sqnrDb, 1);
        continue;
      }
      keptDb = budgetDb;
      // Room that is left is worth time.
      if (isDrop || this.#isLate() || round === MAX_TIGHTENINGS || one.sqnrDb < this.#wanted + MIN_ROOM_DB) break;
      budgetDb -= one.sqnrDb - this.#wanted - MIN_ROOM_DB / 2;
    }
    if (this.#isStopped()) return;
    const settledDb = keptDb ?? budgetDb;
    await this.#try(otherBiases.slice(0, this.#isLate() ? 1 : undefined).map((bias) => this.#assign(choices, costs, settledDb, bias)));
  }

  /** The fastest assignment by what was measured, with float time counted `bias` times. */
  #assign(choices: Choices, costs: AssignmentCosts, budgetDb: number, bias = 1, label = `node by node${bias === 1 ? '' : `, float time × ${bias}`}`): Proposal {
    const planner = this.#planner.of(choices);
    const selection = planner.select();
    const tables = new Set(planner.tables().map(({ name }) => name));
    const { fixed, float: model } = planner;
    const budget = budgetDb === Infinity ? Infinity : 10 ** (-budgetDb / 10);
    const assigned = [...fastestForms(model.graph, selection, costs, budget, bias)].filter(([{ name }]) => !fixed.has(name));
    const kept = [...choices.others].filter(([name]) => fixed.has(name) || tables.has(name));
    const reasonOf = (node: Node) => measuredReason(node, selection.nodes.get(node), costs);
    const float = new Map(assigned.flatMap(([node, form]) => (form === 'float' ? [[node.name, reasonOf(node)] as const] : [])));
    const others = new Map([...kept, ...assigned.flatMap(([node, form]) => (form === 'float' ? [] : [[node.name, { form, reason: reasonOf(node) }] as const]))]);
    return { label, choices: { ...choices, float, others }, allStatic: false };
  }

  /** The plan of these choices, where it was tried under whatever name. */
  #known({ choices }: Proposal): Contender | undefined {
    const key = planKey(this.#planner.plan(this.#ranges, choices));
    return this.#contenders.find((one) => one.key === key);
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

  /**
   * Times the plans that may win and were not timed yet, in turn with the float model: those that should be fastest first, as many as there is time
   * for, and those between which the clock has not decided again. What stays float runs as the float model after clean-up does.
   */
  async #time(): Promise<(Timed & { readonly contender: Contender })[]> {
    for (const one of this.#contenders) if (one.integerNodes === 0) this.#speedups.set(one, this.#cleanSpeedup);
    const known = (one: Contender) => this.#speedups.has(one);
    const { timingMs } = this.#goal.budget;
    const quietest = [...this.#contenders].sort((a, b) => b.sqnrDb - a.sqnrDb);
    const [first, ...good] = this.#contenders.filter((one) => this.#keepsBudget(one)).sort((a, b) => this.#predictedMs(a) - this.#predictedMs(b));
    const most = Math.max(LEAST_PLANS_TIMED, Math.min(MAX_TIMED, Math.floor((FIRST_SHARE * timingMs) / (LEAST_PAIRS * 2 * this.#floatMs))));
    const ordered = new Set([...(first ? [first] : []), this.#contenders[0]!, ...good, ...quietest]);
    await this.#timeMore([...ordered].filter((one) => !known(one) && !this.#out.has(one)).slice(0, most), FIRST_SHARE * timingMs);
    const end = performance.now() + (1 - FIRST_SHARE) * timingMs;
    while (performance.now() < end && !this.#isStopped()) {
      const rivals = this.#undecided();
      if (rivals.length === 0) break;
      await this.#timeMore(rivals, ((1 - FIRST_SHARE) * timingMs) / MAX_REPETITIONS);
    }
    return this.#contenders.filter(known).map((contender) => ({ ...contender, contender, speedup: this.#speedups.get(contender)! }));
  }

  async #timeMore(those: readonly Contender[], budgetMs: number): Promise<void> {
    if (those.length === 0) return;
    const staged = [];
    for (const [i, { planned, staged: kept }] of those.entries()) staged.push(kept ?? (await this.#stage(this.#planner.quantize(planned).model, `search-${i}.onnx`)));
    const times = await timeModels(this.#job, staged, this.#goal.threads, budgetMs);
    for (const [i, one] of those.entries()) {
      const { baselineMs, candidateMs } = times[i]!;
      const before = this.#times.get(one);
      const all = { baselineMs: [...(before?.baselineMs ?? []), ...baselineMs], candidateMs: [...(before?.candidateMs ?? []), ...candidateMs] };
      this.#times.set(one, all);
      this.#speedups.set(one, medianRatioInterval(all.baselineMs, all.candidateMs));
    }
  }

  /** The fastest plan inside the budget and those that may be as fast, where the clock has not decided: whether it is faster than float, or which of them is the fastest. */
  #undecided(): Contender[] {
    const speed = (one: Contender) => this.#speedups.get(one);
    const good = this.#contenders.filter((one) => this.#times.has(one) && !this.#out.has(one) && speed(one) && this.#keepsBudget(one)).sort((a, b) => speed(b)!.median - speed(a)!.median);
    const [best, ...others] = good;
    if (!best) return [];
    const rivals = others.filter((one) => speed(one)!.high > speed(best)!.median).slice(0, MAX_RIVALS);
    const { low, high } = speed(best)!;
    if (low < FASTER && high >= FASTER) return [best, ...rivals];
    return rivals.length > 0 && high > MAX_WIDTH * low ? [best, ...rivals] : [];
  }

  /** What a run of a plan should take, by the times of its nodes; infinite where those are not known. */
  #predictedMs({ choices }: Contender): number {
    if (this.#costs?.choices.migration !== choices.migration) return Infinity;
    const planner = this.#planner.of(choices);
    const selection = planner.select();
    const formOf = (node: Node): FormCost['form'] | undefined => {
      const other = choices.others.get(node.name)?.form;
      return other === 'stored' || choices.float.has(node.name) ? 'float' : other;
    };
    const forms = new Map(planner.float.graph.nodes.flatMap((node) => (formOf(node) === undefined ? [] : [[node, formOf(node)!] as const])));
    return assignmentTime(planner.float.graph, selection, this.#costs!.costs, forms);
  }

  #isLate(): boolean {
    return performance.now() - this.#begun > this.#goal.budget.totalMs;
  }

  #report(timed: readonly Timed[], best: Timed): SearchCandidate[] {
    return this.#contenders.map((one) => {
      const { speedup = null } = timed.find(({ planned }) => planned === one.planned) ?? {};
      return {
        label: one.label,
        integerNodes: one.integerNodes,
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
