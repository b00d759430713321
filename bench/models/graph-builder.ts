import { createNode } from '../../src/graph/graph-editor.js';
import type { Attribute, Dim, Model, Node, ValueInfo } from '../../src/graph/model.js';
import type { DType } from '../../src/tensor/dtype.js';
import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { uniform } from './network.js';

/** Collects nodes and constants and makes a model of them, with names as PyTorch gives them. */
export class GraphBuilder {
  readonly #nodes: Node[] = [];
  readonly #constants = new Map<string, Tensor>();
  readonly #random: () => number;

  constructor(seed = 1) {
    this.#random = uniform(seed);
  }

  /** Adds a node and returns its output. */
  add(opType: string, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>> = {}): string {
    const name = `/${opType}_${this.#nodes.length}`;
    const output = `${name}_output_0`;
    this.#nodes.push(createNode({ name, opType, inputs, outputs: [output], attributes }));
    return output;
  }

  /** Adds a constant and returns its name. */
  constant(tensor: Tensor, kind = 'constant'): string {
    const name = `${kind}_${this.#constants.size}`;
    this.#constants.set(name, tensor);
    return name;
  }

  /** Adds a float constant of normal numbers. */
  normal(dims: readonly number[], deviation: number, mean = 0): string {
    const values = Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => mean + deviation * this.sample());
    return this.constant(tensorFromArray('float32', dims, values), 'weight');
  }

  /** One normal number. Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958. */
  sample(): number {
    return Math.sqrt(-2 * Math.log(1 - this.#random())) * Math.cos(2 * Math.PI * this.#random());
  }

  finish(inputs: readonly ValueInfo[], outputs: readonly ValueInfo[], opset = 17): Model {
    return {
      irVersion: 8,
      opsets: new Map([['', opset]]),
      producer: 'qdq bench',
      metadata: new Map(),
      functions: [],
      graph: { name: 'main_graph', nodes: this.#nodes, initializers: this.#constants, sparseInitializers: [], inputs, outputs, valueInfo: [] },
    };
  }
}

/** A value with its declared type. */
export function valueInfo(name: string, dtype: DType, shape: readonly Dim[]): ValueInfo {
  return { name, type: { kind: 'tensor', dtype, shape } };
}

export const int = (value: number): Attribute => ({ kind: 'int', value });
export const ints = (...value: readonly number[]): Attribute => ({ kind: 'ints', value });
