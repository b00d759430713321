import { performance } from 'node:perf_hooks';
import type { NodeTime } from '../evaluation/profile-nodes.js';
import { constantBytes } from '../graph/constant-bytes.js';
import type { Model } from '../graph/model.js';
import { medianRatioInterval, statsOf, type MedianInterval } from '../metrics/statistics.js';
import type { Change } from '../passes/pass.js';
import { stageModel, type StagedModel } from '../runtime/staged-model.js';
import { choosePlan, CLEARLY_FASTER, fastestOnIntegers, FASTER, keepsBudget, keepsLeastMargin, partOfMargin, showsGain, type ChoiceRules } from './choose-plan.js';
import { chooseRanges, PERCENTILES } from './choose-ranges.js';
import { candidatesOf, progressOf, describe, noiseInProportion, integerNodes, planKey, type Contender, type Proposal, type TimedContender } from './contender.js';
import { assignForms, predictedGain, weighNodes } from './assign-forms.js';
import type { AssignmentCosts, FormCost } from './fastest-assignment.js';
import { loudNodes } from './loud-nodes.js';
import { measureNoise, profileModel, timeModels } from './measure.js';
import { afterSecondLook, reasonOfNoGain, type NoGainReason } from './no-gain.js';
import type { Choices, Planner } from './planner.js';
import { PlanClock } from './plan-clock.js';
import { quietNodes } from './quiet-nodes.js';
import { rangeLabel, usableChoices, type RangeChoice, type RangeSource } from './range-source.js';
import type { SearchControl, Refutation } from './search-control.js';
import type { SearchGoal, SearchResult } from './search-result.js';
import { plansInTime, timeLeft } from './time-plan.js';
import { costsOfForm, INTEGERS_FIRST, timeTable } from './time-table.js';
import { withStored } from './store-weights.js';
import { describeMigration, tryMigration } from './try-migration.js';
import { tryWeights } from './try-weights.js';
import { proposalsOf, wholeForms } from './whole-forms.js';
import { judgeModels, judgeStaged, type Trial, type TrialJob } from './trials.js';
import { ALL_STATIC } from './wording.js';

/** Rounds in which the noise that is allowed shrinks, because the nodes' noises together came to more than their sum, or grows, because they came to less. */
const MAX_TIGHTENINGS = 3;

/** Where the budget is a drop of the task metric: noise that is allowed first, and by how much less in each round. */
const [FIRST_DROP_BUDGET_DB, DROP_STEP_DB] = [10, 6];

/** How much quieter than asked for an assignment must be for a louder and faster one to be looked for. */
const MIN_ROOM_DB = 1.5;

/** What is asked beyond what a plan lacked on samples that it was confirmed on. */
const BEYOND_MISSING_DB = 1;

/** What nodes in bodies must win at the worst output to stay in float. */
const BODY_GAIN_DB = 1;

/** What another range method must win for the quiet nodes to be measured with it. */
const OTHER_RANGES_DB = 1;

const LEFT_IN_FLOAT = 'left in float by measurement';

/** Time in which ranges are tried tensor by tensor, however late it is. */
const LEAST_RANGES_MS = 2_000;

/** What a plan is aimed at above the least that is asked, because the next samples may lie as far apart again. */
const ABOVE_LEAST_DB = 3;

/** Room on disk for plans that were judged and may be timed. */
const MAX_STAGED_BYTES = 500e6;

/** Time in which the float model after clean-up is timed. */
const CLEAN_BUDGET_MS = 1_500;

/** What assignments are to have. */
interface Aim {
  readonly aimedDb: number;
  /** The sum of the nodes' noises that the first is allowed, in dB below the signal. */
  readonly budgetDb: number;
  /** By how much it should be faster than float to be tried. */
  readonly leastSpeedup?: number;
}

/** What nodes cost, and the choices that they were measured with. */
interface MeasuredCosts {
  readonly choices: Choices;
  readonly costs: AssignmentCosts;
}

