import type { Graph, Model } from '../graph/model.js';
import type { Tensor } from '../tensor/tensor.js';

/** One thing that a pass did, or left alone with the reason. */
export interface Change {
  /** Name of the pass, for example "fold-batch-norm". */
  readonly pass: string;
  /** Names of the nodes or values concerned. */
  readonly names: readonly string[];
  /** In words, what was done or why not. */
  readonly message: string;
}

/** A new model, and what was done to it. The model given is not changed; without changes it comes back as it was. */
export interface PassResult {
  readonly model: Model;
  readonly changes: readonly Change[];
}

/** A clean-up step that keeps what the model computes. */
export type Pass = (model: Model) => PassResult;

/** Computes values of a model that depend on constants only; supplied by whoever has a runtime. */
export type Evaluate = (model: Model, values: readonly string[]) => Promise<ReadonlyMap<string, Tensor>>;

/** The result of a pass that may have changed the graph. */
export function passResult(model: Model, graph: Graph, changes: readonly Change[]): PassResult {
  if (graph === model.graph) return { model, changes };
  // From IR version 4 on initializers need not be graph inputs.
  const irVersion = graph.initializers.size > 0 ? Math.max(model.irVersion, 4) : model.irVersion;
  return { model: { ...model, irVersion, graph }, changes };
}

/** Runs passes in order and joins their changes. */
export function runPasses(model: Model, passes: readonly Pass[]): PassResult {
  const changes: Change[] = [];
  let current = model;
  for (const pass of passes) {
    const result = pass(current);
    current = result.model;
    changes.push(...result.changes);
  }
  return { model: current, changes };
}
