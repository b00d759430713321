import { QdqError } from '../errors.js';
import type { Model, ValueInfo, ValueType } from '../graph/model.js';
import type { RuntimeHost } from './host.js';
import { openStaged, stageModel, type StagedModel } from './staged-model.js';
import { defineTask } from './task.js';

/** Constants up to this size stay in: shapes, axes and their like, which decide about types elsewhere. */
const SMALL_BYTES = 4096;

/** Loads a model and returns the types that the runtime worked out for its inputs and outputs. */
export const inferTypesTask = defineTask(import.meta.url, 'inferTypesTask', async (model: StagedModel) => {
  const session = await openStaged(model, { optimization: 'disabled', threads: 1 });
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

/** Sessions that are opened at most to find out which values the binding cannot describe. */
const MAX_ATTEMPTS = 64;

/**
 * Types of the main graph's values as onnxruntime sees them, by name; a shape is missing where the rank is unknown or 0. The runtime is
 * shown a copy whose values are all outputs and whose large weights are inputs, so that no weight is read or copied. Values of types that the
 * binding cannot describe (bfloat16, for one) are left out. Where the runtime lacks an operator, only declared types are known.
 */
export async function inferTypes(host: RuntimeHost, model: Model, externalDataFolder: string): Promise<Map<string, ValueType>> {
  const { graph } = model;
  const declared = new Set(graph.outputs.map((output) => output.name));
  const inside = graph.nodes.flatMap((node) => node.outputs).filter((name) => name && !declared.has(name));
  let attempts = 0;
  const infer = async (names: readonly string[]): Promise<Map<string, ValueType>> => {
    try {
      return await host.run(inferTypesTask, await stageModel(host, skeletonOf(model, names), 'skeleton.onnx', externalDataFolder));
    } catch (error) {
      const isUndescribed = error instanceof QdqError && error.code === 'runtime-rejected' && UNDESCRIBED.test(error.message);
      if (!isUndescribed || names.length === 0 || ++attempts > MAX_ATTEMPTS) throw error;
      // Without any value inside it must load; otherwise the model's own inputs and outputs cannot be fed and fetched.
      if (attempts === 1) await infer([]);
      if (names.length === 1) return new Map();
      const middle = names.length >> 1;
      return new Map([...(await infer(names.slice(0, middle))), ...(await infer(names.slice(middle)))]);
    }
  };
  try {
    return await infer(inside);
  } catch (error) {
    if (!(error instanceof QdqError && error.code === 'operator-missing')) throw error;
    return new Map([...graph.valueInfo, ...graph.inputs, ...graph.outputs].flatMap(({ name, type }) => (type.kind === 'none' ? [] : [[name, type]])));
  }
}

/** What the binding says to an input or output of a type that it does not know. */
const UNDESCRIBED = /Unsupported data type/;

/** A copy in which `names` are outputs and large weights are inputs. */
function skeletonOf(model: Model, names: readonly string[]): Model {
  const { graph } = model;
  const large = [...graph.initializers].filter(([, tensor]) => tensor.storage.byteLength > SMALL_BYTES);
  const isLarge = new Set(large.map(([name]) => name));
  const asInputs = large.map(([name, tensor]): ValueInfo => ({ name, type: { kind: 'tensor', dtype: tensor.dtype, shape: tensor.dims } }));
  return {
    ...model,
    graph: {
      ...graph,
      initializers: new Map([...graph.initializers].filter(([name]) => !isLarge.has(name))),
      inputs: [...graph.inputs.filter((value) => !isLarge.has(value.name)), ...asInputs],
      outputs: [...graph.outputs, ...names.map((name): ValueInfo => ({ name, type: { kind: 'none' } }))],
    },
  };
}
