import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import type { Model } from '../../src/graph/model.js';
import { tapBodies } from '../../src/calibration/tap-bodies.js';
import { bodyNames, closeBodies } from '../../src/passes/close-bodies.js';
import { openBodies } from '../../src/passes/open-bodies.js';
import { elementCount, tensorFromArray } from '../../src/tensor/tensor.js';
import { parseModel, printModel } from '../helpers/graph-text.js';
import { feedsFor, outputsOf } from '../helpers/same-outputs.js';
import { numbersOf } from '../../src/tensor/values.js';

const isMatMul = ({ opType }: { readonly opType: string }) => opType === 'MatMul';

/** Sibling branches with equal names, a branch in a branch, a value from outside that both read and one that one reads, an output that is handed on. */
const TEXT = `
ir 8
opset 13
input x float32[2,4]
input c bool[]
input d bool[]
const w float32[4,4] ~1
shared = Relu(x)
lonely = Neg(x)
first: y, z = If(c)
  then_branch:
    const v float32[4,4] ~2
    product: m = MatMul(shared, w)
    n = MatMul(m, v)
    inner: k = If(d)
      then_branch:
        product: q = MatMul(lonely, v)
        output q float32[2,4]
      else_branch:
        e = Tanh(n)
        output e float32[2,4]
    output n float32[2,4]
    output k float32[2,4]
  else_branch:
    const v float32[4,4] ~3
    product: m = MatMul(shared, v)
    h = Identity(shared)
    output m float32[2,4]
    output h float32[2,4]
idle: o = If(c)
  then_branch:
    p = Relu(x)
    output p float32[2,4]
  else_branch:
    p = Neg(x)
    output p float32[2,4]
output y float32[2,4]
output z float32[2,4]
output o float32[2,4]`;

const bool = (value: boolean) => tensorFromArray('bool', [], Uint8Array.of(value ? 1 : 0));
const fed = (model: Model, c: boolean, d: boolean) => new Map([...feedsFor(model), ['c', bool(c)], ['d', bool(d)]]);
const valuesOf = async (model: Model, c: boolean, d: boolean) => Object.fromEntries([...(await outputsOf(model, fed(model, c, d)))].map(([name, tensor]) => [name, [...numbersOf(tensor)]]));
const CASES = [[true, true], [true, false], [false, true], [false, false]] as const;

test('branches that hold what is worth it stand in the graph, and are put back where they were', async () => {
  const model = parseModel(TEXT);
  const shown = printModel(model);
  const opened = openBodies(model, isMatMul);
  assert.equal(printModel(model), shown, 'the model given was changed');
  assert.deepEqual([...opened.openBodies!.opened], ['first', 'inner']);
  assert.deepEqual(checkGraph(opened.graph), []);
  assert.equal(opened.graph.nodes.filter(isMatMul).length, 4);
  const names = opened.graph.nodes.map(({ name }) => name).filter(Boolean);
  assert.equal(new Set(names).size, names.length);
  const closed = closeBodies(opened);
  assert.equal(closed.openBodies, undefined);
  assert.deepEqual(checkGraph(closed.graph), []);
  assert.ok(!closed.graph.nodes.some(isMatMul));
  // What one branch alone reads goes along.
  assert.deepEqual(closed.graph.nodes.map(({ opType }) => opType), ['Relu', 'If', 'If']);
  for (const [c, d] of CASES) {
    const expected = await valuesOf(model, c, d);
    assert.deepEqual(await valuesOf(opened, c, d), expected);
    assert.deepEqual(await valuesOf(closed, c, d), expected);
  }
  assert.equal(openBodies(closed, ({ opType }) => opType === 'Conv'), closed);
  assert.equal(closeBodies(closed).graph, closed.graph);
});

test('values of branches are handed out, without elements where another branch is taken', async () => {
  const opened = openBodies(parseModel(TEXT), isMatMul);
  const products = opened.graph.nodes.filter(isMatMul).map(({ outputs }) => outputs[0]!);
  const { model, handedOut } = tapBodies(opened, new Set([...products, 'shared']));
  assert.deepEqual([...handedOut].sort(), [...products].sort());
  assert.deepEqual(checkGraph(model.graph), []);
  const tapped: Model = { ...model, graph: { ...model.graph, outputs: [...model.graph.outputs, ...[...products, 'shared'].map((name) => ({ name, type: { kind: 'none' } as const }))] } };
  const branches = bodyNames(opened);
  for (const [c, d] of CASES) {
    const values = await outputsOf(tapped, fed(tapped, c, d));
    const flat = await outputsOf({ ...opened, graph: { ...opened.graph, outputs: tapped.graph.outputs } }, fed(tapped, c, d));
    for (const name of [...tapped.graph.outputs.map((output) => output.name)]) {
      const branch = branches.get(name) ?? '';
      const isTaken = branch.split('/').filter(Boolean).every((part) => (part.startsWith('first') ? c : d) === part.endsWith('then_branch'));
      if (isTaken) assert.deepEqual(numbersOf(values.get(name)!), numbersOf(flat.get(name)!), name);
      else assert.equal(elementCount(values.get(name)!.dims), 0, name);
    }
  }
});

test('what was added goes to its readers: a DequantizeLinear that several graphs read to each of them, with constants of their own', async () => {
  const text = `
ir 8
opset 13
input x float32[2,4]
input c bool[]
const s float32[] 0.05
const z uint8[] 128
const w float32[4,4] ~1
q = QuantizeLinear(x, s, z)
dq = DequantizeLinear(q, s, z)
outside = Relu(dq)
y = If(c)
  then_branch:
    m = MatMul(x, w)
    output m float32[2,4]
  else_branch:
    n = MatMul(x, w)
    output n float32[2,4]
output y float32[2,4]
output outside float32[2,4]`;
  const opened = openBodies(parseModel(text), isMatMul);
  const nodes = opened.graph.nodes.map((node) => (isMatMul(node) ? { ...node, inputs: ['dq', 'w'] } : node));
  const edited: Model = { ...opened, graph: { ...opened.graph, nodes } };
  const closed = closeBodies(edited);
  assert.deepEqual(checkGraph(closed.graph), []);
  assert.deepEqual(closed.graph.nodes.map(({ opType }) => opType), ['QuantizeLinear', 'DequantizeLinear', 'Relu', 'If']);
  for (const attribute of closed.graph.nodes.at(-1)!.attributes.values()) {
    assert.ok(attribute.kind === 'graph');
    assert.deepEqual(attribute.value.nodes.map(({ opType }) => opType), ['DequantizeLinear', 'MatMul']);
    assert.equal(attribute.value.initializers.size, 3);
  }
  for (const [c, d] of CASES) assert.deepEqual(await valuesOf({ ...closed, graph: closed.graph }, c, d), await valuesOf(edited, c, d));
});

test('an If whose branch holds a sparse constant, or only hands on, stays closed', () => {
  const model = parseModel(TEXT);
  const sparse: Model = { ...model, graph: { ...model.graph, nodes: model.graph.nodes.map((node) => ({ ...node, attributes: new Map([...node.attributes].map(([name, attribute]) => [name, attribute.kind === 'graph' ? { ...attribute, value: { ...attribute.value, sparseInitializers: ['sparse'] } } : attribute])) })) } };
  assert.equal(openBodies(sparse, isMatMul), sparse);
  assert.equal(openBodies(model, () => false), model);
});
