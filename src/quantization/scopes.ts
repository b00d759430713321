import { subgraphsOf } from '../graph/attributes.js';
import type { Graph, Node } from '../graph/model.js';
import { constantValue } from '../passes/lift-constants.js';
import type { Tensor } from '../tensor/tensor.js';

/** A graph or body together with what stands around it. */
export interface Scope {
  readonly graph: Graph;
  readonly parent: Scope | undefined;
}

/** A node where it stands. */
export interface ScopedNode {
  readonly node: Node;
  readonly scope: Scope;
}

/** A constant and the graph that holds it. */
export interface ScopedConstant {
  readonly name: string;
  readonly tensor: Tensor;
  readonly scope: Scope;
  /** The Constant node that makes it; undefined for initializers. */
  readonly node: Node | undefined;
}

/** All nodes of a graph and of the bodies inside it, in the order of `allNodes`, each with its scope. */
export function* scopedNodes(scope: Scope): Generator<ScopedNode> {
  for (const node of scope.graph.nodes) {
    yield { node, scope };
    for (const graph of subgraphsOf(node)) yield* scopedNodes({ graph, parent: scope });
  }
}

/** The constant that a name stands for in a scope, seen through to outer graphs; undefined where it is computed or may be overridden. */
export function constantIn(scope: Scope | undefined, name: string): ScopedConstant | undefined {
  if (!scope || !name) return undefined;
  const { inputs, initializers, nodes } = definitionsOf(scope.graph);
  if (inputs.has(name)) return undefined;
  const tensor = initializers.get(name);
  if (tensor) return { name, tensor, scope, node: undefined };
  const node = nodes.get(name);
  if (!node) return constantIn(scope.parent, name);
  const value = constantValue(node);
  return value && { name, tensor: value, scope, node };
}

interface Definitions {
  readonly inputs: ReadonlySet<string>;
  readonly initializers: ReadonlyMap<string, Tensor>;
  readonly nodes: ReadonlyMap<string, Node>;
}

const cache = new WeakMap<Graph, Definitions>();

function definitionsOf(graph: Graph): Definitions {
  let found = cache.get(graph);
  if (!found) {
    found = {
      inputs: new Set(graph.inputs.map((input) => input.name)),
      initializers: graph.initializers,
      nodes: new Map(graph.nodes.flatMap((node) => node.outputs.filter(Boolean).map((output) => [output, node] as const))),
    };
    cache.set(graph, found);
  }
  return found;
}
