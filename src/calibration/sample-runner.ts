import { readFile } from 'node:fs/promises';
import type { InputTensors } from '../data/sample.js';
import { QdqError } from '../errors.js';
import { Session } from '../runtime/session.js';
import { elementCount, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import type { NonFinite } from './calibration-table.js';
import { scanExtremes } from './bit-histogram.js';
import { outputsOf, type ExtremesOutputs } from './extremes-tap.js';
import { splitJoined, type ReducedValue } from './joined-outputs.js';
import { loopOutputs, ROW_LENGTH, ROWS, type LoopState } from './loop-observer.js';
import type { Scan } from './scan.js';
import type { SampledTap, SeenValue } from './sampled-tap.js';
import { floatsOf, TensorObserver } from './tensor-observer.js';
import type { TensorRecord } from './tensor-record.js';

/** A model file, and the folder of its side files where it has some. Plain data. */
export interface ModelSource {
  readonly path: string;
  readonly externalDataFolder?: string;
}

/** What a runner does with each sample. Plain data. */
export interface RunPlan {
  /** The model that hands out every observed value whole; absent where only inputs are observed. */
  readonly whole?: ModelSource;
  /** The model that reduces large values, for samples whose inputs have the dimensions that it was made for. */
  readonly sampled?: Pick<SampledTap, 'joined' | 'steps'> & { readonly source: ModelSource; readonly inputDims: string };
  /** Observed values that are inputs of the model. */
  readonly fed: readonly string[];
  /** Values that have no elements where their branch is not taken, which says nothing about them. */
  readonly handedOut?: readonly string[];
  /** Values of loops, with the outputs of `whole` that tell of them. */
  readonly looped?: ReadonlyMap<string, LoopState>;
  /** Where extremes are taken only, and no bins: the outputs of `whole` that tell them, by value. Its other values have none. */
  readonly extremes?: ReadonlyMap<string, ExtremesOutputs>;
  /** Threads of a session. */
  readonly threads: number;
}

/** What one sample gave beside the observations. */
export interface SampleOutcome {
  readonly nonFinite: readonly NonFinite[];
  /** Time in the runtime. */
  readonly inferenceMs: number;
}

/** The sessions that a plan needs, opened when they are asked for. */
export class PlanSessions {
  readonly plan: RunPlan;
  #whole: Promise<Session> | undefined;
  #sampled: Promise<Session> | undefined;

  constructor(plan: RunPlan) {
    this.plan = plan;
  }

  /** Opens the one that most samples will need. */
  async open(): Promise<void> {
    await (this.plan.sampled ? this.sampled() : this.whole());
  }

  /** Undefined where only inputs are observed. */
  async whole(): Promise<Session | undefined> {
    const { whole, threads } = this.plan;
    return whole && (this.#whole ??= openSource(whole, threads));
  }

  sampled(): Promise<Session> {
    return (this.#sampled ??= openSource(this.plan.sampled!.source, this.plan.threads));
  }

  async close(): Promise<void> {
    await (await this.#whole)?.release();
    await (await this.#sampled)?.release();
  }
}

/** Runs samples one after another and observes them. What it observes depends on the samples only, not on their order. */
export class SampleRunner {
  readonly #sessions: PlanSessions;
  readonly #observers = new Map<string, TensorObserver>();
  readonly #loopOutputs: readonly string[];
  /** What the loops of the sample that is run have told, by output. */
  readonly #loops = new Map<string, Tensor>();

  constructor(sessions: PlanSessions) {
    this.#sessions = sessions;
    this.#loopOutputs = loopOutputs(sessions.plan.looped ?? new Map());
  }

  get #plan(): RunPlan {
    return this.#sessions.plan;
  }

  /** Runs a sample. Throws the runtime's QdqError with the sample's name. */
  async run(name: string, inputs: InputTensors): Promise<SampleOutcome> {
    const nonFinite: NonFinite[] = [];
    const report = (tensor: string, { nan, inf }: Scan) => {
      if (nan + inf > 0) nonFinite.push({ tensor, sample: name, nan, inf });
    };
    const inferenceMs =
      (await this.#runSampled(inputs, report)) ??
      (await this.#runExtremes(inputs, report)) ??
      (await this.#runWhole(name, inputs, (value, tensor) => this.#isUntaken(value, tensor) || report(value, this.#observeWhole(value, tensor))));
    this.#observeLoops(report);
    for (const value of this.#plan.fed) report(value, this.#observe(value, inputs.get(value)!));
    return { nonFinite, inferenceMs };
  }

  /** Runs a sample and tells the types and dimensions of the values that the model computes, without observing them. */
  async show(name: string, inputs: InputTensors): Promise<Map<string, SeenValue>> {
    const values = new Map<string, SeenValue>();
    await this.#runWhole(name, inputs, (value, { dtype, dims }) => values.set(value, { dtype, dims }));
    return values;
  }

  /** What was observed so far, by value. */
  records(): Record<string, TensorRecord> {
    return Object.fromEntries([...this.#observers].map(([name, observer]) => [name, observer.record()]));
  }

  /** Undefined where the sample must be run with whole values. */
  async #runSampled(inputs: InputTensors, report: (tensor: string, scan: Scan) => void): Promise<number | undefined> {
    const { sampled } = this.#plan;
    if (sampled?.inputDims !== dimsText(inputs)) return undefined;
    const reduced = new Map<string, ReducedValue>();
    const others = new Map<string, Tensor>();
    const scans: Scan[] = [];
    let inferenceMs: number;
    try {
      const session = await this.#sessions.sampled();
      inferenceMs = await session.runAndVisit(inputs, (name, tensor) => {
        const blocks = sampled.joined.get(name);
        if (!blocks) {
          others.set(name, tensor);
          return;
        }
        const values = floatsOf(tensor);
        scans.push(scanExtremes(values));
        splitJoined(blocks, values, reduced);
      });
    } catch (error) {
      // Dimensions that follow from the data can differ although those of the inputs do not.
      if (error instanceof QdqError && error.code === 'runtime-rejected') return undefined;
      throw error;
    }
    // Extremes of a channel with NaN or infinite elements tell nothing of the finite ones.
    if (scans.some(({ nan, inf }) => nan + inf > 0)) return undefined;
    for (const [name, tensor] of others) report(name, this.#observe(name, tensor));
    for (const [value, { dims, elements }] of reduced) {
      report(value, this.#observer(value, { dtype: 'float32', dims }).addReduced(dims, elements));
    }
    return inferenceMs;
  }

  /** Undefined where the sample must be run with whole values. */
  async #runExtremes(inputs: InputTensors, report: (tensor: string, scan: Scan) => void): Promise<number | undefined> {
    const { extremes } = this.#plan;
    const session = extremes && (await this.#sessions.whole());
    if (!session) return undefined;
    const outputs = new Map<string, Tensor>();
    const others = this.#wholeValues(session).filter((name) => !extremes.has(name));
    const fetch = [...others, ...outputsOf(extremes), ...this.#loopOutputs];
    let inferenceMs: number;
    try {
      inferenceMs = await session.runAndVisit(inputs, (name, tensor) => this.#keepLoop(name, tensor) || outputs.set(name, tensor), fetch);
    } catch (error) {
      // A value without elements has no extremes.
      if (error instanceof QdqError && error.code === 'runtime-rejected') return undefined;
      throw error;
    }
    const numbers = (name: string) => Array.from(numbersOf(outputs.get(name)!));
    const found = [...extremes].map(([value, names]) => ({ value, min: numbers(names.min)[0]!, max: numbers(names.max)[0]!, sum: numbers(names.sum)[0]!, dims: numbers(names.dims) }));
    if (!found.every(({ min, max, sum }) => [min, max, sum].every(Number.isFinite))) return undefined;
    for (const { value, min, max, dims } of found) report(value, this.#observer(value, { dtype: 'float32', dims }).addExtremes(dims, min, max));
    for (const value of others) report(value, this.#observe(value, outputs.get(value)!));
    return inferenceMs;
  }

  /** The observed values among the outputs of the session that hands them out. */
  #wholeValues(session: Session): string[] {
    const others = new Set([...outputsOf(this.#plan.extremes ?? new Map()), ...this.#loopOutputs]);
    return session.outputs.map(({ name }) => name).filter((name) => !others.has(name));
  }

  /** Runs a sample whole and hands over each value. Returns the time in the runtime. */
  async #runWhole(sample: string, inputs: InputTensors, visit: (value: string, tensor: Tensor) => void): Promise<number> {
    const session = await this.#sessions.whole();
    if (!session) return 0;
    try {
      return await session.runAndVisit(inputs, (name, tensor) => this.#keepLoop(name, tensor) || visit(name, tensor), [...this.#wholeValues(session), ...this.#loopOutputs]);
    } catch (error) {
      if (!(error instanceof QdqError)) throw error;
      throw new QdqError(error.code, `sample ${sample}: ${error.message}`, error.hint, { cause: error });
    }
  }

  /** Keeps what a sample's loops tell until all of it is there. Returns whether the output is such. */
  #keepLoop(name: string, tensor: Tensor): boolean {
    const isLoop = this.#loopOutputs.includes(name);
    if (isLoop) this.#loops.set(name, tensor);
    return isLoop;
  }

  #observeLoops(report: (value: string, scan: Scan) => void): void {
    for (const [value, { rows, extremes, counts }] of this.#plan.looped ?? []) {
      const [kept, ends, [rounds = 0, count = 0, nan = 0, inf = 0]] = [this.#loops.get(rows)!, this.#loops.get(extremes)!, numbersOf(this.#loops.get(counts)!)];
      // Without a round there is nothing to tell.
      if (rounds === 0) continue;
      const [negatedMin = 0, max = 0] = floatsOf(ends);
      const elements = floatsOf(kept).subarray(0, Math.min(rounds, ROWS) * ROW_LENGTH);
      report(value, this.#observer(value, { dtype: 'float32', dims: [] }).addLoop(elements, { min: 0 - negatedMin, max, nan, inf }, count));
    }
    this.#loops.clear();
  }

  #isUntaken(value: string, { dims }: Tensor): boolean {
    return elementCount(dims) === 0 && (this.#plan.handedOut?.includes(value) ?? false);
  }

  /** Takes a whole value; where other samples are reduced, the same grid of it, so that every sample weighs the same. */
  #observeWhole(name: string, tensor: Tensor): Scan {
    const step = this.#plan.sampled?.steps.get(name);
    return step && tensor.dims.length === 4 ? this.#observer(name, tensor).addGrid(tensor, step) : this.#observe(name, tensor);
  }

  #observe(name: string, tensor: Tensor): Scan {
    return this.#observer(name, tensor).add(tensor);
  }

  #observer(name: string, tensor: Pick<Tensor, 'dtype' | 'dims'>): TensorObserver {
    let observer = this.#observers.get(name);
    if (!observer) this.#observers.set(name, (observer = new TensorObserver(tensor, this.#plan.extremes === undefined)));
    return observer;
  }
}

/** The dimensions of a sample's inputs as text. */
export function dimsText(inputs: InputTensors): string {
  return JSON.stringify([...inputs].map(([name, { dims }]) => [name, dims]).sort(([a], [b]) => (a! < b! ? -1 : 1)));
}

/** Without side files the runtime reads the file itself, which saves a copy of the weights. */
async function openSource({ path, externalDataFolder }: ModelSource, threads: number): Promise<Session> {
  return externalDataFolder === undefined
    ? Session.open(path, { threads, spinning: false })
    : Session.open(await readFile(path), { threads, externalDataFolder, spinning: false });
}
