import { QdqError } from '../errors.js';
import { indexOf } from '../graph/graph-index.js';
import type { Model, ValueInfo } from '../graph/model.js';
import { prune } from '../passes/prune.js';
import { loopOutputs, type LoopState } from './loop-observer.js';
import { tapBodies } from './tap-bodies.js';

/** A model whose outputs are the values to observe. */
export interface Tap {
  readonly model: Model;
  /** Observed values that nodes compute, each an output of `model`, but for those of loops. */
  readonly computed: readonly string[];
  /** Observed values that are inputs of the model, to be taken from the sample. */
  readonly fed: readonly string[];
  /** Computed values of branches, which have no elements where another branch is taken. */
  readonly handedOut: ReadonlySet<string>;
  /** Values of loops, with the outputs that tell of all their rounds, without elements where their branch is not taken. */
  readonly looped: ReadonlyMap<string, LoopState>;
}

/**
 * The model with the named values as its only outputs, without the nodes that none of them needs. Values of opened branches are
 * outputs of their If, loops tell what all rounds together gave, and values inside other bodies cannot be observed. Throws QdqError `internal` for a name that no node makes and no input has.
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
  const { model: closed, handedOut, looped } = tapBodies(model, new Set(computed));
  const whole = computed.filter((name) => !looped.has(name));
  return { model: withOutputs(closed, [...whole, ...loopOutputs(looped)]), computed: whole, fed, handedOut, looped };
}

/** The model with other outputs, and without the nodes that none of them needs. The runtime finds their types. */
export function withOutputs(model: Model, names: readonly string[]): Model {
  const outputs = names.map((name): ValueInfo => ({ name, type: { kind: 'none' } }));
  return prune({ ...model, graph: { ...model.graph, outputs, valueInfo: [] } }).model;
}
