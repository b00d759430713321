import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Node } from '../../src/graph/model.js';
import { selectNodes } from '../../src/quantization/select.js';
import { assignmentTime, fastestForms, nodesBetterInFloat, type FormCost } from '../../src/search/fastest-assignment.js';
import { GraphBuilder, SAME_PADS } from '../helpers/graph-builder.js';
import { seeded } from '../metrics/seeded.js';
import { allAssignments, randomProblem, totalTime, written, type Problem, type WrittenTimes } from './assignments.js';

const RANDOM = Array.from({ length: 150 }, (_, seed) => randomProblem(seed));
const namesOf = (nodes: ReadonlySet<Node>) => [...nodes].map(({ name }) => name).sort();

/** A graph as a real selection sees it, with times as written. */
function problem(build: (g: GraphBuilder) => void, times: WrittenTimes): Problem {
  const g = new GraphBuilder();
  build(g);
  const graph = g.graph();
  return { graph, selection: selectNodes(graph, new Map(), { opset: 13 }), times: written(times) };
}

const conv = (g: GraphBuilder, name: string, x: string) => g.op(name, 'Conv', [x, g.weight(`${name}_w`, [16, 16, 3, 3])], { attributes: SAME_PADS });
const image = (g: GraphBuilder) => g.input('x', [1, 16, 8, 8]);
const inFloat = ({ graph, selection, times }: Problem) => namesOf(nodesBetterInFloat(graph, selection, times));

