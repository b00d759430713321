/**
 * A graph of capacities between a source and a sink, for choices between two sides: a vertex on the source's side whose edge leads to the
 * sink's side pays the edge's capacity.
 */
export class CutGraph {
  static readonly SOURCE = 0;
  static readonly SINK = 1;
  readonly #edges: { readonly to: number; capacity: number }[] = [];
  readonly #outgoing: number[][] = [[], []];

  /** A new vertex. */
  addVertex(): number {
    return this.#outgoing.push([]) - 1;
  }

  /** Adds a price for `from` on the source's side with `to` on the sink's. */
  addEdge(from: number, to: number, capacity: number): void {
    if (!(capacity > 0)) return;
    this.#outgoing[from]!.push(this.#edges.push({ to, capacity }) - 1);
    // Edge i ^ 1 is the way back, along which flow can be undone.
    this.#outgoing[to]!.push(this.#edges.push({ to: from, capacity: 0 }) - 1);
  }

  /**
   * Vertices on the source's side of a cheapest cut. Dinic, "Algorithm for solution of a problem of maximum flow in networks with power
   * estimation", 1970.
   */
  sourceSide(): Set<number> {
    for (let levels = this.#levels(); levels[CutGraph.SINK]! >= 0; levels = this.#levels()) {
      const next = new Array<number>(levels.length).fill(0);
      while (this.#push(levels, next));
    }
    return new Set(this.#levels().flatMap((level, vertex) => (level >= 0 ? [vertex] : [])));
  }

  /** Distance of each vertex from the source over edges with capacity left; −1 where there is no way. */
  #levels(): number[] {
    const levels = new Array<number>(this.#outgoing.length).fill(-1);
    levels[CutGraph.SOURCE] = 0;
    const queue: number[] = [CutGraph.SOURCE];
    for (const vertex of queue) {
      for (const edge of this.#outgoing[vertex]!) {
        const { to, capacity } = this.#edges[edge]!;
        if (capacity <= EPSILON || levels[to]! >= 0) continue;
        levels[to] = levels[vertex]! + 1;
        queue.push(to);
      }
    }
    return levels;
  }

  /** Sends what flows along one path whose levels rise by one, and says whether there was one. `next` holds each vertex's first edge that may lead on. */
  #push(levels: readonly number[], next: number[]): boolean {
    const path: number[] = [];
    for (let vertex: number = CutGraph.SOURCE; vertex !== CutGraph.SINK; ) {
      const edge = this.#edgeOn(vertex, levels, next);
      if (edge !== undefined) {
        path.push(edge);
        vertex = this.#edges[edge]!.to;
        continue;
      }
      const last = path.pop();
      if (last === undefined) return false;
      vertex = this.#edges[last ^ 1]!.to;
      next[vertex]!++;
    }
    const pushed = path.reduce((least, edge) => Math.min(least, this.#edges[edge]!.capacity), Infinity);
    for (const edge of path) {
      this.#edges[edge]!.capacity -= pushed;
      this.#edges[edge ^ 1]!.capacity += pushed;
    }
    return true;
  }

  /** The next edge from a vertex with capacity left to the level above. */
  #edgeOn(vertex: number, levels: readonly number[], next: number[]): number | undefined {
    const outgoing = this.#outgoing[vertex]!;
    for (; next[vertex]! < outgoing.length; next[vertex]!++) {
      const edge = outgoing[next[vertex]!]!;
      const { to, capacity } = this.#edges[edge]!;
      if (capacity > EPSILON && levels[to] === levels[vertex]! + 1) return edge;
    }
    return undefined;
  }
}

/** Capacities are sums of measured times: what is left below this is rounding. */
const EPSILON = 1e-12;
