import { indexOf } from '../../src/graph/graph-index.js';
import type { Graph, Node } from '../../src/graph/model.js';

const SHORT: Readonly<Record<string, string>> = { QuantizeLinear: 'Q', DequantizeLinear: 'DQ' };

/**
 * The outputs of a graph as expressions over its inputs: `DQ(QLinearConv(Q(x)))`. Constants are left out; a node that has been written
 * before, and reads other nodes, is written as its operator and "…".
 */
export function expressionText(graph: Graph): string {
  const index = indexOf(graph);
  const written = new Set<Node>();
  const text = (value: string): string | undefined => {
    const node = index.producer(value);
    if (!node) return index.isInput(value) ? value : undefined;
    const name = SHORT[node.opType] ?? node.opType;
    const producers = node.inputs.filter((input) => index.producer(input));
    if (written.has(node) && producers.length > 0) return `${name}…`;
    written.add(node);
    return `${name}(${node.inputs.flatMap((input) => text(input) ?? []).join(', ')})`;
  };
  return graph.outputs.map((output) => text(output.name)).join('; ');
}
