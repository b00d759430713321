import { subgraphsOf } from './attributes.js';
import type { Graph, Node } from './model.js';

/** All nodes of a graph and of the bodies inside it, outer ones first. */
export function* allNodes(graph: Graph): Generator<Node> {
  for (const node of graph.nodes) {
    yield node;
    for (const body of subgraphsOf(node)) yield* allNodes(body);
  }
}
