import { subgraphsOf } from './attributes.js';
import type { Graph, Model } from './model.js';

/** Bytes of the initializers of a model's main graph. */
export function initializerBytes({ graph }: Model): number {
  return [...graph.initializers.values()].reduce((sum, { storage }) => sum + storage.byteLength, 0);
}

/** Bytes of all constants of a graph and its bodies: initializers and the tensors of Constant nodes. */
export function constantBytes(graph: Graph): number {
  const own = [...graph.initializers.values()].reduce((sum, { storage }) => sum + storage.byteLength, 0);
  return graph.nodes.reduce((sum, node) => {
    const value = node.opType === 'Constant' ? node.attributes.get('value') : undefined;
    return sum + (value?.kind === 'tensor' ? value.value.storage.byteLength : 0) + subgraphsOf(node).reduce((inside, body) => inside + constantBytes(body), 0);
  }, own);
}