describe('nodesBetterInFloat', () => {
  const one = (g: GraphBuilder) => void g.output(g.op('end', 'Tanh', [conv(g, 'a', image(g))]));

  test('a node alone must win more than the conversions on both sides cost', () => {
    const times = { integer: { a: 1 }, quantize: 0.6, dequantize: 0.3 };
    assert.deepEqual(inFloat(problem(one, { ...times, float: { a: 1.8 } })), ['a']);
    assert.deepEqual(inFloat(problem(one, { ...times, float: { a: 2 } })), []);
  });

  test('nodes that lose alone win together, because nothing is converted between them', () => {
    const chain = (g: GraphBuilder) => void g.output(g.op('end', 'Tanh', [conv(g, 'c', conv(g, 'b', conv(g, 'a', image(g))))]));
    const gain = { float: { a: 2, b: 2, c: 2 }, integer: { a: 1.5, b: 1.5, c: 1.5 } };
    assert.deepEqual(inFloat(problem(one, { ...gain, quantize: 0.6, dequantize: 0.6 })), ['a']);
    assert.deepEqual(inFloat(problem(chain, { ...gain, quantize: 0.6, dequantize: 0.6 })), []);
    assert.deepEqual(inFloat(problem(chain, { ...gain, quantize: 0.8, dequantize: 0.8 })), ['a', 'b', 'c']);
  });

  test('a slow node inside a region stays on integers where leaving costs more', () => {
    const chain = (g: GraphBuilder) => void g.output(conv(g, 'c', conv(g, 'b', conv(g, 'a', image(g)))));
    const times = { float: { a: 9, b: 1, c: 9 }, integer: { a: 1, b: 2, c: 1 } };
    assert.deepEqual(inFloat(problem(chain, { ...times, quantize: 0.6, dequantize: 0.6 })), []);
    assert.deepEqual(inFloat(problem(chain, { ...times, quantize: 0.4, dequantize: 0.4 })), ['b']);
  });

  test('one Q serves all integer readers of a value, and one DQ all float ones', () => {
    const readers = (g: GraphBuilder) => {
      const x = image(g);
      for (const name of ['a', 'b', 'c']) g.output(g.op(`${name}_end`, 'Tanh', [conv(g, name, x)]));
    };
    const times = { float: { a: 1, b: 1, c: 1 }, integer: { a: 0.5, b: 0.5, c: 0.5 } };
    assert.deepEqual(inFloat(problem(readers, { ...times, quantize: 1.4 })), []);
    assert.deepEqual(inFloat(problem(readers, { ...times, quantize: 1.6 })), ['a', 'b', 'c']);
    const floatReaders = (g: GraphBuilder) => {
      const a = conv(g, 'a', image(g));
      g.output(a, g.op('t', 'Tanh', [a]), g.op('u', 'Tanh', [a]));
    };
    assert.deepEqual(inFloat(problem(floatReaders, { float: { a: 1 }, integer: { a: 0.5 }, dequantize: 0.4 })), []);
    assert.deepEqual(inFloat(problem(floatReaders, { float: { a: 1 }, integer: { a: 0.5 }, dequantize: 0.6 })), ['a']);
  });

  test('a graph output is a float reader', () => {
    const output = (g: GraphBuilder) => void g.output(conv(g, 'b', conv(g, 'a', image(g))), 'a');
    const times = { float: { a: 1, b: 5 }, integer: { a: 0.8, b: 1 } };
    assert.deepEqual(inFloat(problem(output, { ...times, dequantize: 0.1 })), []);
    assert.deepEqual(inFloat(problem(output, { ...times, dequantize: 0.3 })), ['a']);
  });

  test('a product that gives float pays no DQ behind it', () => {
    const product = (g: GraphBuilder) => void g.output(g.op('end', 'Tanh', [g.op('m', 'MatMul', [g.input('x', ['n', 32]), g.weight('w', [32, 32])])]));
    const times = { float: { m: 1 }, integer: { m: 0.5 }, quantize: 0.4, dequantize: 100 };
    const { selection } = problem(product, times);
    assert.deepEqual([...selection.nodes.values()].map(({ quantizesOutput }) => quantizesOutput), [false]);
    assert.deepEqual(inFloat(problem(product, times)), []);
    assert.deepEqual(inFloat(problem(product, { ...times, quantize: 0.6 })), ['m']);
  });

  test('a residual keeps its Add where its feeders are', () => {
    const residual = (g: GraphBuilder) => void g.output(conv(g, 'end', g.op('sum', 'Add', [conv(g, 'b', conv(g, 'a', image(g))), 'a'])));
    const times = { float: { a: 2, b: 2, sum: 0.5, end: 2 }, integer: { a: 1, b: 1, sum: 1, end: 1 } };
    assert.deepEqual(inFloat(problem(residual, { ...times, quantize: 0.3, dequantize: 0.3 })), []);
    assert.deepEqual(inFloat(problem(residual, { ...times, quantize: 0.1, dequantize: 0.1 })), ['sum']);
  });

  test('takes the least time of all assignments, on random graphs', () => {
    for (const [seed, random] of RANDOM.entries()) {
      const found = totalTime(random, nodesBetterInFloat(random.graph, random.selection, random.times));
      const least = Math.min(...allAssignments(random.selection).map((assignment) => totalTime(random, assignment)));
      assert.ok(Math.abs(found - least) < 1e-9, `graph ${seed}: ${found} instead of ${least}`);
    }
  });

  test('the random graphs are hard enough: many of the best assignments mix', () => {
    const mixed = RANDOM.filter(({ graph, selection, times }) => {
      const { size } = nodesBetterInFloat(graph, selection, times);
      return size > 0 && size < selection.nodes.size;
    });
    assert.ok(mixed.length > 75, `${mixed.length} of ${RANDOM.length}`);
  });
});

/** Noise of each node, over four powers of ten. */
function randomNoise({ selection }: Problem, seed: number): Map<string, number> {
  const next = seeded(5000 + seed);
  return new Map([...selection.nodes.keys()].map(({ name }) => [name, 10 ** (-6 + 4 * next())]));
}

function noiseLeft({ selection }: Problem, noise: ReadonlyMap<string, number>, float: ReadonlySet<Node>): number {
  return [...selection.nodes.keys()].reduce((sum, node) => (float.has(node) ? sum : sum + (noise.get(node.name) ?? 0)), 0);
}

