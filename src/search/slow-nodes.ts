import { nodesBetterInFloat } from './fastest-assignment.js';
import { profileModel } from './measure.js';
import { leftOut, type Choices, type PlannedModel, type Planner } from './planner.js';
import { timeTable } from './time-table.js';
import type { TrialJob } from './trials.js';

/** A node that costs more on integers than in float. */
export interface SlowNode {
  readonly name: string;
  readonly opType: string;
  /** Median times of its kernels in one run, conversions at its edges left out. */
  readonly floatMs: number;
  readonly integerMs: number;
}

/** Profiles end soon where one run takes longer than this many milliseconds. */
const ASSUMED_RUN_MS = 100;

/**
 * The nodes that cost time on integers: those that a cheapest assignment, conversions at the edges of regions included, would leave in
 * float.
 */
export async function findSlowNodes(job: TrialJob, allPlans: Planner, planned: PlannedModel, choices: Choices, threads: number): Promise<SlowNode[]> {
  const planner = allPlans.of(choices);
  const profile = (model: Parameters<typeof profileModel>[1]) => profileModel(job, model, ASSUMED_RUN_MS, threads);
  const times = timeTable(planner.float.graph, await profile(planner.float), await profile(planner.quantize(planned).model));
  const selection = planner.select(leftOut(choices));
  return [...nodesBetterInFloat(planner.float.graph, selection, times)].map((node) => {
    const selected = selection.nodes.get(node)!;
    return { name: node.name, opType: node.opType, floatMs: times.float(selected), integerMs: times.integer(selected) };
  });
}
