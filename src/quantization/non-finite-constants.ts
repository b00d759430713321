import { subgraphsOf } from '../graph/attributes.js';
import type { Graph, Node } from '../graph/model.js';
import { isComputeNode } from '../runtime/kernels.js';
import { channelMaxima } from './weights.js';

/**
 * Says of a compute node that a constant of its own contains NaN or infinity, which no scale can hold, so that it stays in float; undefined
 * for others. Reads each float constant of the graph and its bodies that such a node takes once.
 */
export function nonFiniteConstants(graph: Graph): (node: Node) => string | undefined {
  const broken = new Set<string>();
  const look = ({ nodes, initializers }: Graph) => {
    for (const [name, tensor] of initializers) {
      if (tensor.dtype === 'float32' && !Number.isFinite(channelMaxima(tensor, null)[0])) broken.add(name);
    }
    for (const node of nodes) subgraphsOf(node).forEach(look);
  };
  look(graph);
  return (node) => {
    const name = isComputeNode(node) ? node.inputs.find((input) => broken.has(input)) : undefined;
    return name === undefined ? undefined : `its constant "${name}" contains NaN or infinity`;
  };
}
