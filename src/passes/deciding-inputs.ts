import { subgraphsOf } from '../graph/attributes.js';
import { capturedValues, indexOf } from '../graph/graph-index.js';
import type { Graph, Model, Node } from '../graph/model.js';

/** A body and the graphs around it. */
interface Surroundings {
  readonly graph: Graph;
  readonly outer: Surroundings | undefined;
}

/**
 * The If nodes, in bodies too, that single integers or bools among the inputs decide and nothing else does, by the name of such an input. Were all
 * of them constants, the branches that are taken could stand in the place of the nodes.
 */
export function decidingInputs({ graph }: Model): ReadonlyMap<string, readonly Node[]> {
  const decided = new Map<string, Node[]>();
  visit({ graph, outer: undefined }, (node, sources) => {
    for (const name of sources) decided.set(name, [...(decided.get(name) ?? []), node]);
  });
  return decided;
}

function visit(scope: Surroundings, found: (node: Node, sources: ReadonlySet<string>) => void): void {
  for (const node of scope.graph.nodes) {
    if (node.opType === 'If' && node.domain === '') {
      const sources = sourcesOf(node.inputs[0] ?? '', scope);
      if (sources && sources.size > 0) found(node, sources);
    }
    for (const graph of subgraphsOf(node)) visit({ graph, outer: scope }, found);
  }
}

/** The inputs that a value is computed from; undefined where one of them is no single integer or bool, or depends on the run otherwise. */
function sourcesOf(value: string, scope: Surroundings): ReadonlySet<string> | undefined {
  const sources = new Set<string>();
  const seen = new Set<string>();
  const pending: (readonly [string, Surroundings])[] = [[value, scope]];
  for (let next = pending.pop(); next; next = pending.pop()) {
    const [name, start] = next;
    const at = definingScope(name, start);
    if (!at) return undefined;
    const index = indexOf(at.graph);
    if (at.graph.initializers.has(name) || seen.has(name)) continue;
    seen.add(name);
    const node = index.producer(name);
    if (node) {
      if (/^Random|^Multinomial$|^Bernoulli$/.test(node.opType)) return undefined;
      for (const read of [...node.inputs.filter(Boolean), ...subgraphsOf(node).flatMap((body) => [...capturedValues(body)])]) pending.push([read, at]);
      continue;
    }
    const type = index.info(name)?.type;
    const isSingle = !at.outer && type?.kind === 'tensor' && /^u?int|^bool$/.test(type.dtype) && (type.shape ?? [null]).every((dim) => dim === 1);
    if (!isSingle) return undefined;
    sources.add(name);
  }
  return sources;
}

function definingScope(name: string, scope: Surroundings): Surroundings | undefined {
  let at: Surroundings | undefined = scope;
  while (at) {
    const index = indexOf(at.graph);
    if (index.producer(name) || index.isInput(name) || at.graph.initializers.has(name)) return at;
    at = at.outer;
  }
  return undefined;
}
