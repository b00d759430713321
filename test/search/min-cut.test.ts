import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CutGraph } from '../../src/search/min-cut.js';
import { seeded } from '../metrics/seeded.js';

type Edge = readonly [from: number, to: number, capacity: number];

const { SOURCE, SINK } = CutGraph;

/** The source's side that the class finds, as a set of vertices. */
function sourceSide(vertices: number, edges: readonly Edge[]): Set<number> {
  const graph = new CutGraph();
  for (let i = 0; i < vertices; i++) graph.addVertex();
  for (const edge of edges) graph.addEdge(...edge);
  return graph.sourceSide();
}

/** What a cut costs: the capacities of the edges that lead from the source's side to the sink's. */
function price(edges: readonly Edge[], side: ReadonlySet<number>): number {
  return edges.reduce((sum, [from, to, capacity]) => (side.has(from) && !side.has(to) ? sum + capacity : sum), 0);
}

/** The least price of all cuts, and the vertices that are on the source's side in each cut of that price. */
function bruteForce(vertices: number, edges: readonly Edge[]): { least: number; always: Set<number> } {
  let least = Infinity;
  let always = new Set<number>();
  for (let bits = 0; bits < 2 ** vertices; bits++) {
    const side = new Set([SOURCE, ...Array.from({ length: vertices }, (_, i) => i + 2).filter((_, i) => (bits >> i) & 1)]);
    const cost = price(edges, side);
    if (cost < least) [least, always] = [cost, side];
    else if (cost === least) always = new Set([...always].filter((vertex) => side.has(vertex)));
  }
  return { least, always };
}

/** A random graph; whole capacities, so that sums are exact and ties happen. */
function randomGraph(seed: number): { vertices: number; edges: Edge[] } {
  const next = seeded(seed);
  const below = (limit: number) => Math.floor(next() * limit);
  const vertices = 1 + below(10);
  const edges = Array.from({ length: vertices + 2 + below(4 * vertices) }, (): Edge => [below(vertices + 2), below(vertices + 2), below(9)]);
  return { vertices, edges };
}

describe('CutGraph.sourceSide against all cuts of small graphs', () => {
  const graphs = Array.from({ length: 300 }, (_, seed) => randomGraph(seed));

  test('costs least, and is the smallest such side', () => {
    for (const [seed, { vertices, edges }] of graphs.entries()) {
      const side = sourceSide(vertices, edges);
      const { least, always } = bruteForce(vertices, edges);
      assert.equal(price(edges, side), least, `graph ${seed}`);
      assert.deepEqual([...side].sort(), [...always].sort(), `graph ${seed}`);
      assert.ok(side.has(SOURCE) && !side.has(SINK), `graph ${seed}`);
    }
  });

  test('the graphs are hard enough: most cuts cost something, and many differ from both trivial ones', () => {
    const sides = graphs.map(({ vertices, edges }) => ({ vertices, size: sourceSide(vertices, edges).size, least: bruteForce(vertices, edges).least }));
    assert.ok(sides.filter(({ least }) => least > 0).length > 150);
    assert.ok(sides.filter(({ vertices, size, least }) => least > 0 && size > 1 && size < vertices + 1).length > 40);
  });

  test('fractions too', () => {
    for (const [seed, { vertices, edges }] of graphs.slice(0, 100).entries()) {
      const next = seeded(1000 + seed);
      const times = edges.map(([from, to]): Edge => [from, to, next() * 10 ** (4 * next() - 3)]);
      const { least } = bruteForce(vertices, times);
      const found = price(times, sourceSide(vertices, times));
      assert.ok(Math.abs(found - least) <= 1e-9, `graph ${seed}: ${found} instead of ${least}`);
    }
  });
});

describe('CutGraph', () => {
  test('without edges, only the source is on its side', () => {
    assert.deepEqual(sourceSide(3, []), new Set([SOURCE]));
  });

  test('numbers vertices in the order in which they are added', () => {
    const graph = new CutGraph();
    assert.deepEqual([graph.addVertex(), graph.addVertex()], [2, 3]);
  });

  test('takes no edge of zero, negative or undefined capacity', () => {
    const edges: Edge[] = [[SOURCE, 2, 5], [2, SINK, 7], [SOURCE, 3, 0], [3, SINK, -1], [SOURCE, 4, NaN]];
    assert.deepEqual(sourceSide(3, edges), new Set([SOURCE]));
    assert.deepEqual(sourceSide(1, [[SOURCE, 2, 7], [2, SINK, 5]]), new Set([SOURCE, 2]));
  });

  test('adds up edges between the same vertices', () => {
    assert.deepEqual(sourceSide(1, [[SOURCE, 2, 5], [2, SINK, 3], [2, SINK, 3]]), new Set([SOURCE]));
    assert.deepEqual(sourceSide(1, [[SOURCE, 2, 5], [SOURCE, 2, 5], [2, SINK, 6]]), new Set([SOURCE, 2]));
  });

  test('needs flow to be taken back along a path that it took first', () => {
    // The short way 2 → 5 must give way: both sides can carry one unit each only by 2 → 4 and 3 → 5.
    const edges: Edge[] = [[SOURCE, 2, 1], [SOURCE, 3, 1], [2, 5, 1], [2, 4, 1], [3, 5, 1], [4, SINK, 1], [5, SINK, 1]];
    assert.equal(price(edges, sourceSide(4, edges)), 2);
  });

  test('never cuts a price beyond all sums, beside times of microseconds', () => {
    const edges: Edge[] = [[SOURCE, 2, 1e-6], [2, 3, 1e12], [3, SINK, 2e-6], [3, 2, 1e12], [SOURCE, 3, 1.5e-6]];
    assert.deepEqual(sourceSide(2, edges), new Set([SOURCE, 2, 3]));
    assert.deepEqual(sourceSide(2, [...edges, [2, SINK, 1e-6]]), new Set([SOURCE]));
  });

  test('follows a chain of ten thousand vertices', () => {
    const length = 10_000;
    // As long as no path of a recursion could be.
    const edges: Edge[] = [[SOURCE, 2, 3], ...Array.from({ length: length - 1 }, (_, i): Edge => [i + 2, i + 3, i === 5_000 ? 1 : 2]), [length + 1, SINK, 2]];
    assert.equal(sourceSide(length, edges).size, 1 + 5_001);
  });
});
