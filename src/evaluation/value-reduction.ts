import type { DataSpec } from '../data/data-spec.js';
import { modelInputs } from '../data/model-inputs.js';
import { openData } from '../data/open-data.js';
import { createNode } from '../graph/graph-editor.js';
import type { Attribute, Model, Node } from '../graph/model.js';
import { Names } from '../graph/names.js';
import { encodeModel } from '../onnx/model-codec.js';
import { prune } from '../passes/prune.js';
import { Session } from '../runtime/session.js';
import { readStaged, type StagedModel } from '../runtime/staged-model.js';
import { int64Tensor, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';

/** What to reduce over which samples. Plain data. */
export interface ReductionArguments<Value> {
  readonly model: StagedModel;
  readonly values: readonly Value[];
  readonly data: DataSpec;
  readonly only: readonly string[];
}

/** From this operator set on the axes of ReduceMax and ReduceMean are an input. */
const AXES_AS_INPUT = 18;

/** A model to which nodes are added that reduce its values. */
export class ReducingModel {
  readonly #model: Model;
  readonly #names: Names;
  readonly #nodes: Node[] = [];
  readonly #constants = new Map<string, Tensor>();

  constructor(model: Model) {
    this.#model = model;
    this.#names = new Names(model.graph);
  }

  /** Adds a node and returns the name of its output. */
  node(opType: string, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>> = {}): string {
    const name = this.#names.unique(`${inputs[0]}_${opType}`);
    this.#nodes.push(createNode({ name, opType, inputs, outputs: [name], attributes }));
    return name;
  }

  /** Adds a reduction over some axes, which are left out of its output. */
  reduce(opType: 'ReduceMax' | 'ReduceMean', value: string, axes: readonly number[]): string {
    const keepdims = { keepdims: { kind: 'int', value: 0 } } as const;
    if ((this.#model.opsets.get('') ?? 1) < AXES_AS_INPUT) return this.node(opType, [value], { ...keepdims, axes: { kind: 'ints', value: axes } });
    return this.node(opType, [value, this.#constant(`${value}_axes`, int64Tensor(axes))], keepdims);
  }

  /** The value with all axes but the last, of `length` elements, in one. */
  rows(value: string, length: number): string {
    return this.node('Reshape', [value, this.#constant(`${value}_rows`, int64Tensor([-1, length]))]);
  }

  /** The model with these outputs alone, and without what they do not need. */
  withOutputs(names: Iterable<string>): Model {
    const { graph } = this.#model;
    const outputs = [...names].map((name) => ({ name, type: { kind: 'none' as const } }));
    const initializers = new Map([...graph.initializers, ...this.#constants]);
    return prune({ ...this.#model, graph: { ...graph, nodes: [...graph.nodes, ...this.#nodes], initializers, outputs, valueInfo: [] } }).model;
  }

  #constant(hint: string, tensor: Tensor): string {
    const name = this.#names.unique(hint);
    this.#constants.set(name, tensor);
    return name;
  }
}

/**
 * Has the graph itself reduce values, each by the nodes that `add` adds, and joins what each sample gives, by value name: `join` changes its first
 * argument, which begins with what the first sample gave.
 */
export async function reduceValues<Value extends { readonly name: string }>(
  { model: staged, values, data, only: names }: ReductionArguments<Value>,
  add: (to: ReducingModel, value: Value) => string,
  join: (sum: Float64Array, more: ArrayLike<number>) => void,
): Promise<{ readonly reduced: Map<string, Float64Array>; readonly samples: number }> {
  const model = await readStaged(staged);
  const reducing = new ReducingModel(model);
  const outputs = new Map(values.map((value) => [add(reducing, value), value.name]));
  const session = await Session.open(encodeModel(reducing.withOutputs(outputs.keys())), { externalDataFolder: staged.externalDataFolder, spinning: false });
  const wanted = new Set(session.inputs.map(({ name }) => name));
  const only = new Set(names);
  const reduced = new Map<string, Float64Array>();
  let samples = 0;
  for await (const sample of (await openData(data, modelInputs(model.graph))).filter((name) => only.has(name))) {
    const feeds = new Map([...sample.inputs].filter(([name]) => wanted.has(name)));
    for (const [output, tensor] of await session.run(feeds)) {
      const name = outputs.get(output)!;
      const known = reduced.get(name);
      if (known) join(known, numbersOf(tensor));
      else reduced.set(name, Float64Array.from(numbersOf(tensor)));
    }
    samples++;
  }
  await session.release();
  return { reduced, samples };
}

/** Adds up, element by element. */
export function addUp(sum: Float64Array, more: ArrayLike<number>): void {
  for (let i = 0; i < sum.length; i++) sum[i]! += more[i]!;
}
