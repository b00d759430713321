import { createNode } from '../../src/graph/graph-editor.js';
import type { Model, Node } from '../../src/graph/model.js';
import { DeferredStorage } from '../../src/tensor/deferred-storage.js';
import type { Tensor } from '../../src/tensor/tensor.js';

const FLOAT_BYTES = 4;
const NOISE_ELEMENTS = 1 << 20;

/** A chain of square products without bias whose weights, noise of about unit gain, are computed when they are written. */
export function largeMatmul(layers: number, width: number): Model {
  const noise = noiseOf(NOISE_ELEMENTS, Math.sqrt(3 / width));
  const nodes: Node[] = [];
  const initializers = new Map<string, Tensor>();
  for (let i = 0; i < layers; i++) {
    initializers.set(`w${i}`, { dtype: 'float32', dims: [width, width], storage: repeated(noise, i * 4093, width * width) });
    nodes.push(createNode({ name: `layer${i}`, opType: 'MatMul', inputs: [i === 0 ? 'x' : `h${i}`, `w${i}`], outputs: [i === layers - 1 ? 'y' : `h${i + 1}`] }));
  }
  const value = (name: string) => ({ name, type: { kind: 'tensor', dtype: 'float32', shape: ['rows', width] } }) as const;
  return {
    irVersion: 8,
    opsets: new Map([['', 17]]),
    producer: 'qdq bench',
    metadata: new Map(),
    graph: { name: 'large', nodes, initializers, sparseInitializers: [], inputs: [value('x')], outputs: [value('y')], valueInfo: [] },
    functions: [],
  };
}

/** Uniform numbers in ±amplitude, the same on every run. */
function noiseOf(count: number, amplitude: number): Float32Array {
  let state = 1;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) * amplitude;
  });
}

/** Elements `from`, `from + 1`, … of the noise, begun again at its end, as many as are asked for. */
function repeated(noise: Float32Array, from: number, count: number): DeferredStorage {
  return new DeferredStorage(count * FLOAT_BYTES, (offset, length) => {
    const piece = new Float32Array(length / FLOAT_BYTES);
    for (let done = 0; done < piece.length; ) {
      const start = (from + offset / FLOAT_BYTES + done) % noise.length;
      const part = noise.subarray(start, start + piece.length - done);
      piece.set(part, done);
      done += part.length;
    }
    return new Uint8Array(piece.buffer);
  });
}
