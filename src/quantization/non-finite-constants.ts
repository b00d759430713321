import { subgraphsOf } from '../graph/attributes.js';
import type { Graph, Node } from '../graph/model.js';
import { isComputeNode } from '../runtime/kernels.js';
import { channelMaxima } from './weights.js';

/** Largest magnitude of 8-bit weights whose scale is a denormal float32: kernels that flush those to zero would multiply by nothing. */
const FAINT = 127 * 2 ** -126;

/**
 * Says of a compute node why a constant of its own has no scale, so that it stays in float: NaN or infinity in any of them, a weight so faint
 * that its scale would be denormal. Undefined for others. Reads each float constant of the graph and its bodies that such a node takes once.
 */
export function nonFiniteConstants(graph: Graph): (node: Node) => string | undefined {
  const broken = new Set<string>();
  const faint = new Set<string>();
  const look = ({ nodes, initializers }: Graph) => {
    for (const [name, tensor] of initializers) {
      if (tensor.dtype !== 'float32') continue;
      const largest = channelMaxima(tensor, null)[0]!;
      if (!Number.isFinite(largest)) broken.add(name);
      else if (largest > 0 && largest < FAINT) faint.add(name);
    }
    for (const node of nodes) subgraphsOf(node).forEach(look);
  };
  look(graph);
  return (node) => {
    if (!isComputeNode(node)) return undefined;
    const name = node.inputs.find((input) => broken.has(input));
    if (name !== undefined) return `its constant "${name}" contains NaN or infinity`;
    const weight = node.inputs[1] ?? '';
    return faint.has(weight) ? `its weight "${weight}" is so faint that its scale would be a denormal number` : undefined;
  };
}
