import { openData } from '../data/open-data.js';
import type { DataSpec } from '../data/data-spec.js';
import { modelInputs } from '../data/model-inputs.js';
import { createNode } from '../graph/graph-editor.js';
import type { Attribute, Graph, Model, Node } from '../graph/model.js';
import { Names } from '../graph/names.js';
import { encodeModel } from '../onnx/model-codec.js';
import { Session } from '../runtime/session.js';
import { readStaged, type StagedModel } from '../runtime/staged-model.js';
import { defineTask } from '../runtime/task.js';
import { int64Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';

/** A value whose channels are averaged: all axes but `axis` of `rank` are reduced. */
export interface ChannelValue {
  readonly name: string;
  readonly rank: number;
  readonly axis: number;
}

/** What to average over which samples. Plain data. */
export interface ChannelMeansArguments {
  readonly model: StagedModel;
  readonly values: readonly ChannelValue[];
  readonly data: DataSpec;
  readonly only: readonly string[];
}

/** Mean of each channel of values over samples (each sample counts the same), by value name. The graph itself reduces. */
export const channelMeansTask = defineTask(import.meta.url, 'channelMeansTask', async (args: ChannelMeansArguments): Promise<Map<string, Float64Array>> => {
  const model = await readStaged(args.model);
  const { graph, outputs } = withMeans(model, args.values);
  const session = await Session.open(encodeModel({ ...model, graph }), { externalDataFolder: args.model.externalDataFolder, spinning: false });
  const data = await openData(args.data, modelInputs(model.graph));
  const only = new Set(args.only);
  const sums = new Map<string, Float64Array>();
  let samples = 0;
  for await (const sample of data.filter((name) => only.has(name))) {
    const means = await session.run(sample.inputs, [...outputs.keys()]);
    for (const [output, tensor] of means) {
      const values = numbersOf(tensor);
      const name = outputs.get(output)!;
      const sum = sums.get(name) ?? new Float64Array(values.length);
      for (let c = 0; c < values.length; c++) sum[c]! += values[c]!;
      sums.set(name, sum);
    }
    samples++;
  }
  await session.release();
  for (const sum of sums.values()) for (let c = 0; c < sum.length; c++) sum[c]! /= samples;
  return sums;
});

/** From this operator set on the axes of ReduceMean are an input. */
const AXES_AS_INPUT = 18;

function withMeans(model: Model, values: readonly ChannelValue[]): { graph: Graph; outputs: Map<string, string> } {
  const names = new Names(model.graph);
  const nodes: Node[] = [...model.graph.nodes];
  const initializers = new Map(model.graph.initializers);
  const outputs = new Map<string, string>();
  for (const { name, rank, axis } of values) {
    const output = names.unique(`${name}_mean`);
    const axes = Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis);
    const attributes: Record<string, Attribute> = { keepdims: { kind: 'int', value: 0 } };
    const inputs = [name];
    if ((model.opsets.get('') ?? 1) < AXES_AS_INPUT) attributes['axes'] = { kind: 'ints', value: axes };
    else {
      inputs.push(names.unique(`${name}_axes`));
      initializers.set(inputs[1]!, int64Tensor(axes));
    }
    nodes.push(createNode({ name: names.unique(`${name}_ReduceMean`), opType: 'ReduceMean', inputs, outputs: [output], attributes }));
    outputs.set(output, name);
  }
  const added = [...outputs.keys()].map((name) => ({ name, type: { kind: 'none' as const } }));
  return { graph: { ...model.graph, nodes, initializers, outputs: [...model.graph.outputs, ...added] }, outputs };
}
