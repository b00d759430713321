import { createNode } from '../../src/graph/graph-editor.js';
import type { Attribute, Dim, Graph, Model, Node, ValueInfo } from '../../src/graph/model.js';
import { integerArray, quantizeValue, INTEGER_LIMITS, type QuantizedType } from '../../src/tensor/affine.js';
import type { DType } from '../../src/tensor/dtype.js';
import { elementCount, tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';

/** Attributes in short form: a number is an int, a list is ints; other kinds are written out. */
export type AttributeSpec = number | string | readonly number[] | Attribute;

/** What an operator takes beside its inputs. */
export interface OpSpec {
  readonly attributes?: Readonly<Record<string, AttributeSpec>>;
  readonly domain?: string;
  /** Names of the outputs, where there is more than one or where it is not to be the node's name. */
  readonly outputs?: readonly string[];
}

/** Type and parameters of a Q/DQ pair. */
export interface PairSpec {
  readonly dtype?: QuantizedType;
  readonly scale?: number;
  readonly zeroPoint?: number;
}

/** The same for a constant, with the axis of its channels. */
export interface WeightSpec extends PairSpec {
  readonly axis?: number;
}

/** A float attribute. */
export const float = (value: number): Attribute => ({ kind: 'float', value });

/** The pads that keep the size under a kernel of 3. */
export const SAME_PADS = { pads: [1, 1, 1, 1] } as const;

/** Numbers from −1 to 1 that are the same on every run, different for each seed. */
export function noise(count: number, seed: number): Float32Array {
  let state = Math.imul(seed + 1, 2654435761) >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 31 - 1;
  });
}

/** A float32 tensor of noise, times `factor`. */
export function noiseTensor(dims: readonly number[], seed: number, factor = 1): Tensor {
  return tensorFromArray('float32', dims, noise(elementCount(dims), seed).map((value) => value * factor));
}

/**
 * Builds a graph line by line. Every node gets the name that its output gets, so that expected texts read like the code that made the
 * graph. `domain` is that of the Q/DQ nodes.
 */
export class GraphBuilder {
  readonly opset: number;
  readonly domain: string;
  readonly #nodes: Node[] = [];
  readonly #initializers = new Map<string, Tensor>();
  readonly #inputs: ValueInfo[] = [];
  readonly #outputs: ValueInfo[] = [];
  #seed = 1;

  constructor(opset = 13, domain = '') {
    this.opset = opset;
    this.domain = domain;
  }

  input(name: string, shape: readonly Dim[], dtype: DType = 'float32'): string {
    this.#inputs.push({ name, type: { kind: 'tensor', dtype, shape } });
    return name;
  }

  output(...names: readonly string[]): this {
    for (const name of names) this.#outputs.push({ name, type: { kind: 'none' } });
    return this;
  }

  constant(name: string, tensor: Tensor): string {
    this.#initializers.set(name, tensor);
    return name;
  }

