import { createNode } from '../../src/graph/graph-editor.js';
import type { Model, Node, ValueInfo } from '../../src/graph/model.js';
import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';

/** Numbers from −1 to 1 that are the same on every run (mulberry32). */
export function noise(count: number, seed = 1): Float32Array {
  let state = seed * 2654435761;
  return Float32Array.from({ length: count }, () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 31 - 1;
  });
}

/** A tensor of noise. */
export function noiseTensor(dims: readonly number[], seed: number): Tensor {
  return tensorFromArray('float32', dims, noise(dims.reduce((a, b) => a * b, 1), seed));
}

/** A declared float32 tensor. */
export function floatInfo(name: string, shape: readonly (number | string)[]): ValueInfo {
  return { name, type: { kind: 'tensor', dtype: 'float32', shape } };
}

/** A model of these nodes. */
export function modelOf(nodes: readonly Node[], inputs: readonly ValueInfo[], outputs: readonly ValueInfo[], weights: Readonly<Record<string, Tensor>> = {}): Model {
  return {
    irVersion: 8,
    opsets: new Map([['', 17]]),
    producer: 'qdq test',
    metadata: new Map(),
    graph: { name: 'test', nodes, initializers: new Map(Object.entries(weights)), sparseInitializers: [], inputs, outputs, valueInfo: [] },
    functions: [],
  };
}

/** Conv, Relu, Conv of stride 2, GlobalAveragePool and a Gemm, for pictures of any size with three channels. */
export function convModel(): Model {
  const strides = { strides: { kind: 'ints', value: [2, 2] }, pads: { kind: 'ints', value: [1, 1, 1, 1] } } as const;
  return modelOf(
    [
      createNode({ name: 'conv1', opType: 'Conv', inputs: ['x', 'w1'], outputs: ['c1'], attributes: { pads: { kind: 'ints', value: [1, 1, 1, 1] } } }),
      createNode({ name: 'relu1', opType: 'Relu', inputs: ['c1'], outputs: ['r1'] }),
      createNode({ name: 'conv2', opType: 'Conv', inputs: ['r1', 'w2'], outputs: ['c2'], attributes: strides }),
      createNode({ name: 'pool', opType: 'GlobalAveragePool', inputs: ['c2'], outputs: ['p'] }),
      createNode({ name: 'flatten', opType: 'Flatten', inputs: ['p'], outputs: ['f'] }),
      createNode({ name: 'shape', opType: 'Shape', inputs: ['c2'], outputs: ['s'] }),
      createNode({ name: 'gemm', opType: 'Gemm', inputs: ['f', 'w3'], outputs: ['y'] }),
    ],
    [floatInfo('x', ['n', 3, 'h', 'w'])],
    [floatInfo('y', ['n', 4])],
    { w1: noiseTensor([64, 3, 3, 3], 1), w2: noiseTensor([64, 64, 3, 3], 2), w3: noiseTensor([64, 4], 3) },
  );
}
