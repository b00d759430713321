import { bytesOf } from '../tensor/tensor.js';
import { subgraphsOf } from './attributes.js';
import type { Graph } from './model.js';

/** Bytes of all constants of a graph and its bodies: initializers and the tensors of Constant nodes. */
export function constantBytes(graph: Graph): number {
  return graph.nodes.reduce((sum, node) => {
    const value = node.opType === 'Constant' ? node.attributes.get('value') : undefined;
    return sum + (value?.kind === 'tensor' ? value.value.storage.byteLength : 0) + subgraphsOf(node).reduce((inside, body) => inside + constantBytes(body), 0);
  }, bytesOf(graph.initializers.values()));
}
