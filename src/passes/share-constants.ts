import { createHash } from 'node:crypto';
import { mapSubgraphs, subgraphsOf } from '../graph/attributes.js';
import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Graph } from '../graph/model.js';
import { Names } from '../graph/names.js';
import type { Tensor } from '../tensor/tensor.js';
import { passResult, type Pass } from './pass.js';

/** Smaller constants are not worth a look. */
const MIN_BYTES = 1024;

/**
 * Stores constants once that several bodies hold, in the graph around them, which bodies may read. The branches of an If often compute their
 * weights from the same constants, so that folding makes one of each in every branch.
 */
export const shareConstants: Pass = (model) => {
  const counts = new Map<string, number>();
  for (const tensor of bodyConstants(model.graph)) counts.set(contentOf(tensor), (counts.get(contentOf(tensor)) ?? 0) + 1);
  if (![...counts.values()].some((count) => count > 1)) return { model, changes: [] };
  const names = new Names(model.graph);
  const shared = new Map<string, { readonly name: string; readonly tensor: Tensor }>();
  const place = (hint: string, tensor: Tensor): string | undefined => {
    const content = contentOf(tensor);
    if ((counts.get(content) ?? 0) < 2) return undefined;
    let entry = shared.get(content);
    if (!entry) shared.set(content, (entry = { name: names.unique(`${hint}_shared`), tensor }));
    return entry.name;
  };
  const bodies = model.graph.nodes.map((node) => mapSubgraphs(node, (body) => shareIn(body, place)));
  const initializers = new Map([...model.graph.initializers, ...[...shared.values()].map(({ name, tensor }) => [name, tensor] as const)]);
  const message = `${shared.size} constants that several bodies held are stored once`;
  return passResult(model, { ...model.graph, nodes: bodies, initializers }, [{ pass: 'share-constants', names: [...shared.values()].map(({ name }) => name), message }]);
};

/** Large constants of bodies that may move: none that a body hands out itself. */
function* bodyConstants(graph: Graph): Generator<Tensor> {
  for (const node of graph.nodes) {
    for (const body of subgraphsOf(node)) {
      for (const [, tensor] of movable(body)) yield tensor;
      yield* bodyConstants(body);
    }
  }
}

function movable(body: Graph): (readonly [string, Tensor])[] {
  const index = indexOf(body);
  return [...body.initializers].filter(([name, { dtype, storage }]) => storage.byteLength >= MIN_BYTES && dtype !== 'string' && !index.isOutput(name) && !index.isInput(name));
}

function shareIn(body: Graph, place: (hint: string, tensor: Tensor) => string | undefined): Graph {
  const editor = new GraphEditor(body);
  let edited = false;
  for (const node of body.nodes) {
    const inner = mapSubgraphs(node, (each) => shareIn(each, place));
    if (inner === node) continue;
    editor.replace(node, inner);
    edited = true;
  }
  for (const [name, tensor] of movable(body)) {
    const to = place(name, tensor);
    if (to === undefined) continue;
    editor.renameUses(name, to);
    edited = true;
  }
  return edited ? editor.finish() : body;
}

const contents = new WeakMap<Tensor, string>();

/** Equal for constants of the same type, shape and bytes. */
function contentOf(tensor: Tensor): string {
  let content = contents.get(tensor);
  if (content === undefined) {
    const digest = createHash('sha256').update(tensor.storage.read()).digest('base64');
    contents.set(tensor, (content = `${tensor.dtype}[${tensor.dims.join()}]${digest}`));
  }
  return content;
}
