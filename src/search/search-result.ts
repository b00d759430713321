import type { MedianInterval } from '../metrics/statistics.js';
import type { Change } from '../passes/pass.js';
import type { Preference } from './choose-plan.js';
import type { Choices, OtherForm, PlannedModel, WeightForm } from './planner.js';
import type { TrialRun } from './trials.js';

/** What is asked of a plan. */
export interface SearchGoal {
  /** SQNR in dB that every output is to have on unseen samples. */
  readonly minSqnrDb: number;
  /** What is asked on top on the samples that judge, which flatter. */
  readonly marginDb: number;
  /** Largest drop of the task metric, in its unit, instead of the SQNR; needs labels. */
  readonly maxDrop: number | undefined;
  /** Whether samples that gave neither ranges nor choices confirm what is chosen. */
  readonly isConfirmed: boolean;
  /** How much the samples that judge may flatter a plan that keeps a part of the margin only, in dB. */
  readonly flatteryDb: number;
  readonly budget: SearchBudget;
  /** When the job began, by `performance.now()`, and what comes after the search, in runs of the float model. */
  readonly begunAt: number;
  readonly endRuns: number;
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
  /** Time of the whole job beyond which nothing is tried that is not needed. */
  readonly totalMs: number;
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

/** A node that multiplies, with what was measured of it. */
export interface WeighedNode {
  readonly name: string;
  readonly opType: string;
  readonly form: 'static' | OtherForm | 'float';
  /** Noise that it makes alone in its form, or static where it is float, in dB below the signal; null where that was not measured. */
  readonly noiseDb: number | null;
  /** Its time in the float model. */
  readonly floatMs: number;
  /** What integers win of it beside all others as they are, conversions at its edges included; negative where they cost time. */
  readonly wonMs: number;
}

/** What a search found. */
export interface SearchResult {
  readonly planned: PlannedModel;
  readonly choices: Choices;
  /** The chosen plan in words, and its quality on the samples that judged. */
  readonly label: string;
  readonly sqnrDb: number;
  readonly candidates: readonly SearchCandidate[];
  /** Nodes of it that multiply and run on integers. */
  readonly integerNodes: number;
  /** Why it shows no gain over float, by two measurements; null where it does. */
  readonly noGain: string | null;
  /** Time of the float model over that of the float model after clean-up. */
  readonly cleanSpeedup: MedianInterval | null;
  /** Nodes that multiply; none where times of nodes were not measured. */
  readonly weighed: readonly WeighedNode[];
  readonly changes: readonly Change[];
}
