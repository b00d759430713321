import { performance } from 'node:perf_hooks';
import type { NodeTime } from '../evaluation/profile-nodes.js';
import { constantBytes } from '../graph/constant-bytes.js';
import type { Model } from '../graph/model.js';
import type { MedianInterval } from '../metrics/statistics.js';
import type { Change } from '../passes/pass.js';
import { stageModel, type StagedModel } from '../runtime/staged-model.js';
import { choosePlan, CLEARLY_FASTER, fastestOnIntegers, FASTER, keepsBudget, keepsLeastMargin, partOfMargin, showsGain, type ChoiceRules } from './choose-plan.js';
import { chooseRanges } from './choose-ranges.js';
import { candidatesOf, progressOf, describe, noiseInProportion, integerNodes, planKey, type Contender, type MeasuredCosts, type Proposal, type TimedContender } from './contender.js';
import { assignForms, predictedGain, weighNodes } from './assign-forms.js';
import type { AssignmentCosts, FormCost } from './fastest-assignment.js';
import { tryBodies, tryFloat } from './leave-loud.js';
import { measureNoise, profileModel } from './measure.js';
import { afterSecondLook, reasonOfNoGain, type NoGainReason } from './no-gain.js';
import { otherRanges } from './other-ranges.js';
import type { Choices, Planner } from './planner.js';
import { PlanClock, timingOrder } from './plan-clock.js';
import type { RangeSource } from './range-source.js';
import { reach, reachDrop, type Reaching } from './reach.js';
import type { SearchControl, Refutation } from './search-control.js';
import type { SearchGoal, SearchResult } from './search-result.js';
import { plansInTime, timeLeft } from './time-plan.js';
import { costsOfForm, INTEGERS_FIRST, timeTable } from './time-table.js';
import { describeMigration, tryMigration } from './try-migration.js';
import { tryWeights } from './try-weights.js';
import { proposalsOf, wholeForms } from './whole-forms.js';
import { judgeStaged, type Trial, type TrialJob } from './trials.js';
import { ALL_STATIC } from './wording.js';

/** What is asked beyond what a plan lacked on samples that it was confirmed on. */
const BEYOND_MISSING_DB = 1;

/** Time in which ranges are tried tensor by tensor, however late it is, and what they must win. */
const LEAST_RANGES_MS = 2_000;
const RANGES_GAIN_DB = 0.5;

