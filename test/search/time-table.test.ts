import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { NodeTime } from '../../src/evaluation/profile-nodes.js';
import { selectNodes, type SelectedNode, type Selection } from '../../src/quantization/select.js';
import type { TimeTable } from '../../src/search/fastest-assignment.js';
import { timeTable } from '../../src/search/time-table.js';
import { GraphBuilder, SAME_PADS } from '../helpers/graph-builder.js';

/** What the table adds for each node that runs, in milliseconds. */
const OVERHEAD = 0.001;
/** What it takes for a conversion of no element where no profile shows one. */
const CONVERSION = 0.002;

const ran = (names: string | readonly string[], opType: string, timeMs: number, elements = 0): NodeTime => ({ names: [names].flat(), opType, timeMs, elements });

/** conv → relu (absorbed), matmul + bias → out; the MatMul gives float. */
function build(): { selection: Selection; table: (float: readonly NodeTime[], integer: readonly NodeTime[]) => TimeTable; node: (name: string) => SelectedNode } {
  const g = new GraphBuilder();
  const conv = g.op('conv', 'Conv', [g.input('x', [1, 16, 8, 8]), g.weight('w', [16, 16, 3, 3])], { attributes: SAME_PADS });
  const next = g.op('next', 'Conv', [g.op('relu', 'Relu', [conv]), g.weight('v', [16, 16, 1, 1])]);
  const tanh = g.op('tanh', 'Tanh', [next]);
  g.output(g.op('sum', 'Add', [g.op('product', 'MatMul', [tanh, g.weight('m', [16, 16])]), g.weight('b', [16])]));
  const graph = g.graph();
  const selection = selectNodes(graph, new Map(), { opset: 13 });
  const byName = new Map([...selection.nodes.values()].map((selected) => [selected.node.name, selected]));
  return { selection, table: (float, integer) => timeTable(graph, float, integer), node: (name) => byName.get(name)! };
}

const close = (received: number, expected: number) => assert.ok(Math.abs(received - expected) < 1e-12, `${received} instead of ${expected}`);

describe('timeTable: nodes', () => {
  const { table, node } = build();

  test('a node takes what it took in each profile, and what starting it costs', () => {
    const times = table([ran('next', 'Conv', 0.5)], [ran('next', 'QLinearConv', 0.2)]);
    close(times.float(node('next')), 0.5 + OVERHEAD);
    close(times.integer(node('next')), 0.2 + OVERHEAD);
  });

  test('what it takes along counts where it ran as a node of its own', () => {
    assert.equal(node('conv').absorbed?.node.name, 'relu');
    assert.equal(node('product').biasAdd?.name, 'sum');
    const apart = table([ran('conv', 'Conv', 0.5), ran('relu', 'Relu', 0.1), ran('product', 'MatMul', 0.3), ran('sum', 'Add', 0.04)], [ran('conv', 'QLinearConv', 0.2), ran('product', 'QGemm', 0.1)]);
    close(apart.float(node('conv')), 0.6 + 2 * OVERHEAD);
    close(apart.integer(node('conv')), 0.2 + OVERHEAD);
    close(apart.float(node('product')), 0.34 + 2 * OVERHEAD);
    close(apart.integer(node('product')), 0.1 + OVERHEAD);
  });

  test('a fused kernel counts for the first of its nodes', () => {
    const times = table([ran(['conv', 'relu'], 'FusedConv', 0.5)], []);
    close(times.float(node('conv')), 0.5 + OVERHEAD);
  });

  test('kernels of one node add up', () => {
    const times = table([ran('conv', 'Conv', 0.5), ran('conv', 'ReorderInput', 0.1)], []);
    close(times.float(node('conv')), 0.6 + OVERHEAD);
  });

  test('a node that no profile shows takes nothing', () => {
    assert.equal(table([], []).float(node('conv')), 0);
    assert.equal(table([ran([], 'Conv', 1)], []).float(node('conv')), 0);
  });
});

describe('timeTable: conversions', () => {
  const { table } = build();
  const ELEMENT = 0.3e-6;
  /** What changing the layout beside a convolution takes. */
  const move = (elements: number, each = ELEMENT) => OVERHEAD + CONVERSION + elements * each;

  test('a conversion that was seen takes what it took', () => {
    const times = table([], [ran('tanh_Q', 'QuantizeLinear', 0.07, 1024), ran('sum_DQ', 'DequantizeLinear', 0.05, 1024)]);
    close(times.quantize('sum'), OVERHEAD + CONVERSION);
    close(times.dequantize('sum'), 0.05 + OVERHEAD);
    close(times.quantize('tanh'), 0.07 + OVERHEAD);
  });

  test('one that was not seen takes what others took an element, in the median', () => {
    const others = [0.1, 0.2, 9].map((time, i) => ran(`${i}_Q`, 'QuantizeLinear', CONVERSION + time, 10_000));
    const times = table([ran('sum', 'Add', 1, 500)], others);
    close(times.quantize('sum'), OVERHEAD + CONVERSION + 500 * 2e-5);
    close(times.dequantize('sum'), OVERHEAD + CONVERSION + 500 * ELEMENT);
  });

  test('Q and DQ are estimated apart', () => {
    const times = table([ran('sum', 'Add', 1, 500)], [ran('p_Q', 'QuantizeLinear', CONVERSION + 0.1, 10_000), ran('p_DQ', 'DequantizeLinear', CONVERSION + 0.3, 10_000)]);
    close(times.quantize('sum'), OVERHEAD + CONVERSION + 500 * 1e-5);
    close(times.dequantize('sum'), OVERHEAD + CONVERSION + 500 * 3e-5);
  });

  test('conversions of few elements, or faster than the smallest, say nothing odd about others', () => {
    const few = table([ran('sum', 'Add', 1, 1e6)], [ran('p_Q', 'QuantizeLinear', 0.009, 4), ran('p_DQ', 'DequantizeLinear', CONVERSION / 2, 10_000)]);
    close(few.quantize('sum'), OVERHEAD + CONVERSION + 1e6 * ELEMENT);
    close(few.dequantize('sum'), OVERHEAD + CONVERSION);
  });

  test('beside a convolution the layout changes too, at the cost of such changes in either profile', () => {
    const times = table([ran('relu', 'Relu', 1, 500), ran([], 'ReorderOutput', CONVERSION + 0.4, 10_000)], []);
    const conversion = OVERHEAD + CONVERSION + 500 * ELEMENT;
    for (const value of ['relu', 'x', 'tanh']) assert.ok(times.quantize(value) > OVERHEAD + CONVERSION, value);
    close(times.quantize('relu'), conversion + move(500, 4e-5));
    close(times.dequantize('relu'), conversion + move(500, 4e-5));
  });

  test('the float profile tells sizes too, and a value of unknown size takes the least', () => {
    const times = table([ran('relu', 'Relu', 1, 500)], [ran('conv', 'QLinearConv', 1, 500)]);
    close(times.quantize('conv'), OVERHEAD + CONVERSION + 500 * ELEMENT + move(500));
    close(times.quantize('x'), OVERHEAD + CONVERSION + move(0));
  });
});
