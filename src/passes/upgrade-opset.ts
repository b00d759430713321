import { QdqError } from '../errors.js';
import { mapSubgraphs } from '../graph/attributes.js';
import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Graph, Model, Node } from '../graph/model.js';
import { Names } from '../graph/names.js';
import { numbersOf } from '../tensor/values.js';
import { ADAPTERS, type AdapterContext } from './opset-adapters.js';
import { passResult, type Change, type PassResult } from './pass.js';

/** Oldest operator set from which the adapters lead on. */
const OLDEST = 7;

/** IR version that came with an operator set. Source: onnx/docs/Versioning.md. */
const IR_VERSION: Readonly<Record<number, number>> = { 8: 3, 9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10 };

/**
 * Raises the ONNX operator set to `version` (at most 21), no further, rewriting the operators whose form or meaning changed on the way.
 * Throws `opset-unsupported` where that is not possible. The caller checks the result against the original by running both.
 */
export function upgradeOpset(model: Model, version: number): PassResult {
  const from = model.opsets.get('') ?? 1;
  if (from >= version) return { model, changes: [] };
  if (from < OLDEST) {
    throw new QdqError(
      'opset-unsupported',
      `the model uses ONNX operator set ${from}; qdq reads ${OLDEST} and later`,
      'Raise it with the converter of the tool that exported the model.',
    );
  }
  const { graph, changed } = raiseGraph(model.graph, from, version, new Names(model.graph));
  const message = `operator set raised from ${from} to ${version}${changed.size > 0 ? `; ${changed.size} nodes rewritten for it` : ''}`;
  const irVersion = Math.max(model.irVersion, IR_VERSION[version] ?? 10);
  const raised = { ...model, irVersion, opsets: new Map(model.opsets).set('', version) };
  return passResult(raised, graph, [{ pass: 'upgrade-opset', names: [...changed], message }]);
}

/**
 * Raises the ONNX operator set to `version`, or as near to it as the model's operators let. Where that is not all the way, a change names the
 * operator in the way. Throws as `upgradeOpset` does for operator sets that are too old altogether.
 */
export function upgradeTowards(model: Model, version: number): PassResult {
  const from = model.opsets.get('') ?? 1;
  if (from < OLDEST) return upgradeOpset(model, version);
  let reason: string | undefined;
  for (let next = version; next > from; next--) {
    try {
      const { model: raised, changes } = upgradeOpset(model, next);
      return { model: raised, changes: reason === undefined ? changes : [...changes, obstacle(reason)] };
    } catch (error) {
      if (!(error instanceof QdqError && error.code === 'opset-unsupported')) throw error;
      reason = error.message;
    }
  }
  return { model, changes: reason === undefined ? [] : [obstacle(reason)] };

  function obstacle(message: string): Change {
    return { pass: 'upgrade-opset', names: [], message: `operator set ${version} was not reached: ${message}` };
  }
}

/** The nodes of a graph and its bodies as `version` writes what `from` wrote, and the names of those rewritten. Throws `opset-unsupported`. */
export function raiseGraph(graph: Graph, from: number, version: number, names: Names): { readonly graph: Graph; readonly changed: ReadonlySet<string> } {
  const changed = new Set<string>();
  let raised = graph;
  for (let next = from + 1; next <= version; next++) raised = adaptGraph(raised, next, changed, names);
  return { graph: raised, changed };
}

/** Adapts a graph, or a body, whose captured values `outer` knows. `names` are those of the whole model. */
function adaptGraph(graph: Graph, version: number, changed: Set<string>, names: Names, outer?: AdapterContext): Graph {
  const adapters = new Map(ADAPTERS.filter((row) => row.version === version).map((row) => [row.opType, row]));
  const editor = new GraphEditor(graph, names);
  const index = indexOf(graph);
  const context: AdapterContext = {
    constant: (hint, tensor) => editor.addInitializer(hint, tensor),
    value: (hint) => names.unique(hint),
    rank: (value) => {
      const type = index.info(value)?.type;
      return index.constant(value)?.dims.length ?? (type?.kind === 'tensor' ? type.shape?.length : outer?.rank(value));
    },
    numbers: (value) => {
      const tensor = index.constant(value);
      return tensor ? numbersOf(tensor) : outer?.numbers(value);
    },
    isRead: (value) => index.isRead(value),
  };
  let edited = false;
  for (const original of graph.nodes) {
    const node = mapSubgraphs(original, (body) => adaptGraph(body, version, changed, names, context));
    const adapter = node.domain === '' ? adapters.get(node.opType) : undefined;
    const replacement = adapter ? adapter.adapt(node, context) : [node];
    if (typeof replacement === 'string') throw unsupported(node, version, replacement);
    if (replacement.length === 1 && replacement[0] === original) continue;
    edited = true;
    editor.replace(original, ...replacement);
    if (adapter) changed.add(node.name || node.outputs[0] || node.opType);
  }
  return edited ? editor.finish() : graph;
}

function unsupported(node: Node, version: number, why: string): QdqError {
  return new QdqError(
    'opset-unsupported',
    `${node.opType} "${node.name || node.outputs[0]}" cannot be raised to ONNX operator set ${version}: ${why}`,
    'Export the model again with operator set 13 or later.',
  );
}
