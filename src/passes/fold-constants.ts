import { QdqError } from '../errors.js';
import { mapSubgraphs, subgraphsOf } from '../graph/attributes.js';
import { constantBytes } from '../graph/constant-bytes.js';
import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf, type GraphIndex } from '../graph/graph-index.js';
import type { Graph, Model, Node } from '../graph/model.js';
import type { Tensor } from '../tensor/tensor.js';
import { passResult, type Change, type Evaluate, type PassResult } from './pass.js';

/** Folded values larger than this stay nodes: an Expand or ConstantOfShape can be far smaller than what it makes. */
const MAX_GROWTH_BYTES = 1 << 20;

/** What folding may add to a model whose constants are fewer bytes than that. */
const LEAST_GROWTH_BYTES = 1 << 14;

/** A value up to this size costs no more than the node that it replaces. */
const NODE_BYTES = 256;

/** Operators whose result is not a function of their inputs alone, says how a weight is stored, or is no tensor. */
const NOT_CONSTANT = /^(Random|Multinomial$|Bernoulli$|Dropout$|QuantizeLinear$|DequantizeLinear$|Sequence|SplitToSequence$|Optional)/;

/** A constant of the graphs around; undefined where they have none of that name. */
type OuterConstant = (value: string) => Tensor | undefined;

const NO_OUTER: OuterConstant = () => undefined;

/** Values that stay computed although they depend on constants only. */
type Kept = ReadonlySet<string>;

/** Nodes of the ONNX domain that depend on constants only, `kept` values aside. Q/DQ pairs are left out: they say how a weight is to be stored. */
export function constantNodes(graph: Graph, kept: Kept = new Set(), outer: OuterConstant = NO_OUTER): Set<Node> {
  const index = indexOf(graph);
  const constant = new Set<string>();
  const found = new Set<Node>();
  for (const node of graph.nodes) {
    const isConstant =
      node.domain === '' &&
      !NOT_CONSTANT.test(node.opType) &&
      subgraphsOf(node).length === 0 &&
      !node.outputs.some((output) => kept.has(output)) &&
      node.inputs.every((value) => value === '' || constant.has(value) || (index.constant(value) ?? outer(value)) !== undefined);
    if (!isConstant) continue;
    found.add(node);
    node.outputs.forEach((output) => constant.add(output));
  }
  return found;
}

/** Bytes that the constants of a model may reach by folding: a quarter more, which weights on integers give back. */
export function foldingLimit({ graph }: Model): number {
  const sizeBytes = constantBytes(graph);
  return sizeBytes + Math.max(LEAST_GROWTH_BYTES, Math.floor(sizeBytes / 4));
}

/**
 * Replaces what depends on constants only by its value, computed by the runtime itself, in bodies too. Nodes in between lose their readers and
 * are left for `prune`. Values of `kept`, and what depends on them, stay computed, and so do the largest of those that are more bytes than what they
 * are made from, where all of them would take the model's constants beyond `limitBytes`. Where the runtime refuses, nothing of that graph is folded
 * and the change says why.
 */
export async function foldConstants(model: Model, evaluate: Evaluate, kept: Kept = new Set(), limitBytes = foldingLimit(model)): Promise<PassResult> {
  const folder = new Folder(model, evaluate, kept, limitBytes);
  const graph = await folder.fold(model.graph, NO_OUTER);
  const { folded, refusals } = folder;
  if (folded.length === 0 && refusals.length === 0) return { model, changes: [] };
  const changes = folded.length > 0 ? [change(folded, 'were computed once and stored'), ...refusals] : refusals;
  return folded.length > 0 ? passResult(model, graph, changes) : { model, changes };
}

const change = (names: readonly string[], what: string): Change => ({
  pass: 'fold-constants',
  names,
  message: `${names.length} values that depend on constants only ${what}`,
});

class Folder {
  readonly folded: string[] = [];
  readonly refusals: Change[] = [];
  readonly #model: Model;
  readonly #evaluate: Evaluate;
  readonly #kept: Kept;
  #growthBytes: number;

  constructor(model: Model, evaluate: Evaluate, kept: Kept, limitBytes: number) {
    this.#model = model;
    this.#evaluate = evaluate;
    this.#kept = kept;
    this.#growthBytes = limitBytes - constantBytes(model.graph);
  }