/** Room on disk for plans that were judged and may be timed. */
const MAX_STAGED_BYTES = 500e6;

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
    ({ floatMs: this.#floatMs, speedup: this.#cleanSpeedup } = await this.#clock.timeFloat());
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
  async next({ planned, missingDb, missingOfWholeDb }: Refutation): Promise<SearchResult | undefined> {
    const refuted = this.#contenders.find((one) => one.planned === planned)!;
    this.#out.add(refuted);
    const { minSqnrDb, marginDb } = this.#goal;
    // Less is asked of plans with the whole margin, so that they may do where one with a part of it has failed.
    const leastOfPart = missingDb > 0 ? Math.min(minSqnrDb + marginDb, refuted.sqnrDb + missingDb + BEYOND_MISSING_DB) : 0;
    this.#leastDb = Math.max(this.#leastDb, leastOfPart, missingOfWholeDb > 0 ? refuted.sqnrDb + missingOfWholeDb + BEYOND_MISSING_DB : 0);
    const isPromising = (one: Contender) => one.integerNodes > 0 && (this.#clock.speedup(one)?.median ?? 0) >= FASTER && this.#keepsBudget(one) && !this.#out.has(one);
    if (missingDb > 0 && this.#costs && !this.#contenders.some(isPromising) && !this.#control.isStopped()) {
      const { choices, costs } = this.#costs;
      const noise = costs.noise.size > 0 ? costs.noise : await this.#noiseOf(choices, costs);
      this.#costs = { choices, costs: { ...costs, noise } };
      await this.#tryAssignments(this.#costs);
    }
    return this.#contenders.length > this.#out.size ? this.#conclude() : undefined;
  }

  async #conclude(): Promise<SearchResult> {
    const choose = (plans: readonly TimedContender[]) => choosePlan(plans.filter((one) => !this.#out.has(one.contender)), this.#rules);
    let timed = await this.#time();
    let best = choose(timed);
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

  #mayWin(one: Contender): boolean {
    return !this.#out.has(one) && (this.#keepsBudget(one) || keepsLeastMargin(one, this.#rules));
  }

  #stage(model: Model, name: string): Promise<StagedModel> {
    return stageModel(this.#job.host, model, name, this.#job.baseline.externalDataFolder);
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
    return {
      ...{ job: this.#job, planner: this.#planner, ranges: this.#ranges, goal: this.#goal, wantedDb: this.#wanted },
      keepsBudget: (one: Contender) => this.#keepsBudget(one),
      tryPlans: (those: readonly Proposal[]) => this.#try(those),
    };
  }

  /** Other weights, where sums of products saturate on this machine. */
  async #tryWeights(): Promise<Choices | undefined> {
    const [here] = this.#contenders;
    const found = here && (await tryWeights(here, this.#tools()));
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

  /** Ranges tensor by tensor, where the budget is not kept without. */
  async #tryRanges(choices: Choices): Promise<Choices | undefined> {
    const before = this.#contenders.find((one) => one.choices === choices);
    const { rangesAlways, rangesMs } = this.#goal.budget;
    if (!before || (this.#keepsBudget(before) && !rangesAlways) || this.#planner.of(choices).select().nodes.size === 0) return undefined;
    const ranges = await chooseRanges(this.#job, this.#planner, this.#ranges, before, { threads: this.#goal.threads, budgetMs: Math.min(rangesMs, Math.max(LEAST_RANGES_MS, this.#leftMs())) });
    if (ranges.size === 0) return undefined;
    const [found] = await this.#try([{ label: `${ALL_STATIC}, ranges tensor by tensor`, choices: { ...choices, ranges }, allStatic: true }]);
    if (!found || found.sqnrDb < before.sqnrDb + RANGES_GAIN_DB) return undefined;
    const message = `${ranges.size} tensors take another range than by ${choices.range.method}: ${before.sqnrDb.toFixed(1)} → ${found.sqnrDb.toFixed(1)} dB`;
    this.#changes.push({ pass: 'ranges', names: [...ranges.keys()], message });
    return found.choices;
  }

  async #tryBodies(choices: Choices): Promise<Choices | undefined> {
    const before = this.#contenders.find((one) => one.choices === choices);
    return before && tryBodies(before, this.#tools());
  }

  async #tryFloat(choices: Choices): Promise<void> {
    if (!this.#goal.mixes || this.#planner.fixed.size > 0) return;
    const isTooLate = this.#isLate(2) && this.#contenders.some((one) => one.integerNodes > 0 && this.#keepsBudget(one));
    await tryFloat(choices, isTooLate, this.#tools());
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
    await this.#tryAssignments(this.#costs);
  }

  /** The same with the range method that suits the quiet nodes best, where that lets more of them run on integers. */
  async #withOtherRanges(before: MeasuredCosts): Promise<MeasuredCosts> {
    if (this.#control.isStopped()) return before;
    const { choices, costs } = before;
    const free = this.#assign(before, Infinity).choices;
    const found = await otherRanges(this.#tools(), { choices, free, noise: costs.noise, maxTried: plansInTime(this.#leftMs(), this.#planMs, true) });
    if (!found) return before;
    const after = { choices: found.choices, costs: { ...costs, noise: await this.#noiseOf(found.choices, costs) } };
    const gain = (one: MeasuredCosts) => predictedGain(this.#planner.of(one.choices), this.#assign(one, this.#wanted).choices, one.costs);
    if (gain(after) <= gain(before)) return before;
    this.#changes.push(found.change);
    return after;
  }

  /**
   * Noise of each static node alone that is worth its time, so that all of them add up to what they make together: what is better in another form
   * where noise costs nothing is no better in static form where it does.
   */
  async #noiseOf(choices: Choices, costs: AssignmentCosts): Promise<Map<string, number>> {
    const proposal = this.#assign({ choices, costs }, Infinity, Math.max(...this.#goal.budget.floatBiases), 'node by node, by time alone');
    const [tried] = await this.#try([proposal]);
    const free = tried ?? this.#known(proposal);
    if (!free) return new Map();
    const { threads, budget } = this.#goal;
    const limits = { threads, floatMs: this.#floatMs, budgetMs: budget.noiseMs, runs: budget.noiseRuns };
    return noiseInProportion(await measureNoise(this.#job, this.#planner, free.planned, limits), free, costs);
  }

  /** Assignments under the budget; and where those are no faster than float, or others should be clearly faster, with a part of the margin. */
  async #tryAssignments(measured: MeasuredCosts): Promise<void> {
    const { maxDrop, prefer, isConfirmed, budget } = this.#goal;
    const [, ...otherBiases] = [...new Set([1, ...budget.floatBiases])];
    const [reaching, wantedDb] = [this.#reaching(measured), this.#wanted];
    const { budgetDb, isKept } = maxDrop !== undefined ? await reachDrop(reaching, (one) => this.#keepsBudget(one)) : await reach(reaching, { aimedDb: wantedDb, budgetDb: wantedDb });
    if (!this.#control.isStopped()) await this.#tryInTime(otherBiases.map((bias) => this.#assign(measured, budgetDb, bias)), isKept);
    const aimedDb = partOfMargin(this.#rules);
    if (maxDrop !== undefined || prefer !== 'speed' || !reaching.hasNoise || aimedDb >= wantedDb) return;
    const best = Math.max(1, ...this.#contenders.filter((one) => this.#mayWin(one)).map((one) => this.#predictedSpeedup(one)));
    if (best >= FASTER && !isConfirmed) return;
    // By how much the noises of nodes together differ from their sum is alike for another aim.
    const firstBudgetDb = aimedDb + (isKept ? budgetDb - wantedDb : 0);
    await reach(reaching, { aimedDb, budgetDb: firstBudgetDb, leastSpeedup: best < FASTER ? FASTER : CLEARLY_FASTER * best });
  }

  #reaching(measured: MeasuredCosts): Reaching {
    return {
      assign: (budgetDb) => this.#assign(measured, budgetDb),
      judge: async (proposal) => (await this.#try([proposal]))[0] ?? this.#known(proposal),
      predictedSpeedup: (proposal) => this.#predictedSpeedup(proposal),
      hasNoise: measured.costs.noise.size > 0,
      isLate: () => this.#isLate(),
      isStopped: this.#control.isStopped,
    };
  }

  /** Tries plans in this order as long as there is time: all of those that there is time for at once, and at least one where none is known that will do. */
  async #tryInTime(those: readonly Proposal[], isEnough: boolean): Promise<void> {
    await this.#try(those.slice(0, plansInTime(this.#leftMs(), this.#planMs, isEnough)));
  }

  /** The fastest assignment by what was measured, with float time counted `bias` times. */
  #assign({ choices, costs }: MeasuredCosts, budgetDb: number, bias = 1, label = `node by node${bias === 1 ? '' : `, float time × ${bias}`}`): Proposal {
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
    const isOf = { good: (one: Contender) => this.#keepsBudget(one), mayWin: (one: Contender) => this.#mayWin(one) };
    const ordered = timingOrder(this.#contenders, isOf, (one) => this.#predictedSpeedup(one)).filter((one) => !this.#out.has(one));
    await this.#clock.time(ordered, { floatMs: this.#floatMs, mayWin: isOf.mayWin, isStopped: this.#control.isStopped });
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