/** The budget of noise that was right last, and whether an assignment then had what was asked. */
interface Reached {
  readonly budgetDb: number;
  readonly isKept: boolean;
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
  readonly #control: SearchControl;
  readonly #contenders: Contender[] = [];
  readonly #clock: PlanClock;
  /** Plans that are not to be chosen: given up, or like another one that is quieter. */
  readonly #out = new Set<Contender>();
  readonly #changes: Change[] = [];
  #floatMs = 1;
  /** Time that the last plans took each, to be made and judged. */
  #planMs = 0;
  #stagedBytes = 0;
  #floatTimes: readonly NodeTime[] | undefined;
  #cleanSpeedup: MedianInterval | null = null;
  #leastDb: number;
  /** What the noises of nodes together made beyond their sum, in dB. */
  #gapDb = 0;
  #costs: MeasuredCosts | undefined;

  constructor(job: TrialJob, planner: Planner, ranges: RangeSource, goal: SearchGoal, control: SearchControl) {
    this.#job = job;
    this.#planner = planner;
    this.#ranges = ranges;
    this.#goal = goal;
    this.#control = control;
    this.#leastDb = goal.minSqnrDb + goal.flatteryDb;
    this.#clock = new PlanClock(job, planner, goal);
  }

  /** Time of one run of the float model after clean-up, in milliseconds. */
  get floatMs(): number {
    return this.#floatMs;
  }