  /** The graph with its constant values stored, and those of its bodies; the same graph where there are none. */
  async fold(graph: Graph, outer: OuterConstant): Promise<Graph> {
    const values = await this.#values(graph, outer);
    const index = indexOf(graph);
    const editor = new GraphEditor(graph);
    let edited = values.size > 0;
    for (const [name, tensor] of values) {
      editor.setInitializer(name, tensor);
      editor.replace(index.producer(name)!);
      this.folded.push(name);
    }
    const inside: OuterConstant = (value) => values.get(value) ?? index.constant(value) ?? (isDefinedIn(index, value) ? undefined : outer(value));
    for (const node of graph.nodes) {
      const changed = await this.#foldBodies(node, inside);
      if (changed === node) continue;
      editor.replace(node, changed);
      edited = true;
    }
    return edited ? editor.finish() : graph;
  }

  async #foldBodies(node: Node, outer: OuterConstant): Promise<Node> {
    const bodies = new Map<Graph, Graph>();
    for (const body of subgraphsOf(node)) bodies.set(body, await this.fold(body, outer));
    return mapSubgraphs(node, (body) => bodies.get(body)!);
  }

  /** What the constant nodes of one graph come to, where others or its outputs read it. */
  async #values(graph: Graph, outer: OuterConstant): Promise<Map<string, Tensor>> {
    const index = indexOf(graph);
    const nodes = constantNodes(graph, this.#kept, outer);
    const boundary = [...nodes].flatMap((node) => {
      const [output] = node.outputs;
      if (!output || node.outputs.length > 1 || index.isOutput(output)) return [];
      return index.uses(output).some((use) => !nodes.has(use.node)) ? [output] : [];
    });
    if (boundary.length === 0) return new Map();
    const constant: OuterConstant = (value) => index.constant(value) ?? outer(value);
    const read = new Set([...nodes].flatMap((node) => node.inputs).filter((value) => !index.producer(value)));
    const initializers = new Map([...read].flatMap((name) => {
      const tensor = constant(name);
      return tensor ? [[name, tensor] as const] : [];
    }));
    let values: ReadonlyMap<string, Tensor>;
    try {
      const model = { ...this.#model, functions: [], graph: { ...graph, nodes: [...nodes], initializers, sparseInitializers: [], inputs: [] } };
      values = await this.#evaluate(model, boundary);
    } catch (error) {
      if (!(error instanceof QdqError && (error.code === 'runtime-rejected' || error.code === 'operator-missing'))) throw error;
      this.refusals.push(change(boundary, `stay computed, because ${error.message}`));
      return new Map();
    }
    return this.#small(values, (name) => sourceBytes(index, name, constant));
  }

  /** The values that are worth their bytes: those that grow go in by size, the smallest first, as long as the model may grow. */
  #small(values: ReadonlyMap<string, Tensor>, bytesBehind: (name: string) => number): Map<string, Tensor> {
    const grown = [...values]
      .filter(([name, { storage }]) => storage.byteLength > Math.max(NODE_BYTES, 2 * bytesBehind(name)))
      .sort(([, a], [, b]) => a.storage.byteLength - b.storage.byteLength);
    const left = new Set<string>();
    for (const [name, { storage }] of grown) {
      if (storage.byteLength > Math.min(MAX_GROWTH_BYTES, this.#growthBytes)) left.add(name);
      else this.#growthBytes -= storage.byteLength;
    }
    return new Map([...values].filter(([name, { dtype }]) => dtype !== 'string' && !left.has(name)));
  }
}

function isDefinedIn(index: GraphIndex, value: string): boolean {
  return index.isInput(value) || index.producer(value) !== undefined;
}

/** Bytes of all constants that a value is computed from. */
function sourceBytes(index: GraphIndex, value: string, constant: OuterConstant): number {
  const seen = new Set([value]);
  let sizeBytes = 0;
  // The set grows while it is walked.
  for (const name of seen) {
    sizeBytes += constant(name)?.storage.byteLength ?? 0;
    for (const input of index.producer(name)?.inputs ?? []) seen.add(input);
  }
  return sizeBytes;
}
