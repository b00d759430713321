import { createNode } from '../../src/graph/graph-editor.js';
import type { Attribute, Model, Node } from '../../src/graph/model.js';
import { float32Tensor, tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';

/** An activation while a network is being built. */
export interface Activation {
  readonly name: string;
  readonly channels: number;
  /** Mean square that the elements will have, roughly. */
  readonly meanSquare: number;
}

/** A convolution with its batch norm folded in. */
export interface Convolution {
  readonly channels: number;
  readonly kernel: number;
  readonly stride?: number;
  readonly groups?: number;
}

/**
 * Builds convolutional networks with random weights, as PyTorch exports them. Weights are scaled as if a batch norm stood behind
 * each convolution: outputs vary by about one around a small mean, more in some channels than in others.
 */
export class Network {
  readonly input: Activation;
  readonly #size: number;
  readonly #nodes: Node[] = [];
  readonly #weights = new Map<string, Tensor>();
  readonly #random: () => number;

  /** For square pictures of three channels that vary by about one. */
  constructor(size: number, seed = 1) {
    this.#size = size;
    this.#random = uniform(seed);
    this.input = { name: 'input', channels: 3, meanSquare: 1 };
  }

  convolution(from: Activation, { channels, kernel, stride = 1, groups = 1 }: Convolution): Activation {
    const fanIn = (from.channels / groups) * kernel * kernel;
    const gains = Array.from({ length: channels }, () => Math.exp(0.4 * this.#normal()));
    const unit = 1 / Math.sqrt(fanIn * from.meanSquare);
    const weights = new Float32Array(channels * fanIn);
    for (let i = 0; i < weights.length; i++) weights[i] = this.#normal() * unit * gains[Math.floor(i / fanIn)]!;
    const pad = Math.floor(kernel / 2);
    const name = this.#add('Conv', [from.name, this.#weight('weight', tensorFromArray('float32', [channels, from.channels / groups, kernel, kernel], weights)),
      this.#weight('bias', float32Tensor(gains.map((gain) => 0.3 * gain * this.#normal())))], {
      kernel_shape: ints(kernel, kernel),
      strides: ints(stride, stride),
      pads: ints(pad, pad, pad, pad),
      dilations: ints(1, 1),
      group: { kind: 'int', value: groups },
    });
    return { name, channels, meanSquare: 1.4 };
  }

  relu(from: Activation): Activation {
    return { ...from, name: this.#add('Relu', [from.name]), meanSquare: from.meanSquare / 2 };
  }

  relu6(from: Activation): Activation {
    const limits = [this.#weight('min', float32Tensor(0)), this.#weight('max', float32Tensor(6))];
    return { ...from, name: this.#add('Clip', [from.name, ...limits]), meanSquare: from.meanSquare / 2 };
  }

  add(a: Activation, b: Activation): Activation {
    return { ...a, name: this.#add('Add', [a.name, b.name]), meanSquare: a.meanSquare + b.meanSquare };
  }

  maxPool(from: Activation, kernel: number, stride: number): Activation {
    const pad = Math.floor(kernel / 2);
    const attributes = { kernel_shape: ints(kernel, kernel), strides: ints(stride, stride), pads: ints(pad, pad, pad, pad) };
    return { ...from, name: this.#add('MaxPool', [from.name], attributes) };
  }

  /** Global average pooling and a dense layer; ends the network. */
  classify(from: Activation, classes: number): Model {
    const pooled = this.#add('Flatten', [this.#add('GlobalAveragePool', [from.name])], { axis: { kind: 'int', value: 1 } });
    const weights = new Float32Array(classes * from.channels).map(() => this.#normal() / Math.sqrt(from.channels));
    const output = this.#add('Gemm', [pooled, this.#weight('weight', tensorFromArray('float32', [classes, from.channels], weights)),
      this.#weight('bias', float32Tensor(new Float32Array(classes)))], { transB: { kind: 'int', value: 1 } });
    const float = (name: string, shape: readonly number[]) => ({ name, type: { kind: 'tensor', dtype: 'float32', shape } }) as const;
    return {
      irVersion: 8,
      opsets: new Map([['', 17]]),
      producer: 'qdq bench',
      metadata: new Map(),
      functions: [],
      graph: {
        name: 'main_graph',
        nodes: this.#nodes,
        initializers: this.#weights,
        sparseInitializers: [],
        inputs: [float(this.input.name, [1, 3, this.#size, this.#size])],
        outputs: [float(output, [1, classes])],
        valueInfo: [],
      },
    };
  }

  #add(opType: string, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>> = {}): string {
    const name = `/${opType}_${this.#nodes.length}`;
    const output = `${name}_output_0`;
    this.#nodes.push(createNode({ name, opType, inputs, outputs: [output], attributes }));
    return output;
  }

  #weight(kind: string, tensor: Tensor): string {
    const name = `${kind}_${this.#weights.size}`;
    this.#weights.set(name, tensor);
    return name;
  }

  /** Roughly normal, within ±3. */
  #normal(): number {
    return 2 * (this.#random() + this.#random() + this.#random() - 1.5);
  }
}

/** Evenly distributed numbers from 0 to 1, the same for the same seed (mulberry32). */
export function uniform(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function ints(...value: number[]): Attribute {
  return { kind: 'ints', value };
}
