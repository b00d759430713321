import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { integerReport } from '../../src/runtime/kernel-coverage.js';
import { expressionText } from '../helpers/expression-text.js';
import { fuse } from '../helpers/fuse.js';
import { GraphBuilder } from '../helpers/graph-builder.js';
import { parseModel } from '../helpers/graph-text.js';

/** How the scale and zero point of a weight are written. */
interface Parameters {
  readonly axis?: number;
  readonly zeroPoint: 'as scale' | 'scalar' | 'none';
}

type BiasPlace = 'none' | 'second' | 'first' | 'rank 3';

function product(g: GraphBuilder, name: string, { axis, zeroPoint }: Parameters, bias: BiasPlace): string {
  const [w, scale, zero] = g.integerWeight(`${name}_w`, [32, 16], axis === undefined ? {} : { axis });
  const zeros = { 'as scale': [zero], scalar: [g.constant(`${name}_zero`, { dtype: 'int8', dims: [], storage: zeroByte })], none: [] }[zeroPoint];
  const sums = g.op(name, 'MatMulInteger', ['q', w, 'z', ...zeros]);
  const floats = g.op(`${name}_cast`, 'Cast', [sums], { attributes: { to: 1 } });
  const scaled = g.op(`${name}_mul`, 'Mul', [floats, g.op(`${name}_scales`, 'Mul', ['s', scale])]);
  if (bias === 'none') return scaled;
  const b = g.weight(`${name}_b`, bias === 'rank 3' ? [1, 1, 16] : [16]);
  return g.op(`${name}_add`, 'Add', bias === 'first' ? [b, scaled] : [scaled, b]);
}

const zeroByte = { byteLength: 1, read: () => new Uint8Array(1), readRange: () => new Uint8Array(1) };

function dynamicModel(products: number, parameters: Parameters, bias: BiasPlace) {
  const g = new GraphBuilder(12);
  g.op('dynamic', 'DynamicQuantizeLinear', [g.input('x', ['n', 4, 32])], { outputs: ['q', 's', 'z'] });
  for (let i = 0; i < products; i++) g.output(product(g, `matmul${i}`, parameters, bias));
  return g.model();
}

describe('products of dynamically quantized values', () => {
  for (const axis of [undefined, 1]) {
    for (const zeroPoint of ['as scale', 'scalar', 'none'] as const) {
      for (const bias of ['none', 'second', 'first', 'rank 3'] as const) {
        const parameters = axis === undefined ? { zeroPoint } : { axis, zeroPoint };
        test(`scale ${axis === undefined ? 'scalar' : 'vector'}, zero point ${zeroPoint}, bias ${bias}`, async () => {
          const model = dynamicModel(1, parameters, bias);
          const fused = await fuse(model);
          assert.equal(expressionText(fused.graph), 'DynamicQuantizeMatMul(x)');
          const [node] = integerReport(model, fused).nodes;
          assert.deepEqual([node?.name, node?.runsAs, node?.kernel], ['matmul0', 'integer', 'DynamicQuantizeMatMul']);
          assert.equal(node?.weights, axis === undefined ? 's8 per tensor' : 's8 per channel');
        });
      }
    }
  }
});

test('two products of one dynamically quantized value are integer nodes', async () => {
  const model = dynamicModel(2, { axis: 1, zeroPoint: 'scalar' }, 'second');
  const report = integerReport(model, await fuse(model));
  assert.deepEqual(report.nodes.map(({ runsAs, kernel }) => [runsAs, kernel]), new Array(2).fill(['integer', 'MatMulIntegerToFloat']));
  assert.deepEqual([report.integerNodes, report.computeNodes, report.danglingQdqNodes], [2, 2, 0]);
});

test('DynamicQuantizeLSTM is an integer node', async () => {
  const model = parseModel(`
    opset 13
    opset com.microsoft 1
    input x float32[6,2,8]
    const w int8[1,8,16] ~1
    const r int8[1,4,16] ~2
    const ws float32[1,16] 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
    const wz int8[1,16] 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
    const rs float32[1] 1
    const rz int8[1] 0
    lstm: y = com.microsoft::DynamicQuantizeLSTM(x, w, r, , , , , , ws, wz, rs, rz) hidden_size=4
    output y
  `);
  const [node] = integerReport(model, await fuse(model)).nodes;
  assert.deepEqual([node?.runsAs, node?.kernel, node?.weights], ['integer', 'DynamicQuantizeLSTM', 's8 per channel']);
});

test('ConvInteger is an integer node', async () => {
  const g = new GraphBuilder(13);
  g.op('dynamic', 'DynamicQuantizeLinear', [g.input('x', [1, 16, 8, 8])], { outputs: ['q', 's', 'z'] });
  const [w, scale] = g.integerWeight('w', [8, 16, 3, 3]);
  const floats = g.op('cast', 'Cast', [g.op('conv', 'ConvInteger', ['q', w, 'z'])], { attributes: { to: 1 } });
  g.output(g.op('y', 'Mul', [floats, g.op('scales', 'Mul', ['s', scale])]));
  const model = g.model();
  const [node] = integerReport(model, await fuse(model)).nodes;
  assert.deepEqual([node?.runsAs, node?.kernel, node?.weights], ['integer', 'ConvInteger', 's8 per tensor']);
});

test('the DequantizeLinear after a lookup in a table of integers is not dangling', async () => {
  const g = new GraphBuilder(13);
  const [table, scale, zero] = g.integerWeight('table', [64, 8], { axis: 1 });
  const rows = g.op('rows', 'Gather', [table, g.input('ids', ['n'], 'int64')]);
  g.output(g.op('y', 'DequantizeLinear', [rows, scale, zero], { attributes: { axis: -1 } }));
  const model = g.model();
  const report = integerReport(model, await fuse(model));
  assert.equal(report.danglingQdqNodes, 0);
  assert.equal(report.weightBytes.residentInteger, report.weightBytes.integer);
});

test('nor is one behind a Transpose of what was looked up', async () => {
  const g = new GraphBuilder(13);
  const [table, scale, zero] = g.integerWeight('table', [64, 8]);
  const turned = g.op('turned', 'Transpose', [g.op('rows', 'Gather', [table, g.input('ids', ['n', 4], 'int64')])], { attributes: { perm: [1, 0, 2] } });
  g.output(g.op('y', 'Tanh', [g.op('floats', 'DequantizeLinear', [turned, scale, zero])]));
  const model = g.model();
  assert.equal(integerReport(model, await fuse(model)).danglingQdqNodes, 0);
});

test('fused nodes in a body are found', async () => {
  const model = parseModel(`
    opset 13
    input x float32[4,32]
    input c bool
    const w int8[32,16] ~1
    const ws float32[] 0.01
    y = If(c)
      then_branch:
        dynamic: q, s, z = DynamicQuantizeLinear(x)
        product: i = MatMulInteger(q, w, z)
        cast: f = Cast(i) to=1
        scale: m = Mul(s, ws)
        mul: t = Mul(f, m)
        output t
      else_branch:
        e = Slice(x, starts, ends, axes)
        const starts int64[1] 0
        const ends int64[1] 16
        const axes int64[1] 1
        output e
    output y
  `);
  const [node] = integerReport(model, await fuse(model)).nodes;
  assert.deepEqual([node?.name, node?.runsAs, node?.kernel], ['product', 'integer', 'DynamicQuantizeMatMul']);
});