/** The assignments that are cheapest at some price of noise, from the noisiest to the quietest: the lower hull of (noise, time). */
function bestAtSomePrice(random: Problem, noise: ReadonlyMap<string, number>): { time: number; noise: number }[] {
  const points = allAssignments(random.selection)
    .map((assignment) => ({ time: totalTime(random, assignment), noise: noiseLeft(random, noise, assignment) }))
    .sort((a, b) => a.time - b.time || a.noise - b.noise);
  const hull = [points[0]!];
  for (let last = hull[0]!; ; hull.push(last)) {
    // The next corner is the one that the least price reaches.
    const quieter = points.filter((point) => point.noise < last.noise - 1e-15);
    if (quieter.length === 0) return hull;
    const priceTo = ({ time, noise: power }: { time: number; noise: number }) => (time - last.time) / (last.noise - power);
    const least = Math.min(...quieter.map(priceTo));
    last = quieter.filter((point) => priceTo(point) <= least * (1 + 1e-9)).reduce((a, b) => (b.noise > a.noise ? b : a));
  }
}

describe('fastestForms, between static and float', () => {
  const cases = RANDOM.slice(0, 80).map((random, seed) => ({ random, seed, noise: randomNoise(random, seed) }));
  const within = ({ graph, selection, times }: Problem, noise: ReadonlyMap<string, number>, budget: number) =>
    new Set(fastestForms(graph, selection, { times, noise, forms: new Map() }, budget).keys());

  test('keeps the budget, and takes no more time than any price of noise reaches, often less', () => {
    const tally = { tried: 0, faster: 0, fastest: 0 };
    for (const { random, seed, noise: wide } of cases) {
      // Where noises are alike, many sets of nodes lie between the corners that prices reach.
      const alike = new Map([...wide].map(([name, power]) => [name, power ** 0.2]));
      for (const noise of [wide, alike]) {
        const total = noiseLeft(random, noise, new Set());
        for (const share of [1e-4, 3e-3, 0.05, 0.2, 0.4, 0.6, 0.8]) {
          const budget = share * total;
          const float = within(random, noise, budget);
          const found = { time: totalTime(random, float), noise: noiseLeft(random, noise, float) };
          assert.ok(found.noise <= budget, `graph ${seed}, budget ${budget}: ${found.noise}`);
          const expected = bestAtSomePrice(random, noise).find((point) => point.noise <= budget)!;
          assert.ok(found.time <= expected.time + 1e-9, `graph ${seed}, budget ${budget}: ${found.time} instead of ${expected.time}`);
          const least = Math.min(...allAssignments(random.selection).filter((inFloat) => noiseLeft(random, noise, inFloat) <= budget).map((inFloat) => totalTime(random, inFloat)));
          assert.ok(found.time >= least - 1e-9);
          tally.tried++;
          if (found.time < expected.time - 1e-9) tally.faster++;
          if (found.time < least + 1e-9) tally.fastest++;
        }
      }
    }
    assert.ok(tally.faster > 0.03 * tally.tried && tally.fastest > 0.97 * tally.tried, JSON.stringify(tally));
  });

  test('a larger budget takes no more time and leaves no less noise', () => {
    for (const { random, seed, noise } of cases) {
      const results = Array.from({ length: 25 }, (_, i) => within(random, noise, 10 ** (-7 + i / 4))).map((float) => ({ time: totalTime(random, float), noise: noiseLeft(random, noise, float) }));
      results.slice(1).forEach((result, i) => {
        assert.ok(result.time <= results[i]!.time + 1e-9, `graph ${seed}, step ${i}`);
        assert.ok(result.noise >= results[i]!.noise - 1e-15, `graph ${seed}, step ${i}`);
      });
    }
  });

  test('adds the same times up as the cut does', () => {
    for (const { graph, selection, times } of RANDOM) {
      for (const inFloat of allAssignments(selection).filter((_, i) => i % 5 === 0)) {
        const forms = new Map([...inFloat].map((node) => [node, 'float'] as const));
        assert.ok(Math.abs(assignmentTime(graph, selection, { times, forms: new Map() }, forms) - totalTime({ graph, selection, times }, inFloat)) < 1e-9);
      }
    }
  });

  test('is the choice by time alone where that is quiet enough', () => {
    for (const { random, noise } of cases) {
      assert.deepEqual(namesOf(within(random, noise, Infinity)), namesOf(nodesBetterInFloat(random.graph, random.selection, random.times)));
    }
  });

  test('leaves all that makes noise in float where nothing is allowed', () => {
    for (const { random, noise } of cases) {
      const [quiet] = noise.keys();
      noise.delete(quiet!);
      const float = namesOf(within(random, noise, 0));
      assert.deepEqual([...noise.keys()].filter((name) => !float.includes(name)), [], 'nodes without a figure make no noise');
    }
  });

  test('the noisiest node goes first, unless it wins by far', () => {
    const three = (float: Readonly<Record<string, number>>) =>
      problem(
        (g) => {
          const x = image(g);
          for (const name of ['a', 'b', 'c']) g.output(g.op(`${name}_end`, 'Tanh', [conv(g, name, x)]));
        },
        { float, integer: { a: 1, b: 1, c: 1 } },
      );
    const noise = new Map([['a', 1e-3], ['b', 1e-2], ['c', 1e-3]]);
    assert.deepEqual(namesOf(within(three({ a: 2, b: 2, c: 2 }), noise, 5e-3)), ['b']);
    assert.deepEqual(namesOf(within(three({ a: 1.05, b: 9, c: 1.05 }), noise, 1.05e-2)), ['a', 'c']);
    assert.equal(within(three({ a: 1.05, b: 9, c: 1.06 }), noise, 1.15e-2).size, 1, 'what is left of the budget is used');
  });
});

