import { QdqError } from '../errors.js';
import { indexOf } from '../graph/graph-index.js';
import type { Model, ValueInfo } from '../graph/model.js';
import { tapBranches } from '../passes/close-branches.js';
import { prune } from '../passes/prune.js';

/** A model whose outputs are the values to observe. */
export interface Tap {
  readonly model: Model;
  /** Observed values that nodes compute, each an output of `model`. */
  readonly computed: readonly string[];
  /** Observed values that are inputs of the model, to be taken from the sample. */
  readonly fed: readonly string[];
  /** Computed values of branches, which have no elements where another branch is taken. */
  readonly handedOut: ReadonlySet<string>;
}

/**
 * The model with the named values as its only outputs, without the nodes that none of them needs. Values of opened branches are
 * outputs of their If, those inside other bodies cannot be observed. Throws QdqError `internal` for a name that no node makes and no input has.
 */
export function tapValues(model: Model, names: readonly string[]): Tap {
  const { graph } = model;
  const index = indexOf(graph);
  const computed: string[] = [];
  const fed: string[] = [];
  for (const name of new Set(names)) {
    if (index.producer(name)) computed.push(name);
    else if (index.isInput(name)) fed.push(name);
    else throw new QdqError('internal', `calibration cannot observe "${name}": the graph has no such value`);
  }
  const { model: closed, handedOut } = tapBranches(model, new Set(computed));
  return { model: withOutputs(closed, computed), computed, fed, handedOut };
}

/** The model with other outputs, and without the nodes that none of them needs. The runtime finds their types. */
export function withOutputs(model: Model, names: readonly string[]): Model {
  const outputs = names.map((name): ValueInfo => ({ name, type: { kind: 'none' } }));
  return prune({ ...model, graph: { ...model.graph, outputs, valueInfo: [] } }).model;
}
