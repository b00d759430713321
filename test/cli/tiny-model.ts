import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeNpz } from '../../src/data/npz.js';
import { createNode } from '../../src/graph/graph-editor.js';
import type { Model, ValueInfo } from '../../src/graph/model.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';

const CHANNELS = 16;

/** A small classifier, Conv → Relu → GlobalAveragePool → Flatten → Gemm, from "image" [N, 3, 8, 8] to "logits" [N, 4]. */
export function tinyModel(): Model {
  const value = (name: string, shape: readonly (number | string)[]): ValueInfo => ({ name, type: { kind: 'tensor', dtype: 'float32', shape } });
  const ints = (...values: number[]) => ({ kind: 'ints', value: values }) as const;
  return {
    irVersion: 8,
    opsets: new Map([['', 13]]),
    producer: 'test',
    metadata: new Map(),
    functions: [],
    graph: {
      name: 'tiny',
      nodes: [
        createNode({ name: 'conv', opType: 'Conv', inputs: ['image', 'conv.weight', 'conv.bias'], outputs: ['a'], attributes: { kernel_shape: ints(3, 3), pads: ints(1, 1, 1, 1) } }),
        createNode({ name: 'relu', opType: 'Relu', inputs: ['a'], outputs: ['b'] }),
        createNode({ name: 'pool', opType: 'GlobalAveragePool', inputs: ['b'], outputs: ['c'] }),
        createNode({ name: 'flatten', opType: 'Flatten', inputs: ['c'], outputs: ['d'] }),
        createNode({ name: 'head', opType: 'Gemm', inputs: ['d', 'head.weight', 'head.bias'], outputs: ['logits'] }),
      ],
      initializers: new Map([
        ['conv.weight', noise([CHANNELS, 3, 3, 3], 1)],
        ['conv.bias', noise([CHANNELS], 2)],
        ['head.weight', noise([CHANNELS, 4], 3)],
        ['head.bias', noise([4], 4)],
      ]),
      sparseInitializers: [],
      inputs: [value('image', ['N', 3, 8, 8])],
      outputs: [value('logits', ['N', 4])],
      valueInfo: [],
    },
  };
}

/** Writes the small classifier as "tiny.onnx" and returns its name. */
export function writeTinyModel(folder: string): string {
  writeFileSync(join(folder, 'tiny.onnx'), encodeModel(tinyModel()));
  return 'tiny.onnx';
}

/** Writes samples 0.npz, 1.npz, … into a folder that exists. */
export function writeSamples(folder: string, count: number): void {
  for (let i = 0; i < count; i++) writeSample(join(folder, `${i}.npz`), { image: noise([1, 3, 8, 8], 100 + i) });
}

/** Writes one npz file. */
export function writeSample(path: string, tensors: Readonly<Record<string, Tensor>>): void {
  writeFileSync(path, encodeNpz(new Map(Object.entries(tensors))));
}

/** Numbers in −1 … 1 that are the same on each run. */
export function noise(dims: readonly number[], seed: number): Tensor {
  const count = dims.reduce((product, dim) => product * dim, 1);
  let state = seed;
  const next = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  };
  return tensorFromArray('float32', dims, Float32Array.from({ length: count }, next));
}