describe('fastestForms, with dynamic nodes', () => {
  const products = (g: GraphBuilder) => {
    for (const name of ['a', 'b']) g.output(g.op(`${name}_end`, 'Tanh', [g.op(name, 'MatMul', [g.input(`${name}_x`, ['n', 32]), g.weight(`${name}_w`, [32, 32])])]));
  };
  const times = { float: { a: 2, b: 2 }, integer: { a: 1, b: 1 }, quantize: 0.1 };
  const dynamic = (timeMs: number, noise = 0): FormCost[] => [{ form: 'dynamic', timeMs, noise }];
  const formsOf = (forms: ReadonlyMap<string, readonly FormCost[]>, options: { noise?: Record<string, number>; budget?: number; bias?: number } = {}) => {
    const { graph, selection, times: table } = problem(products, times);
    const costs = { times: table, noise: new Map(Object.entries(options.noise ?? {})), forms };
    return Object.fromEntries([...fastestForms(graph, selection, costs, options.budget ?? Infinity, options.bias)].map(([node, form]) => [node.name, form]));
  };

  test('a node is dynamic where that takes less time than static with the conversion before it', () => {
    assert.deepEqual(formsOf(new Map([['a', dynamic(1.05)], ['b', dynamic(1.15)]])), { a: 'dynamic' });
  });

  test('a node that is too noisy when static is dynamic, unless float is as fast', () => {
    const noise = { a: 1e-2, b: 1e-5 };
    assert.deepEqual(formsOf(new Map([['a', dynamic(1.5, 1e-5)]]), { noise, budget: 1e-3 }), { a: 'dynamic' });
    assert.deepEqual(formsOf(new Map([['a', dynamic(2.5, 1e-5)]]), { noise, budget: 1e-3 }), { a: 'float' });
    assert.deepEqual(formsOf(new Map([['a', dynamic(1.5, 1e-2)]]), { noise, budget: 1e-3 }), { a: 'float' });
  });

  test('float time counts `bias` times, that of other forms does not', () => {
    const slow = new Map([['a', dynamic(3)]]);
    const noise = { a: 1 };
    assert.deepEqual(formsOf(slow, { noise, budget: 0.1, bias: 1.4 }), { a: 'float' });
    assert.deepEqual(formsOf(slow, { noise, budget: 0.1, bias: 1.6 }), { a: 'dynamic' });
  });

  test('a node that cannot be static is dynamic or float', () => {
    const g = new GraphBuilder();
    g.output(g.op('l', 'LSTM', [g.input('x', [4, 1, 8]), g.weight('w', [1, 32, 8]), g.weight('r', [1, 32, 8])], { attributes: { hidden_size: 8 } }));
    const graph = g.graph();
    const selection = selectNodes(graph, new Map(), { opset: 14 });
    const form = (timeMs: number) => [...fastestForms(graph, selection, { times: written({ float: { l: 2 } }), noise: new Map(), forms: new Map([['l', dynamic(timeMs)]]) }, Infinity).values()];
    assert.deepEqual([form(1), form(3)], [['dynamic'], ['float']]);
  });
});
