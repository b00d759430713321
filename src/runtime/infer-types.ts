import type { Model, ValueInfo, ValueType } from '../graph/model.js';
import type { RuntimeHost } from './host.js';
import { openStaged, stageModel, type StagedModel } from './staged-model.js';
import { defineTask } from './task.js';

/** Constants up to this size stay in: shapes, axes and their like, which decide about types elsewhere. */
const SMALL_BYTES = 4096;

/** Loads a model and returns the types that the runtime worked out for its inputs and outputs. */
export const inferTypesTask = defineTask(import.meta.url, 'inferTypesTask', async (model: StagedModel) => {
  const session = await openStaged(model, { optimization: 'disabled' });
  const values = [...session.inputs, ...session.outputs];
  await session.release();
  return new Map(
    values.map(({ name, dtype, shape }): [string, ValueType] => {
      if (dtype === 'unknown') return [name, { kind: 'opaque' }];
      // The binding gives an empty shape for scalars and for unknown ranks alike, so neither is claimed.
      return [name, shape.length > 0 ? { kind: 'tensor', dtype, shape: shape.map((dim) => dim || null) } : { kind: 'tensor', dtype }];
    }),
  );
});

/**
 * Types of the main graph's values as onnxruntime sees them, by name; a shape is missing where the rank is unknown or 0. The runtime is
 * shown a copy whose values are all outputs and whose large weights are inputs, so that no weight is read or copied.
 */
export async function inferTypes(host: RuntimeHost, model: Model, externalDataFolder: string): Promise<Map<string, ValueType>> {
  const { graph } = model;
  const large = [...graph.initializers].filter(([, tensor]) => tensor.storage.byteLength > SMALL_BYTES);
  const names = new Set(large.map(([name]) => name));
  const asInputs = large.map(([name, tensor]): ValueInfo => ({ name, type: { kind: 'tensor', dtype: tensor.dtype, shape: tensor.dims } }));
  const declared = new Set(graph.outputs.map((output) => output.name));
  const inside = graph.nodes.flatMap((node) => node.outputs).filter((name) => name && !declared.has(name));
  const skeleton: Model = {
    ...model,
    graph: {
      ...graph,
      initializers: new Map([...graph.initializers].filter(([name]) => !names.has(name))),
      inputs: [...graph.inputs.filter((value) => !names.has(value.name)), ...asInputs],
      outputs: [...graph.outputs, ...inside.map((name): ValueInfo => ({ name, type: { kind: 'none' } }))],
    },
  };
  return host.run(inferTypesTask, await stageModel(host, skeleton, 'skeleton.onnx', externalDataFolder));
}
