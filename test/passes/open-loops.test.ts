import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tapBodies } from '../../src/calibration/tap-bodies.js';
import { ROW_LENGTH, ROWS, rowsOfRounds } from '../../src/calibration/loop-observer.js';
import { checkGraph } from '../../src/graph/check-graph.js';
import type { Model } from '../../src/graph/model.js';
import { bodyNames, closeBodies } from '../../src/passes/close-bodies.js';
import { openBodies } from '../../src/passes/open-bodies.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { parseModel, printModel } from '../helpers/graph-text.js';
import { feedsFor, outputsOf } from '../helpers/same-outputs.js';

const isMatMul = ({ opType }: { readonly opType: string }) => opType === 'MatMul';

/** A Loop with a Loop, an If and a Scan in it, whose values have other shapes in other rounds, names that others have too, an output that is handed on. */
const TEXT = `
ir 8
opset 13
input x float32[2,4]
input rounds int64[1]
input c bool[]
const w float32[4,4] ~1
const once int64[] 2
const none float32[0,4]
still = Relu(x)
decode: y, grown, all = Loop(rounds, , x, none)
  body:
    input i int64[]
    input go bool[]
    input h float32[2,4]
    input list float32[L,4]
    const v float32[4,4] ~2
    more = Identity(go)
    unread = Neg(h)
    kept = Tanh(still)
    product: m = MatMul(h, w)
    s = Add(m, kept)
    longer = Concat(list, s) axis=0
    listed: q = MatMul(longer, v)
    inner: t = Loop(once, , s)
      body:
        input j int64[]
        input on bool[]
        input h float32[2,4]
        further = Identity(on)
        product: p = MatMul(h, v)
        u = Tanh(p)
        output further bool[]
        output u float32[2,4]
    sometimes: o = If(c)
      then_branch:
        product: n = MatMul(t, w)
        output n float32[2,4]
      else_branch:
        n = Neg(t)
        output n float32[2,4]
    summed: z, steps = Scan(o, q) num_scan_inputs=1
      body:
        input a float32[2,4]
        input row float32[4]
        product: r = MatMul(row, w)
        b = Add(a, r)
        f = Tanh(b)
        output f float32[2,4]
        output r float32[4]
    g = Tanh(z)
    output more bool[]
    output g float32[2,4]
    output q float32[L2,4]
    output h float32[2,4]
output y float32[2,4]
output grown
output all
output still`;

const int = (value: number) => tensorFromArray('int64', [1], BigInt64Array.of(BigInt(value)));
const bool = (value: boolean) => tensorFromArray('bool', [], Uint8Array.of(value ? 1 : 0));
const fed = (model: Model, rounds: number, c: boolean) => new Map([...feedsFor(model), ['rounds', int(rounds)], ['c', bool(c)]]);
const valuesOf = async (model: Model, rounds: number, c: boolean) =>
  Object.fromEntries([...(await outputsOf(model, fed(model, rounds, c)))].map(([name, tensor]) => [name, [tensor.dims, ...numbersOf(tensor)]]));
/** The runtime may fuse, and so round, the same operators in another way. */
function assertClose(found: Readonly<Record<string, readonly unknown[]>>, expected: typeof found): void {
  assert.deepEqual(Object.keys(found), Object.keys(expected));
  for (const [name, values] of Object.entries(expected)) {
    assert.equal(found[name]!.length, values.length);
    assert.deepEqual(found[name]![0], values[0]);
    for (const [i, value] of values.slice(1).entries()) assert.ok(Math.abs((value as number) - (found[name]![i + 1] as number)) < 1e-4, name);
  }
}
const CASES = [[0, true], [1, false], [3, true], [5, false]] as const;

test('bodies of loops stand in the graph, and are put back where they were', async () => {
  const model = parseModel(TEXT);
  const shown = printModel(model);
  const opened = openBodies(model, isMatMul);
  assert.equal(printModel(model), shown, 'the model given was changed');
  assert.deepEqual([...opened.openBodies!.opened].sort(), ['decode', 'inner', 'sometimes', 'summed']);
  assert.deepEqual(checkGraph(opened.graph), []);
  assert.equal(opened.graph.nodes.filter(isMatMul).length, 5);
  const names = opened.graph.nodes.map(({ name }) => name).filter(Boolean);
  assert.equal(new Set(names).size, names.length);
  const closed = closeBodies(opened);
  assert.equal(closed.openBodies, undefined);
  assert.deepEqual(checkGraph(closed.graph), []);
  // What stood outside is computed once, what does not change in the body stays in it all the same: there may be no round.
  assert.deepEqual(closed.graph.nodes.map(({ opType }) => opType), ['Relu', 'Loop']);
  const body = closed.graph.nodes[1]!.attributes.get('body');
  assert.ok(body?.kind === 'graph');
  assert.deepEqual(body.value.nodes.filter(({ opType }) => opType !== 'Identity').map(({ opType }) => opType).sort(), ['Add', 'Concat', 'If', 'Loop', 'MatMul', 'MatMul', 'Neg', 'Scan', 'Tanh', 'Tanh']);
  for (const [rounds, c] of CASES) assertClose(await valuesOf(closed, rounds, c), await valuesOf(model, rounds, c));
  assert.deepEqual([...openBodies(model, isMatMul, ['If']).openBodies?.opened ?? []], []);
});

