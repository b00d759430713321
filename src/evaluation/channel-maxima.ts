import type { DataSpec } from '../data/data-spec.js';
import { modelInputs } from '../data/model-inputs.js';
import { openData } from '../data/open-data.js';
import { createNode } from '../graph/graph-editor.js';
import type { Attribute, Graph, Model } from '../graph/model.js';
import { Names } from '../graph/names.js';
import { encodeModel } from '../onnx/model-codec.js';
import { prune } from '../passes/prune.js';
import { Session } from '../runtime/session.js';
import { readStaged, type StagedModel } from '../runtime/staged-model.js';
import { defineTask } from '../runtime/task.js';
import { int64Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';

/** A value whose last axis, of `channels` elements, is looked at. */
export interface LastAxisValue {
  readonly name: string;
  readonly channels: number;
}

/** What to look at over which samples. Plain data. */
export interface ChannelMaximaArguments {
  readonly model: StagedModel;
  readonly values: readonly LastAxisValue[];
  readonly data: DataSpec;
  readonly only: readonly string[];
}

/** Largest magnitude of each channel on the last axis of values over samples, by value name. The graph itself reduces. */
export const channelMaximaTask = defineTask(import.meta.url, 'channelMaximaTask', async (args: ChannelMaximaArguments): Promise<Map<string, Float64Array>> => {
  const model = await readStaged(args.model);
  const { graph, outputs } = withMaxima(model, args.values);
  const session = await Session.open(encodeModel(prune({ ...model, graph }).model), { externalDataFolder: args.model.externalDataFolder, spinning: false });
  const wanted = new Set(session.inputs.map(({ name }) => name));
  const only = new Set(args.only);
  const maxima = new Map(args.values.map(({ name, channels }) => [name, new Float64Array(channels)]));
  for await (const sample of (await openData(args.data, modelInputs(model.graph))).filter((name) => only.has(name))) {
    const feeds = new Map([...sample.inputs].filter(([name]) => wanted.has(name)));
    for (const [output, tensor] of await session.run(feeds)) {
      const most = maxima.get(outputs.get(output)!)!;
      for (const [c, value] of numbersOf(tensor).entries()) most[c] = Math.max(most[c]!, value);
    }
  }
  await session.release();
  return maxima;
});

/** From this operator set on the axes of ReduceMax are an input. */
const AXES_AS_INPUT = 18;

function withMaxima(model: Model, values: readonly LastAxisValue[]): { graph: Graph; outputs: Map<string, string> } {
  const { graph } = model;
  const names = new Names(graph);
  const nodes = [...graph.nodes];
  const initializers = new Map(graph.initializers);
  const outputs = new Map<string, string>();
  const first = names.unique('first_axis');
  const axesAsInput = (model.opsets.get('') ?? 1) >= AXES_AS_INPUT;
  if (axesAsInput) initializers.set(first, int64Tensor([0]));
  const attributes: Record<string, Attribute> = { keepdims: { kind: 'int', value: 0 }, ...(!axesAsInput && { axes: { kind: 'ints', value: [0] } }) };
  for (const { name, channels } of values) {
    const [rows, shape, magnitude, output] = ['rows', 'shape', 'magnitude', 'maxima'].map((suffix) => names.unique(`${name}_${suffix}`)) as [string, string, string, string];
    initializers.set(shape, int64Tensor([-1, channels]));
    nodes.push(
      createNode({ name: names.unique(`${rows}_Reshape`), opType: 'Reshape', inputs: [name, shape], outputs: [rows] }),
      createNode({ name: names.unique(`${magnitude}_Abs`), opType: 'Abs', inputs: [rows], outputs: [magnitude] }),
      createNode({ name: names.unique(`${output}_ReduceMax`), opType: 'ReduceMax', inputs: axesAsInput ? [magnitude, first] : [magnitude], outputs: [output], attributes }),
    );
    outputs.set(output, name);
  }
  return { graph: { ...graph, nodes, initializers, valueInfo: [], outputs: [...outputs.keys()].map((name) => ({ name, type: { kind: 'none' as const } })) }, outputs };
}