  /** Runs the search from the plan with all nodes on integers. Where it is stopped, gives the best so far. */
  async run(start: Choices, label = ALL_STATIC): Promise<SearchResult> {
    this.#cleanSpeedup = await this.#timeFloat();
    let choices = start;
    await this.#try([{ label, choices, allStatic: true }]);
    for (const step of [this.#tryWeights, this.#tryMigration, this.#tryRanges, this.#tryBodies]) {
      if (this.#control.isStopped()) break;
      choices = (await step.call(this, choices)) ?? choices;
    }
    if (!this.#control.isStopped()) await this.#tryForms(choices);
    if (!this.#control.isStopped()) await this.#tryFloat(choices);
    return this.#conclude();
  }

  /** The next best plan after one that did not prove right, or undefined where no other is left. Quieter ones are looked for where too few are known. */
  async next({ planned, missingDb }: Refutation): Promise<SearchResult | undefined> {
    const refuted = this.#contenders.find((one) => one.planned === planned)!;
    this.#out.add(refuted);
    if (missingDb > 0) this.#leastDb = Math.max(this.#leastDb, refuted.sqnrDb + missingDb + BEYOND_MISSING_DB);
    const isPromising = (one: Contender) => one.integerNodes > 0 && (this.#clock.speedup(one)?.median ?? 0) >= FASTER && this.#keepsBudget(one) && !this.#out.has(one);
    if (missingDb > 0 && this.#costs && !this.#contenders.some(isPromising) && !this.#control.isStopped()) {
      const { choices, costs } = this.#costs;
      const noise = costs.noise.size > 0 ? costs.noise : await this.#noiseOf(choices, costs);
      this.#costs = { choices, costs: { ...costs, noise } };
      await this.#tryAssignments(choices, { ...costs, noise });
    }
    return this.#contenders.length > this.#out.size ? this.#conclude() : undefined;
  }

  async #conclude(): Promise<SearchResult> {
    const choose = (plans: readonly TimedContender[]) => choosePlan(plans.filter((one) => !this.#out.has(one.contender)), this.#rules);
    let timed = await this.#time();
    let best = choose(timed);
    if (!showsGain(best) && (await this.#tryLeast())) {
      timed = await this.#time();
      best = choose(timed);
    }
    let noGain: string | null = null;
    if (!showsGain(best)) {
      const first = await this.#whyNoGain(best, timed);
      const fastest = fastestOnIntegers(timed, (one) => this.#keepsBudget(one));
      const isStopped = this.#control.isStopped();
      const again = fastest && !isStopped ? await this.#clock.again(fastest.contender, this.#floatMs) : null;
      timed = this.#timed();
      best = choose(timed);
      if (!isStopped) this.#floatTimes = await this.#profile(this.#planner.of(best.choices).float);
      if (!showsGain(best)) noGain = afterSecondLook(first, await this.#whyNoGain(best, timed), fastest && { label: fastest.label, speedup: fastest.speedup, again });
    }
    const costs = this.#costsFor(best.choices);
    return {
      planned: best.planned,
      choices: best.choices,
      label: best.label,
      sqnrDb: best.sqnrDb,
      integerNodes: best.integerNodes,
      candidates: candidatesOf(this.#contenders, timed, best),
      cleanSpeedup: this.#cleanSpeedup,
      noGain,
      weighed: costs?.times.isMeasured ? weighNodes(this.#planner.of(best.choices), best.choices, costs) : [],
      changes: [...this.#changes, ...describeMigration(best, this.#contenders), ...describe(best, timed)],
    };
  }

  get #rules(): ChoiceRules {
    return { ...this.#goal, leastDb: this.#leastDb };
  }

  async #whyNoGain(best: TimedContender, plans: readonly TimedContender[]): Promise<NoGainReason> {
    if (!this.#control.isStopped()) this.#floatTimes ??= await this.#profile(this.#planner.of(best.choices).float);
    return reasonOfNoGain({ ...this.#goal, plans, best, wantedDb: this.#wanted, floatMs: this.#floatMs, graph: this.#planner.of(best.choices).float.graph, times: this.#floatTimes ?? [] });
  }

  get #wanted(): number {
    return Math.max(this.#goal.minSqnrDb + this.#goal.marginDb, this.#leastDb);
  }

  #keepsBudget(trial: Trial): boolean {
    return keepsBudget(trial, this.#rules);
  }

  #mayWin(trial: Trial): boolean {
    return this.#keepsBudget(trial) || keepsLeastMargin(trial, this.#rules);
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
    const begun = performance.now();
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
    this.#planMs = (performance.now() - begun) / planned.length;
    this.#control.onProgress?.(progressOf(this.#contenders, this.#goal.budget.totalMs));
    return contenders;
  }

  #tools() {
    return { job: this.#job, planner: this.#planner, goal: this.#goal, tryPlans: (those: readonly Proposal[]) => this.#try(those) };
  }

  /** Other weights, where sums of products saturate on this machine. */
  async #tryWeights(): Promise<Choices | undefined> {
    const [here] = this.#contenders;
    const found = here && (await tryWeights(here, { ...this.#tools(), keepsBudget: (one) => this.#keepsBudget(one) }));
    this.#changes.push(...(found ? [found.change] : []));
    return found?.choices;
  }

  /** Scales moved from activations into weights, where the budget is not kept without. */
  async #tryMigration(choices: Choices): Promise<Choices | undefined> {
    const before = this.#contenders.find((one) => one.choices === choices);
    if (!before || !this.#control.rangeSamples || (this.#keepsBudget(before) && !this.#goal.budget.rangesAlways)) return undefined;
    const { kept, tried } = await tryMigration(before, { ...this.#tools(), rangeSamples: this.#control.rangeSamples });
    for (const one of tried) if (one.choices !== kept) this.#out.add(one);
    return kept;
  }

  /** Ranges tensor by tensor, where the one method for all is far too noisy. */
  async #tryRanges(choices: Choices): Promise<Choices | undefined> {
    const before = this.#contenders.find((one) => one.choices === choices);
    const { rangesAlways, rangesMs } = this.#goal.budget;
    if (!before || (this.#keepsBudget(before) && !rangesAlways) || this.#planner.of(choices).select().nodes.size === 0) return undefined;
    const ranges = await chooseRanges(this.#job, this.#planner, this.#ranges, before, { threads: this.#goal.threads, budgetMs: Math.min(rangesMs, Math.max(LEAST_RANGES_MS, this.#leftMs())) });
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
    const kept = (names: readonly string[]): Choices => ({ ...choices, bodies: new Map(names.map((name) => [name, LEFT_IN_FLOAT] as const)) });
    const names = nodes.map(({ name }) => name);
    const [allFloat] = await this.#try([{ label: 'bodies in float', choices: kept(names), allStatic: false, isFloat: true }]);
    if (!allFloat || this.#keepsBudget(before) || allFloat.sqnrDb <= before.sqnrDb + BODY_GAIN_DB) return undefined;
    const rest = 10 ** (-allFloat.sqnrDb / 10);
    // What made no difference did not run: it cannot be judged, where others like it are too loud.
    const loud = await this.#loudNodes(names, rest, (others) => kept(others), (noise) => noise === 0);
    const [found] = loud.length < names.length ? await this.#try([{ label: `${loud.length} of ${names.length} nodes in bodies in float`, choices: kept(loud), allStatic: false }]) : [];
    return (found ?? allFloat).choices;
  }

  /** Those of nodes that make too much noise beside the rest. `without` gives choices in which nodes stay as they are. */
  #loudNodes(names: readonly string[], rest: number, without: (names: readonly string[]) => Choices, isLoud?: (noise: number) => boolean): Promise<string[]> {
    const judgeAlone = async (those: readonly string[]) => {
      const models = those.map((name) => this.#planner.quantize(this.#planner.plan(this.#ranges, without(those.filter((other) => other !== name)))).model);
      return (await judgeModels(this.#job, models, this.#goal.run)).map(({ sqnrDb }) => sqnrDb);
    };
    return loudNodes(names, { rest, allowed: 10 ** (-this.#wanted / 10), judgeAlone, ...(isLoud && { isLoud }) });
  }

  /** The float model after clean-up, as it is and with weights that are integers in the file: what is written where no integers win. */
  async #tryFloat(choices: Choices): Promise<void> {
    if (!this.#goal.mixes || this.#planner.fixed.size > 0) return;
    const storing = (names: readonly string[]) => withStored(this.#planner, choices, names);
    const isTooLate = this.#isLate(2) && this.#contenders.some((one) => one.integerNodes > 0 && this.#keepsBudget(one));
    const storable = isTooLate ? [] : this.#planner.storableNodes().map(({ name }) => name);
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
    const { graph } = planner.float;
    const isTimed = this.#goal.prefer !== 'integer';
    if (isTimed) this.#floatTimes = await this.#profile(planner.float);
    const isQuiet = this.#keepsBudget(start);
    const wholes = this.#goal.mixes ? wholeForms(planner, choices, this.#floatTimes, isQuiet) : [];
    await this.#tryInTime(proposalsOf(wholes, choices, isQuiet, this.#cleanSpeedup?.median ?? 1), isQuiet);
    if (this.#control.isStopped() || (isQuiet && (!isTimed || this.#isLate()))) return;
    const times = this.#floatTimes ? timeTable(graph, this.#floatTimes, await this.#profile(planner.quantize(start.planned).model)) : INTEGERS_FIRST;
    const forms = new Map<string, FormCost[]>();
    for (const { form, nodes, float } of wholes) {
      const inForm = this.#contenders.filter((one) => nodes.every(({ name }) => one.choices.others.get(name)?.form === form));
      const alone = inForm.find((one) => one.choices.float === float) ?? inForm[0];
      if (alone) for (const [name, cost] of costsOfForm(form, nodes, alone.sqnrDb, isTimed ? await this.#profile(this.#planner.quantize(alone.planned).model) : undefined)) forms.set(name, [...(forms.get(name) ?? []), cost]);
    }
    const alone = { times, noise: new Map<string, number>(), forms };
    this.#costs = { choices, costs: isQuiet ? alone : { ...alone, noise: await this.#noiseOf(choices, alone) } };
    if (!isQuiet) this.#costs = await this.#withOtherRanges(this.#costs);
    await this.#tryAssignments(this.#costs.choices, this.#costs.costs);
  }

  /** The same with the range method that suits the quiet nodes best, and noises by it, where that lets more of them run on integers: the one for all suits the loudest. */
  async #withOtherRanges(before: MeasuredCosts): Promise<MeasuredCosts> {
    const { choices, costs } = before;
    const ways = [choices.range, ...usableChoices(this.#ranges.table, PERCENTILES).filter((range) => rangeLabel(range) !== rangeLabel(choices.range))];
    const quiet = new Set(quietNodes(costs.noise));
    if (quiet.size === 0 || this.#control.isStopped() || this.#isLate(ways.length)) return before;
    const free = this.#assign(choices, costs, Infinity).choices;
    const float = new Map([...free.float, ...[...costs.noise.keys()].flatMap((name) => (quiet.has(name) ? [] : [[name, LEFT_IN_FLOAT] as const]))]);
    const judged = await judgeModels(this.#job, ways.map((range) => this.#planner.quantize(this.#planner.plan(this.#ranges, { ...free, float, ...byRange(choices, range) })).model), this.#goal.run);
    const best = judged.reduce((a, { sqnrDb }, i) => (sqnrDb > judged[a]!.sqnrDb ? i : a), 0);
    if (judged[best]!.sqnrDb < judged[0]!.sqnrDb + OTHER_RANGES_DB) return before;
    const other = { ...choices, ...byRange(choices, ways[best]!) };
    const after = { choices: other, costs: { ...costs, noise: await this.#noiseOf(other, costs) } };
    const reach = ({ choices: those, costs: by }: MeasuredCosts) => predictedGain(this.#planner.of(those), this.#assign(those, by, this.#wanted).choices, by);
    if (reach(after) <= reach(before)) return before;
    const message = `without the loudest nodes, ranges by ${rangeLabel(ways[best]!)} instead of ${rangeLabel(choices.range)}: ${judged[0]!.sqnrDb.toFixed(1)} → ${judged[best]!.sqnrDb.toFixed(1)} dB`;
    this.#changes.push({ pass: 'ranges', names: [...quiet], message });
    return after;
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
    return noiseInProportion(await measureNoise(this.#job, this.#planner, free.planned, limits), free, costs);
  }

  /** Assignments under the budget; and where those are no faster than float, or others would be clearly faster, under what has to do then. */
  async #tryAssignments(choices: Choices, costs: AssignmentCosts): Promise<void> {
    const [, ...otherBiases] = [...new Set([1, ...this.#goal.budget.floatBiases])];
    const isDrop = this.#goal.maxDrop !== undefined;
    const { budgetDb, isKept } = isDrop ? await this.#reachDrop(choices, costs) : await this.#reach(choices, costs, { aimedDb: this.#wanted, budgetDb: this.#wanted });
    if (!this.#control.isStopped()) await this.#tryInTime(otherBiases.map((bias) => this.#assign(choices, costs, budgetDb, bias)), isKept);
    if (isDrop || costs.noise.size === 0 || !this.#goal.isConfirmed || this.#goal.prefer !== 'speed') return;
    const best = Math.max(1, ...this.#contenders.filter((one) => this.#mayWin(one)).map((one) => this.#predictedSpeedup(one)));
    await this.#reachLess(choices, costs, partOfMargin(this.#rules), best < FASTER ? FASTER : CLEARLY_FASTER * best);
  }

  /** Where nothing showed a gain: assignments that have the least that is asked. Gives whether any was tried. */
  async #tryLeast(): Promise<boolean> {
    if (!this.#costs || this.#costs.costs.noise.size === 0 || this.#goal.maxDrop !== undefined || this.#goal.prefer !== 'speed' || this.#control.isStopped()) return false;
    const { choices, costs } = this.#costs;
    const before = this.#contenders.length;
    await this.#reachLess(choices, costs, this.#leastDb + ABOVE_LEAST_DB, FASTER);
    return this.#contenders.length > before;
  }

  /** Assignments that have less than the whole margin, if they should be so much faster than float. */
  async #reachLess(choices: Choices, costs: AssignmentCosts, aimedDb: number, leastSpeedup: number): Promise<void> {
    if (aimedDb < this.#wanted) await this.#reach(choices, costs, { aimedDb, budgetDb: aimedDb + this.#gapDb, leastSpeedup });
  }

  /**
   * Tries assignments until one has at least so many dB and little more: their budget shrinks where the nodes' noises together come to more than
   * their sum, and grows where they come to less. Gives the budget that was right last.
   */
  async #reach(choices: Choices, costs: AssignmentCosts, { aimedDb, budgetDb, leastSpeedup = 0 }: Aim): Promise<Reached> {
    let keptDb: number | undefined;
    for (let round = 0; round <= MAX_TIGHTENINGS && !this.#control.isStopped(); round++) {
      const proposal = this.#assign(choices, costs, budgetDb);
      if (leastSpeedup > 0 && (this.#isLate() || this.#predictedSpeedup(proposal) < leastSpeedup)) break;
      const one = (await this.#try([proposal]))[0] ?? this.#known(proposal);
      if (!one || one.integerNodes === 0 || costs.noise.size === 0) break;
      if (one.sqnrDb < aimedDb) {
        if (keptDb !== undefined) break;
        budgetDb += Math.max(aimedDb - one.sqnrDb, 1);
        continue;
      }
      keptDb = budgetDb;
      // Room that is left is worth time.
      if (this.#isLate() || round === MAX_TIGHTENINGS || one.sqnrDb < aimedDb + MIN_ROOM_DB) break;
      budgetDb -= one.sqnrDb - aimedDb - MIN_ROOM_DB / 2;
    }
    // By how much the noises of nodes together differ from their sum is alike for another aim.
    if (keptDb !== undefined) this.#gapDb = keptDb - aimedDb;
    return { budgetDb: keptDb ?? budgetDb, isKept: keptDb !== undefined };
  }

  /** The same where the budget is a drop of the task metric: less noise in each round until it is kept. */
  async #reachDrop(choices: Choices, costs: AssignmentCosts): Promise<Reached> {
    let budgetDb = FIRST_DROP_BUDGET_DB;
    for (let round = 0; round <= MAX_TIGHTENINGS && !this.#control.isStopped(); round++) {
      const proposal = this.#assign(choices, costs, budgetDb);
      const one = (await this.#try([proposal]))[0] ?? this.#known(proposal);
      if (!one || costs.noise.size === 0) break;
      if (this.#keepsBudget(one)) return { budgetDb, isKept: true };
      budgetDb += DROP_STEP_DB;
    }
    return { budgetDb, isKept: false };
  }

  /** Tries plans in this order as long as there is time: all of those that there is time for at once, and at least one where none is known that will do. */
  async #tryInTime(those: readonly Proposal[], isEnough: boolean): Promise<void> {
    await this.#try(those.slice(0, plansInTime(this.#leftMs(), this.#planMs, isEnough)));
  }

  /** The fastest assignment by what was measured, with float time counted `bias` times. */
  #assign(choices: Choices, costs: AssignmentCosts, budgetDb: number, bias = 1, label = `node by node${bias === 1 ? '' : `, float time × ${bias}`}`): Proposal {
    return { label, choices: assignForms(this.#planner.of(choices), choices, costs, budgetDb, bias), allStatic: false };
  }

  /** The plan of these choices, tried under whatever name. */
  #known({ choices }: Proposal): Contender | undefined {
    const key = planKey(this.#planner.plan(this.#ranges, choices));
    return this.#contenders.find((one) => one.key === key);
  }

  #profile(model: Model): Promise<NodeTime[]> {
    return profileModel(this.#job, model, this.#floatMs, this.#goal.threads);
  }

  async #time(): Promise<TimedContender[]> {
    for (const one of this.#contenders) if (one.integerNodes === 0) this.#clock.set(one, this.#cleanSpeedup);
    const fastestFirst = [...this.#contenders].filter((one) => !this.#out.has(one)).sort((a, b) => this.#predictedSpeedup(b) - this.#predictedSpeedup(a));
    const good = fastestFirst.filter((one) => this.#keepsBudget(one));
    const less = fastestFirst.filter((one) => this.#mayWin(one) && !good.includes(one));
    const quietest = [...fastestFirst].sort((a, b) => b.sqnrDb - a.sqnrDb);
    // There may be time for few of them.
    const ordered = new Set([...good.slice(0, 1), ...less.slice(0, 1), this.#contenders[0]!, ...good, ...less, ...quietest]);
    await this.#clock.time([...ordered].filter((one) => !this.#out.has(one)), { floatMs: this.#floatMs, mayWin: (one) => this.#mayWin(one), isStopped: this.#control.isStopped });
    return this.#timed();
  }

  #timed(): TimedContender[] {
    return this.#contenders.flatMap((contender) => {
      const speedup = this.#clock.speedup(contender);
      return speedup === undefined ? [] : [{ ...contender, contender, speedup }];
    });
  }

  /** Time of the float model over what a run of a plan should take, by the times of its nodes; 0 where those are not known. */
  #predictedSpeedup({ choices }: Pick<Contender, 'choices'>): number {
    const costs = this.#costsFor(choices);
    return costs?.times.isMeasured ? this.#floatMs / Math.max(1e-3, this.#floatMs - predictedGain(this.#planner.of(choices), choices, costs)) : 0;
  }

  #costsFor({ migration }: Choices): AssignmentCosts | undefined {
    return this.#costs && this.#costs.choices.migration === migration ? this.#costs.costs : undefined;
  }

  /** Whether the job would take longer than it may if further plans were tried: timing, confirming and checking are still to come. */
  #isLate(plans = 1): boolean {
    return plansInTime(this.#leftMs(), this.#planMs, true) < plans;
  }

  #leftMs(): number {
    return timeLeft(this.#goal, this.#floatMs, performance.now());
  }
}

/** Another range method for all values but those with one of their own; biases were corrected for the one before. */
function byRange(before: Choices, range: RangeChoice): Pick<Choices, 'range' | 'means'> {
  return { range, means: rangeLabel(range) === rangeLabel(before.range) ? before.means : undefined };
}
