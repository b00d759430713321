import { subgraphsOf } from './attributes.js';
import type { Graph } from './model.js';

/** Gives value and node names that nothing in a graph, or in the bodies inside it, makes, reads or bears yet. */
export class Names {
  readonly #taken = new Set<string>();
  /** Where the search for a hint's next number starts. */
  readonly #next = new Map<string, number>();

  constructor(graph: Graph) {
    this.#collect(graph);
  }

  /** `hint` itself where it is free, otherwise `hint_1`, `hint_2`, …; the name is taken from then on. */
  unique(hint: string): string {
    let name = hint;
    let number = this.#next.get(hint) ?? 1;
    while (this.#taken.has(name)) name = `${hint}_${number++}`;
    this.#next.set(hint, number);
    this.#taken.add(name);
    return name;
  }

  #collect(graph: Graph): void {
    for (const value of [...graph.inputs, ...graph.outputs, ...graph.valueInfo]) this.#taken.add(value.name);
    for (const name of graph.initializers.keys()) this.#taken.add(name);
    for (const name of graph.sparseInitializers) this.#taken.add(name);
    for (const node of graph.nodes) {
      this.#taken.add(node.name);
      for (const value of [...node.inputs, ...node.outputs]) this.#taken.add(value);
      for (const body of subgraphsOf(node)) this.#collect(body);
    }
  }
}
