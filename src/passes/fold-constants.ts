import { QdqError } from '../errors.js';
import { subgraphsOf } from '../graph/attributes.js';
import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf, type GraphIndex } from '../graph/graph-index.js';
import type { Graph, Model, Node } from '../graph/model.js';
import type { Tensor } from '../tensor/tensor.js';
import { passResult, type Change, type Evaluate, type PassResult } from './pass.js';

/** Folded values larger than this stay nodes: an Expand or ConstantOfShape can be far smaller than what it makes. */
const MAX_GROWTH_BYTES = 1 << 20;

/** Operators whose result is not a function of their inputs alone, says how a weight is stored, or is no tensor. */
const NOT_CONSTANT = /^(Random|Multinomial$|Bernoulli$|Dropout$|QuantizeLinear$|DequantizeLinear$|Sequence|SplitToSequence$|Optional)/;

/** Nodes of the ONNX domain that depend on constants only, `kept` values aside. Q/DQ pairs are left out: they say how a weight is to be stored. */
export function constantNodes(graph: Graph, kept: ReadonlySet<string> = new Set()): Set<Node> {
  const index = indexOf(graph);
  const constant = new Set<string>();
  const found = new Set<Node>();
  for (const node of graph.nodes) {
    const isConstant =
      node.domain === '' &&
      !NOT_CONSTANT.test(node.opType) &&
      subgraphsOf(node).length === 0 &&
      !node.outputs.some((output) => kept.has(output)) &&
      node.inputs.every((value) => value === '' || constant.has(value) || index.constant(value) !== undefined);
    if (!isConstant) continue;
    found.add(node);
    node.outputs.forEach((output) => constant.add(output));
  }
  return found;
}

/**
 * Replaces what depends on constants only by its value, computed by the runtime itself. Nodes in between lose their readers and are
 * left for `prune`. Values of `kept`, and what depends on them, stay computed. Where the runtime refuses, nothing is folded and the change says why.
 */
export async function foldConstants(model: Model, evaluate: Evaluate, kept: ReadonlySet<string> = new Set()): Promise<PassResult> {
  const { graph } = model;
  const index = indexOf(graph);
  const nodes = constantNodes(graph, kept);
  const boundary = [...nodes].flatMap((node) => {
    const [output] = node.outputs;
    if (!output || node.outputs.length > 1 || index.isOutput(output)) return [];
    return index.uses(output).some((use) => !nodes.has(use.node)) ? [output] : [];
  });
  if (boundary.length === 0) return { model, changes: [] };
  const read = new Set([...nodes].flatMap((node) => node.inputs));
  const initializers = new Map([...graph.initializers].filter(([name]) => read.has(name)));
  const change = (names: readonly string[], what: string): Change => ({
    pass: 'fold-constants',
    names,
    message: `${names.length} values that depend on constants only ${what}`,
  });
  let values: ReadonlyMap<string, Tensor>;
  try {
    values = await evaluate({ ...model, graph: { ...graph, nodes: [...nodes], initializers, sparseInitializers: [], inputs: [] } }, boundary);
  } catch (error) {
    if (!(error instanceof QdqError && error.code === 'runtime-rejected')) throw error;
    return { model, changes: [change(boundary, `stay computed, because ${error.message}`)] };
  }
  const editor = new GraphEditor(graph);
  const folded: string[] = [];
  for (const [name, tensor] of values) {
    const isSmall = tensor.storage.byteLength <= MAX_GROWTH_BYTES || tensor.storage.byteLength <= 2 * sourceBytes(index, name);
    if (!isSmall || tensor.dtype === 'string') continue;
    editor.setInitializer(name, tensor);
    editor.replace(index.producer(name)!);
    folded.push(name);
  }
  if (folded.length === 0) return { model, changes: [] };
  return passResult(model, editor.finish(), [change(folded, 'were computed once and stored')]);
}

/** Bytes of all constants that a value is computed from. */
function sourceBytes(index: GraphIndex, value: string): number {
  const seen = new Set([value]);
  let sizeBytes = 0;
  // The set grows while it is walked.
  for (const name of seen) {
    sizeBytes += index.constant(name)?.storage.byteLength ?? 0;
    for (const input of index.producer(name)?.inputs ?? []) seen.add(input);
  }
  return sizeBytes;
}
