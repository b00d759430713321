import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { floatReason } from '../../src/runtime/float-reason.js';
import { integerReport } from '../../src/runtime/kernel-coverage.js';
import { fuse } from '../helpers/fuse.js';
import { GraphBuilder, SAME_PADS, type PairSpec } from '../helpers/graph-builder.js';

const image = (g: GraphBuilder) => g.input('x', [1, 16, 8, 8]);
const weight = (g: GraphBuilder) => g.quantizedWeight('w', [16, 16, 3, 3], { axis: 0 });
const conv = (g: GraphBuilder, x: string, w: string, ...bias: string[]) => g.op('y', 'Conv', [x, w, ...bias], { attributes: SAME_PADS });
const UNSIGNED: PairSpec = { zeroPoint: 0 };

interface Row {
  readonly name: string;
  /** Builds a graph whose compute node `y` runs in float. */
  readonly build: (g: GraphBuilder) => void;
  readonly reason: string;
  readonly opset?: number;
}

const ROWS: readonly Row[] = [
  { name: 'a float model', build: (g) => void g.output(conv(g, image(g), g.weight('w', [16, 16, 3, 3]))), reason: 'neither its input nor its weight is quantized' },
  { name: 'only the input quantized', build: (g) => void g.output(conv(g, g.pair(image(g)), g.weight('w', [16, 16, 3, 3]))), reason: 'its weight "w" is float32' },
  { name: 'only the weight quantized', build: (g) => void g.output(g.pair(conv(g, image(g), weight(g)))), reason: 'its input "x" is not quantized' },
  {
    name: 'an input that is computed in float',
    build: (g) => void g.output(g.pair(conv(g, g.op('tanh', 'Tanh', [g.pair(image(g))]), weight(g)))),
    reason: 'its input "tanh" is not quantized',
  },
  { name: 'no Q on a graph output', build: (g) => void g.output(conv(g, g.pair(image(g)), weight(g))), reason: 'its output is a graph output and does not pass through QuantizeLinear' },
  {
    name: 'a graph output beside Q',
    build: (g) => {
      const y = conv(g, g.pair(image(g)), weight(g));
      g.output(g.pair(y), y);
    },
    reason: 'its output is a graph output and does not pass through QuantizeLinear',
  },
  { name: 'a float reader', build: (g) => void g.output(g.op('tanh', 'Tanh', [conv(g, g.pair(image(g)), weight(g))])), reason: 'its output is read by Tanh without QuantizeLinear in between' },
  {
    name: 'a float reader beside Q',
    build: (g) => {
      const y = conv(g, g.pair(image(g)), weight(g));
      g.output(g.pair(y), g.op('tanh', 'Tanh', [y]));
    },
    reason: 'its output is read by Tanh without QuantizeLinear in between',
  },
  { name: 'ConvTranspose', build: (g) => void g.output(g.pair(g.op('y', 'ConvTranspose', [g.pair(image(g)), weight(g)]))), reason: 'ConvTranspose has no integer kernel in onnxruntime' },
  ...(['GRU', 'RNN', 'LSTM'] as const).map((opType): Row => {
    const gates = { GRU: 3, RNN: 1, LSTM: 4 }[opType];
    return {
      name: opType,
      build: (g) => void g.output(g.op('y', opType, [g.input('x', [5, 1, 8]), g.weight('w', [1, gates * 4, 8]), g.weight('r', [1, gates * 4, 4])], { attributes: { hidden_size: 4 } })),
      reason: opType === 'LSTM' ? 'LSTM runs on integers only as DynamicQuantizeLSTM' : `${opType} has no integer kernel in onnxruntime`,
    };
  }),
  { name: 'MatMul of two float activations', build: (g) => void g.output(g.op('y', 'MatMul', [g.input('x', [4, 8]), g.input('z', [8, 4])])), reason: 'neither its input nor its weight is quantized' },
  { name: 'MatMul with one activation quantized', build: (g) => void g.output(g.op('y', 'MatMul', [g.pair(g.input('x', [4, 8])), g.input('z', [8, 4])])), reason: 'its input "z" is not quantized' },
  {
    name: 'types that no kernel takes',
    opset: 21,
    build: (g) => void g.output(g.pair(conv(g, g.pair(image(g), { dtype: 'uint16' }), weight(g)), { dtype: 'uint16' })),
    reason: 'onnxruntime did not fuse its QuantizeLinear and DequantizeLinear nodes: their types, scales or axes do not fit an integer kernel',
  },
  {
    name: 'a bias of another scale',
    build: (g) => void g.output(g.pair(conv(g, g.pair(image(g)), weight(g), g.quantizedBias('b', [16], 1 / 999, true)))),
    reason: 'onnxruntime did not fuse its QuantizeLinear and DequantizeLinear nodes: their types, scales or axes do not fit an integer kernel',
  },
];

describe('floatReason', () => {
  for (const { name, build, reason, opset } of ROWS) {
    test(name, async () => {
      const g = new GraphBuilder(opset);
      build(g);
      const model = g.model();
      const node = model.graph.nodes.find((candidate) => candidate.name === 'y')!;
      assert.equal(floatReason(node, model.graph), reason);
      // The reason is only worth something where the node does run in float.
      const [reported] = integerReport(model, await fuse(model)).nodes.filter((candidate) => candidate.name === 'y');
      assert.deepEqual([reported?.runsAs, reported?.reason], ['float', reason]);
    });
  }

  test('a Relu that Q does not make redundant is named', async () => {
    const g = new GraphBuilder();
    g.output(g.pair(g.op('relu', 'Relu', [conv(g, g.pair(image(g)), weight(g))])));
    const [reported] = integerReport(g.model(), await fuse(g.model())).nodes;
    assert.deepEqual([reported!.runsAs, reported!.reason], ['float', 'its output is read by Relu without QuantizeLinear in between']);
  });

  test('there is none for a node that runs on integers', async () => {
    const g = new GraphBuilder();
    g.output(g.pair(g.op('relu', 'Relu', [conv(g, g.pair(image(g)), weight(g))]), UNSIGNED));
    const [reported] = integerReport(g.model(), await fuse(g.model())).nodes;
    assert.deepEqual([reported!.runsAs, reported!.reason], ['integer', null]);
  });
});
