import { subgraphsOf } from './attributes.js';
import { capturedValues } from './graph-index.js';
import type { Node } from './model.js';

/**
 * The nodes in an order in which every value is made before it is read, keeping the given order wherever it already is.
 * Throws RangeError where values depend on each other in a circle.
 */
export function topologicalOrder(nodes: readonly Node[]): Node[] {
  const producers = new Map<string, Node>();
  for (const node of nodes) for (const output of node.outputs) if (output) producers.set(output, node);
  const ordered: Node[] = [];
  const state = new Map<Node, 'open' | 'done'>();
  // Explicit stack: graphs of tens of thousands of nodes in a chain must not exhaust the call stack.
  for (const root of nodes) {
    const stack = [{ node: root, pending: dependencies(root) }];
    if (state.has(root)) continue;
    state.set(root, 'open');
    while (stack.length > 0) {
      const top = stack[stack.length - 1]!;
      const value = top.pending.pop();
      if (value === undefined) {
        state.set(top.node, 'done');
        ordered.push(top.node);
        stack.pop();
        continue;
      }
      const producer = producers.get(value);
      if (!producer || state.get(producer) === 'done') continue;
      if (state.get(producer) === 'open') {
        throw new RangeError(`the graph has a cycle through ${producer.opType} "${producer.name}" (value "${value}")`);
      }
      state.set(producer, 'open');
      stack.push({ node: producer, pending: dependencies(producer) });
    }
  }
  return ordered;
}

function dependencies(node: Node): string[] {
  const values = [...node.inputs];
  for (const body of subgraphsOf(node)) values.push(...capturedValues(body));
  return values.filter(Boolean).reverse();
}