  /** A float32 constant of noise of size 1/√(elements a channel), as trained weights have. */
  weight(name: string, dims: readonly number[], factor = Math.sqrt((3 * Math.max(dims[0] ?? 1, dims[1] ?? 1)) / elementCount(dims))): string {
    return this.constant(name, noiseTensor(dims, this.#seed++, factor));
  }

  floats(name: string, values: readonly number[], dims: readonly number[] = [values.length]): string {
    return this.constant(name, tensorFromArray('float32', dims, Float32Array.from(values)));
  }

  ints(name: string, values: readonly number[], dims: readonly number[] = [values.length]): string {
    return this.constant(name, tensorFromArray('int64', dims, BigInt64Array.from(values, BigInt)));
  }

  /** Adds a node and returns its first output. */
  op(name: string, opType: string, inputs: readonly string[], { attributes = {}, domain = '', outputs = [name] }: OpSpec = {}): string {
    const plain = Object.fromEntries(Object.entries(attributes).map(([key, value]) => [key, attributeOf(value)]));
    this.#nodes.push(createNode({ name, opType, domain, inputs, outputs, attributes: plain }));
    return outputs[0]!;
  }

  /** An operator whose axes or sizes are an attribute below operator set 13 and an input from there on. */
  opWithInts(name: string, opType: string, input: string, key: string, values: readonly number[], spec: OpSpec = {}): string {
    return this.opset < 13
      ? this.op(name, opType, [input], { ...spec, attributes: { ...spec.attributes, [key]: values } })
      : this.op(name, opType, [input, this.ints(`${name}_${key}`, values)], spec);
  }

  quantize(value: string, spec: PairSpec = {}): string {
    return this.op(`${value}_q`, 'QuantizeLinear', [value, ...this.#parameters(`${value}_q`, spec)], { domain: this.domain });
  }

  dequantize(value: string, spec: PairSpec = {}): string {
    return this.op(`${value}_dq`, 'DequantizeLinear', [value, ...this.#parameters(`${value}_dq`, spec)], { domain: this.domain });
  }

  /** The value after a Q/DQ pair; u8 with zero point 128 and scale 1/64 unless told otherwise. */
  pair(value: string, spec: PairSpec = {}): string {
    return this.dequantize(this.quantize(value, spec), spec);
  }

  /** A weight as integers of noise with its scale and zero point, in the order in which operators take them; per channel where an axis is given. */
  integerWeight(name: string, dims: readonly number[], spec: WeightSpec = {}): [string, string, string] {
    const { dtype = 'int8', scale = 1 / 64, zeroPoint = middle(dtype), axis } = spec;
    const [qmin, qmax] = INTEGER_LIMITS[dtype];
    const integers = integerArray(dtype, elementCount(dims));
    // Half of the range, so that u8 × s8 pairs add up without saturating on any machine.
    noise(integers.length, this.#seed++).forEach((value, i) => (integers[i] = quantizeValue(value * (qmax - zeroPoint) * 0.5, 1, zeroPoint, qmin, qmax)));
    this.constant(`${name}_q`, tensorFromArray(dtype, dims, integers));
    return [`${name}_q`, ...this.#channelParameters(name, dtype, scale, zeroPoint, axis === undefined ? undefined : dims[axis]!)];
  }

  /** The same, read through DequantizeLinear. */
  quantizedWeight(name: string, dims: readonly number[], spec: WeightSpec = {}): string {
    return this.#dequantizeConstant(name, this.integerWeight(name, dims, spec), spec.axis);
  }

  /** A bias of int32 that is read through DequantizeLinear. */
  quantizedBias(name: string, dims: readonly number[], scale: number, perChannel = false): string {
    const integers = Int32Array.from(noise(elementCount(dims), this.#seed++), (value) => Math.round(value * 4000));
    this.constant(`${name}_q`, tensorFromArray('int32', dims, integers));
    const parameters = this.#channelParameters(name, 'int32', scale, 0, perChannel ? integers.length : undefined);
    return this.#dequantizeConstant(name, [`${name}_q`, ...parameters], perChannel ? dims.length - 1 : undefined);
  }

  /** A [rows, columns] weight in uint4 or int4 with one scale for each block of rows, read through DequantizeLinear (operator set 21). */
  blockWeight(name: string, [rows, columns]: readonly [number, number], dtype: 'int4' | 'uint4', blockSize: number): string {
    const nibbles = noise(rows * columns, this.#seed++).map((value) => (dtype === 'int4' ? value * 7 : value * 7 + 8));
    const packed = Uint8Array.from({ length: Math.ceil(nibbles.length / 2) }, (_, i) => (nibbles[2 * i]! & 15) | ((nibbles[2 * i + 1]! & 15) << 4));
    const blocks = Math.ceil(rows / blockSize);
    this.constant(`${name}_q`, tensorFromArray(dtype, [rows, columns], packed));
    const scales = this.floats(`${name}_scale`, new Array<number>(blocks * columns).fill(1 / 16), [blocks, columns]);
    return this.op(name, 'DequantizeLinear', [`${name}_q`, scales], { attributes: { axis: 0, block_size: blockSize } });
  }

  graph(name = 'graph'): Graph {
    return {
      name,
      nodes: [...this.#nodes],
      initializers: new Map(this.#initializers),
      sparseInitializers: [],
      inputs: [...this.#inputs],
      outputs: [...this.#outputs],
      valueInfo: [],
    };
  }

  model(): Model {
    const opsets = new Map([
      ['', this.opset],
      ['com.microsoft', 1],
    ]);
    return { irVersion: 8, opsets, producer: 'qdq test', metadata: new Map(), graph: this.graph(), functions: [] };
  }

  #parameters(name: string, { dtype = 'uint8', scale = 1 / 64, zeroPoint = middle(dtype) }: PairSpec): [string, string] {
    return [this.floats(`${name}_scale`, [scale], []), this.#zeroPoints(`${name}_zero`, dtype, zeroPoint, undefined)];
  }

  #channelParameters(name: string, dtype: QuantizedType | 'int32', scale: number, zeroPoint: number, channels: number | undefined): [string, string] {
    const scales = channels === undefined ? this.floats(`${name}_scale`, [scale], []) : this.floats(`${name}_scale`, new Array<number>(channels).fill(scale));
    return [scales, this.#zeroPoints(`${name}_zero`, dtype, zeroPoint, channels)];
  }

  #dequantizeConstant(name: string, inputs: readonly string[], axis: number | undefined): string {
    return this.op(name, 'DequantizeLinear', inputs, { domain: this.domain, ...(axis === undefined ? {} : { attributes: { axis } }) });
  }

  #zeroPoints(name: string, dtype: QuantizedType | 'int32', value: number, channels: number | undefined): string {
    const count = channels ?? 1;
    const array = dtype === 'int32' ? new Int32Array(count) : integerArray(dtype, count);
    return this.constant(name, tensorFromArray(dtype, channels === undefined ? [] : [count], array.fill(value)));
  }
}

function middle(dtype: QuantizedType): number {
  const [qmin, qmax] = INTEGER_LIMITS[dtype];
  return Math.ceil((qmin + qmax) / 2);
}

function attributeOf(spec: AttributeSpec): Attribute {
  if (typeof spec === 'number') return { kind: 'int', value: spec };
  if (typeof spec === 'string') return { kind: 'string', value: spec };
  return isList(spec) ? { kind: 'ints', value: spec } : spec;
}

function isList(spec: Attribute | readonly number[]): spec is readonly number[] {
  return Array.isArray(spec);
}
