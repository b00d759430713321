import { createNode } from '../graph/graph-editor.js';
import type { Model, Node } from '../graph/model.js';
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
 * tensor, and one Concat for each size of grid lets the runtime free activations early.
 */
export function sampledTap(model: Model, seen: ReadonlyMap<string, SeenValue>): SampledTap | undefined {
  const isNonNegative = nonNegativeValues(model.graph);
  const names = new Names(model.graph);
  const nodes: Node[] = [];
  const initializers = new Map(model.graph.initializers);
  const weights = new Map<number, string>();
  const steps = new Map<string, GridStep>();
  const groups = new Map<string, { inputs: string[]; parts: JoinedPart[] }>();

  for (const [value, { dtype, dims }] of seen) {
    const step = dtype === 'float32' ? gridStep(dims) : undefined;
    if (!step) continue;
    steps.set(value, step);
    const key = [dims[0], ...gridSize(dims, step)].join();
    const group = groups.get(key) ?? { inputs: [], parts: [] };
    groups.set(key, group);
    const join = (kind: JoinedPart['kind'], node: Node) => {
      nodes.push(node);
      group.inputs.push(node.outputs[0]!);
      group.parts.push({ value, kind, dims });
    };
    join('grid', pool(value, step, [1, 1], [0, 0, 0, 0]));
    join('maxima', pool(value, step, step, windowPads(dims, step)));
    if (!isNonNegative(value)) join('negatedMinima', pool(negated(value, dims[1]!), step, step, windowPads(dims, step)));
  }
  if (groups.size === 0) return undefined;

  const joined = new Map<string, readonly JoinedPart[]>();
  for (const { inputs, parts } of groups.values()) {
    const output = names.unique('qdq_grids');
    nodes.push(createNode({ name: output, opType: 'Concat', inputs, outputs: [output], attributes: { axis: { kind: 'int', value: 1 } } }));
    joined.set(output, parts);
  }
  const whole = [...seen.keys()].filter((value) => !steps.has(value));
  const graph = { ...model.graph, nodes: [...model.graph.nodes, ...nodes], initializers };
  return { model: withOutputs({ ...model, graph }, [...whole, ...joined.keys()]), whole, joined, steps };

  function pool(value: string, strides: GridStep, kernel: GridStep, pads: readonly number[]): Node {
    const output = names.unique(`${value}_qdq_pool`);
    return createNode({
      name: output,
      opType: 'MaxPool',
      inputs: [value],
      outputs: [output],
      attributes: {
        kernel_shape: { kind: 'ints', value: kernel },
        strides: { kind: 'ints', value: strides },
        pads: { kind: 'ints', value: pads },
      },
    });
  }

  function negated(value: string, channels: number): string {
    let weight = weights.get(channels);
    if (!weight) {
      weight = names.unique(`qdq_minus_one_${channels}`);
      weights.set(channels, weight);
      initializers.set(weight, minusOnes(channels));
    }
    const output = names.unique(`${value}_qdq_negated`);
    nodes.push(
      createNode({
        name: output,
        opType: 'Conv',
        inputs: [value, weight],
        outputs: [output],
        attributes: { group: { kind: 'int', value: channels }, kernel_shape: { kind: 'ints', value: [1, 1] } },
      }),
    );
    return output;
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

/** Padding at the end, so that windows as large as a step cover everything; older operator sets have no `ceil_mode`. */
function windowPads(dims: readonly number[], step: GridStep): number[] {
  const [height, width] = gridSize(dims, step);
  return [0, 0, height * step[0] - dims[2]!, width * step[1] - dims[3]!];
}

function minusOnes(channels: number): Tensor {
  return tensorFromArray('float32', [channels, 1, 1, 1], new Float32Array(channels).fill(-1));
}
