import type { DataSpec } from '../data/data-spec.js';
import { modelInputs } from '../data/model-inputs.js';
import { openData } from '../data/open-data.js';
import { createNode } from '../graph/graph-editor.js';
import type { Graph } from '../graph/model.js';
import { Names } from '../graph/names.js';
import { encodeModel } from '../onnx/model-codec.js';
import { prune } from '../passes/prune.js';
import { Session } from '../runtime/session.js';
import { readStaged, type StagedModel } from '../runtime/staged-model.js';
import { defineTask } from '../runtime/task.js';
import { int64Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';

/** A value whose last axis, of `depth` elements, is multiplied with itself. */
export interface ProductInput {
  readonly name: string;
  readonly depth: number;
}

/** What to multiply over which samples. Plain data. */
export interface InputProductsArguments {
  readonly model: StagedModel;
  readonly values: readonly ProductInput[];
  readonly data: DataSpec;
  readonly only: readonly string[];
}

/** Sums Σ x xᵀ over the rows of values and over samples, [depth, depth], by value name. The graph itself multiplies. */
export const inputProductsTask = defineTask(import.meta.url, 'inputProductsTask', async (args: InputProductsArguments): Promise<Map<string, Float64Array>> => {
  const model = await readStaged(args.model);
  const { graph, outputs } = withProducts(model.graph, args.values);
  const session = await Session.open(encodeModel(prune({ ...model, graph }).model), { externalDataFolder: args.model.externalDataFolder });
  const data = await openData(args.data, modelInputs(model.graph));
  const only = new Set(args.only);
  const wanted = new Set(session.inputs.map(({ name }) => name));
  const sums = new Map<string, Float64Array>();
  for await (const sample of data.filter((name) => only.has(name))) {
    const feeds = new Map([...sample.inputs].filter(([name]) => wanted.has(name)));
    for (const [output, tensor] of await session.run(feeds)) {
      const values = numbersOf(tensor);
      const name = outputs.get(output)!;
      const sum = sums.get(name) ?? new Float64Array(values.length);
      for (let i = 0; i < values.length; i++) sum[i]! += values[i]!;
      sums.set(name, sum);
    }
  }
  await session.release();
  return sums;
});

function withProducts(graph: Graph, values: readonly ProductInput[]): { graph: Graph; outputs: Map<string, string> } {
  const names = new Names(graph);
  const nodes = [...graph.nodes];
  const initializers = new Map(graph.initializers);
  const outputs = new Map<string, string>();
  for (const { name, depth } of values) {
    const [rows, shape, output] = [names.unique(`${name}_rows`), names.unique(`${name}_shape`), names.unique(`${name}_products`)];
    initializers.set(shape, int64Tensor([-1, depth]));
    nodes.push(
      createNode({ name: names.unique(`${rows}_Reshape`), opType: 'Reshape', inputs: [name, shape], outputs: [rows] }),
      createNode({ name: names.unique(`${output}_Gemm`), opType: 'Gemm', inputs: [rows, rows], outputs: [output], attributes: { transA: { kind: 'int', value: 1 } } }),
    );
    outputs.set(output, name);
  }
  return { graph: { ...graph, nodes, initializers, valueInfo: [], outputs: [...outputs.keys()].map((name) => ({ name, type: { kind: 'none' as const } })) }, outputs };
}
