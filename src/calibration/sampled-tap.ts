import { createNode } from '../graph/graph-editor.js';
import type { Attribute, Model, Node } from '../graph/model.js';
import { Names } from '../graph/names.js';
import type { DType } from '../tensor/dtype.js';
import { elementCount, tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { nonNegativeValues } from './non-negative.js';
import { withOutputs } from './tap.js';
import type { SampledElements } from './tensor-observer.js';

/** Steps along height and width between the elements of a grid. */
export type GridStep = readonly [height: number, width: number];

/** A model that reduces large activations to grids and window extremes before it hands them out. */
export interface SampledTap {
  readonly model: Model;
  /** Values that are handed out whole. */
  readonly whole: readonly string[];
  /** What the other outputs hold, by output name. */
  readonly joined: ReadonlyMap<string, readonly JoinedPart[]>;
  /** Of each value that is reduced. */
  readonly steps: ReadonlyMap<string, GridStep>;
}

/** A run of channels in a joined output. */
export interface JoinedPart {
  readonly value: string;
  readonly kind: keyof SampledElements;
  /** Dimensions of the whole value. */
  readonly dims: readonly number[];
}

/** A value as a run of the model showed it. */
export interface SeenValue {
  readonly dtype: DType;
  readonly dims: readonly number[];
}

/** Elements along each edge of a grid, at least, where the tensor has as many. */
const GRID_EDGE = 7;
/** Smaller tensors are cheaper to hand out whole. */
const LARGE = 16_384;

/**
 * The tap that hands out, of each large float32 activation of rank 4, a grid of about 7 × 7 elements a channel and the extremes of
 * windows that cover all of it. Made for activations of the dimensions seen; undefined where none is large. How it is done is
 * what measured fastest: MaxPool with kernel 1 is a strided copy that needs no change of layout, minima come from the negated
 * tensor, and there is one Concat for each size of grid.
 */
export function sampledTap(model: Model, seen: ReadonlyMap<string, SeenValue>): SampledTap | undefined {
  const isNonNegative = nonNegativeValues(model.graph);
  const reducer = new Reducer(model);
  for (const [value, { dtype, dims }] of seen) {
    const step = dtype === 'float32' ? gridStep(dims) : undefined;
    if (step) reducer.add(value, dims, step, !isNonNegative(value));
  }
  if (reducer.steps.size === 0) return undefined;
  const whole = [...seen.keys()].filter((value) => !reducer.steps.has(value));
  const { reduced, joined } = reducer.finish();
  return { model: withOutputs(reduced, [...whole, ...joined.keys()]), whole, joined, steps: reducer.steps };
}

/** Adds the nodes that reduce values to a model. */
class Reducer {
  readonly steps = new Map<string, GridStep>();
  readonly #model: Model;
  readonly #names: Names;
  readonly #nodes: Node[] = [];
  /** What is joined, by size of grid. */
  readonly #groups = new Map<string, { inputs: string[]; parts: JoinedPart[] }>();
  readonly #weights = new Map<number, readonly [name: string, weight: Tensor]>();

  constructor(model: Model) {
    this.#model = model;
    this.#names = new Names(model.graph);
  }

  add(value: string, dims: readonly number[], step: GridStep, signed: boolean): void {
    const size = gridSize(dims, step);
    const key = [dims[0], ...size].join();
    const group = this.#groups.get(key) ?? { inputs: [], parts: [] };
    // Padding at the end, so that windows as large as a step cover everything; older operator sets have no `ceil_mode`.
    const pads = [0, 0, size[0] * step[0] - dims[2]!, size[1] * step[1] - dims[3]!];
    const pool = (input: string, kind: JoinedPart['kind'], kernel: GridStep, padding: readonly number[]) => {
      const attributes = { kernel_shape: ints(kernel), strides: ints(step), pads: ints(padding) };
      group.inputs.push(this.#node('MaxPool', [input], attributes));
      group.parts.push({ value, kind, dims });
    };
    pool(value, 'grid', [1, 1], [0, 0, 0, 0]);
    pool(value, 'maxima', step, pads);
    if (signed) pool(this.#negate(value, dims[1]!), 'negatedMinima', step, pads);
    this.#groups.set(key, group);
    this.steps.set(value, step);
  }

  finish(): { reduced: Model; joined: Map<string, readonly JoinedPart[]> } {
    const { graph } = this.#model;
    const joined = new Map<string, readonly JoinedPart[]>();
    for (const { inputs, parts } of this.#groups.values()) {
      joined.set(this.#node('Concat', inputs, { axis: { kind: 'int', value: 1 } }), parts);
    }
    const initializers = new Map([...graph.initializers, ...this.#weights.values()]);
    return { reduced: { ...this.#model, graph: { ...graph, nodes: [...graph.nodes, ...this.#nodes], initializers } }, joined };
  }

  /** The negated value: a convolution by −1, channel by channel, which needs no change of layout either. */
  #negate(value: string, channels: number): string {
    const weight = this.#weights.get(channels) ?? [this.#names.unique('qdq_minus_one'), minusOnes(channels)];
    this.#weights.set(channels, weight);
    return this.#node('Conv', [value, weight[0]], { group: { kind: 'int', value: channels }, kernel_shape: ints([1, 1]) });
  }

  /** Adds a node and returns the name of its output. */
  #node(opType: string, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>>): string {
    const name = this.#names.unique(`qdq_${opType}`);
    this.#nodes.push(createNode({ name, opType, inputs, outputs: [name], attributes }));
    return name;
  }
}

/** The steps of the grid of a tensor; undefined where the tensor is too small or of another rank. */
export function gridStep(dims: readonly number[]): GridStep | undefined {
  const [, , height = 0, width = 0] = dims;
  if (dims.length !== 4 || elementCount(dims) < LARGE) return undefined;
  const step: GridStep = [Math.max(1, Math.floor(height / GRID_EDGE)), Math.max(1, Math.floor(width / GRID_EDGE))];
  return step[0] * step[1] < 4 ? undefined : step;
}

/** Height and width of the grid. */
export function gridSize(dims: readonly number[], [height, width]: GridStep): [height: number, width: number] {
  return [Math.ceil(dims[2]! / height), Math.ceil(dims[3]! / width)];
}

function minusOnes(channels: number): Tensor {
  return tensorFromArray('float32', [channels, 1, 1, 1], new Float32Array(channels).fill(-1));
}

function ints(value: readonly number[]): Attribute {
  return { kind: 'ints', value };
}