test('loops tell of values in their rounds, whatever shapes these have, and of none where there was none', async () => {
  const opened = openBodies(parseModel(TEXT), isMatMul);
  const products = opened.graph.nodes.filter(isMatMul);
  const values = new Set(products.flatMap(({ inputs, outputs }) => [inputs[0]!, outputs[0]!]));
  const { model, handedOut, looped } = tapBodies(opened, values);
  assert.deepEqual(checkGraph(model.graph), []);
  assert.deepEqual([...looped.keys()].sort(), [...values].sort());
  assert.equal(handedOut.size, 0);
  const names = bodyNames(opened);
  assert.ok([...values].every((value) => names.get(value)!.startsWith('/decode:body')));
  const outputs = [...looped.values()].flatMap(({ rows, extremes, counts }) => [rows, extremes, counts]).map((name) => ({ name, type: { kind: 'none' } as const }));
  const tapped: Model = { ...model, graph: { ...model.graph, outputs: [...model.graph.outputs, ...outputs] } };
  for (const [rounds, c] of CASES) {
    const found = await outputsOf(tapped, fed(tapped, rounds, c));
    const expected = await valuesOf(parseModel(TEXT), rounds, c);
    const of = (value: string) => {
      const { rows, extremes, counts } = looped.get(value)!;
      return { rows: numbersOf(found.get(rows)!), extremes: [...numbersOf(found.get(extremes)!)], counts: [...numbersOf(found.get(counts)!)] };
    };
    const told = Object.fromEntries(Object.keys(expected).map((name) => [name, [found.get(name)!.dims, ...numbersOf(found.get(name)!)]]));
    assertClose(told, expected);
    // What the Loop collects of its state tells what there was to see.
    const [, ...states] = told['all'] as [number[], ...number[]];
    const state = of('h');
    assert.deepEqual(state.counts, [rounds, rounds * 8, 0, 0]);
    assert.deepEqual(state.extremes, [Math.max(0, ...states.map((x) => -x)), Math.max(0, ...states)]);
    for (let round = 0; round < rounds; round++) {
      assert.deepEqual(new Set(state.rows.subarray(round * ROW_LENGTH, (round + 1) * ROW_LENGTH)), new Set(states.slice(round * 8, round * 8 + 8)));
    }
    const inner = products.find(({ inputs }) => inputs[0]!.startsWith('h_'))!;
    assert.deepEqual(of(inner.outputs[0]!).counts, [2 * rounds, 16 * rounds, 0, 0]);
    const branch = products.find(({ outputs: [value = ''] }) => value.startsWith('n'))!;
    assert.deepEqual(of(branch.outputs[0]!).counts, c ? [rounds, 8 * rounds, 0, 0] : [0, 0, 0, 0]);
    const grown = (rounds * (rounds + 1)) / 2;
    assert.deepEqual(of('longer').counts, [rounds, 8 * grown, 0, 0]);
    assert.deepEqual(of('row').counts, [2 * grown, 8 * grown, 0, 0]);
  }
});

test('elements are kept of rounds that lie evenly over all of them', () => {
  const rowOf = rowsOfRounds(ROWS, 1000);
  for (const rounds of [1, 5, 8, 9, 16, 17, 100, 1000]) {
    const kept = new Map<number, number>();
    for (let round = 0; round < rounds; round++) if (rowOf[round] !== -1) kept.set(rowOf[round]!, round);
    const at = [...kept.values()].sort((a, b) => a - b);
    assert.equal(at.length, Math.min(rounds, ROWS));
    const gaps = at.map((round, i) => (at[i + 1] ?? rounds) - round);
    assert.ok(Math.max(...gaps.slice(0, -1), 1) <= 2 * Math.min(...gaps.slice(0, -1), Infinity), `${rounds}: ${at.join()}`);
    assert.ok(at[0] === 0 && rounds - at.at(-1)! <= 2 * Math.max(1, rounds / ROWS), `${rounds}: ${at.join()}`);
  }
});

test('a Loop stays closed that does not say of what types its body is, or holds a sparse constant', () => {
  const model = parseModel(TEXT);
  const withBody = (change: (body: Model['graph']) => Model['graph']): Model => ({
    ...model,
    graph: { ...model.graph, nodes: model.graph.nodes.map((node) => ({ ...node, attributes: new Map([...node.attributes].map(([name, attribute]) => [name, attribute.kind === 'graph' ? { ...attribute, value: change(attribute.value) } : attribute])) })) },
  });
  for (const closed of [
    withBody((body) => ({ ...body, sparseInitializers: ['sparse'] })),
    withBody((body) => ({ ...body, inputs: body.inputs.map((input) => (input.name === 'h' ? { ...input, type: { kind: 'none' } } : input)) })),
  ]) {
    assert.equal(openBodies(closed, isMatMul), closed);
  }
});
