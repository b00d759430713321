import type { Model, ValueInfo } from '../graph/model.js';
import type { Evaluate } from '../passes/pass.js';
import { packedByteLength, type DType } from '../tensor/dtype.js';
import { elementCount, memoryStorage } from '../tensor/tensor.js';
import type { RuntimeHost } from './host.js';
import { inferTypes } from './infer-types.js';
import { openStaged, stageModel, type StagedModel } from './staged-model.js';
import { defineTask } from './task.js';

interface PlainTensor {
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly bytes: Uint8Array;
}

/** Runs a model without inputs once and returns its outputs. */
export const evaluateTask = defineTask(import.meta.url, 'evaluateTask', async (model: StagedModel): Promise<Map<string, PlainTensor>> => {
  const session = await openStaged(model, { optimization: 'disabled', threads: 1 });
  const outputs = await session.run(new Map());
  await session.release();
  return new Map([...outputs].map(([name, tensor]) => [name, { dtype: tensor.dtype, dims: tensor.dims, bytes: tensor.storage.read() }]));
});

/** Values from this size on are not computed: what makes them takes far fewer bytes than they do. */
const MAX_BYTES = 2 ** 28;

/** Operators whose result may be larger than all that they read. */
const GROWS = /^(ConstantOfShape|Expand|Tile|Range|Pad|Resize|Upsample|OneHot)$/;

/**
 * An evaluator of constant values that lets onnxruntime compute them in the host's child process. Values that would take more than
 * `maxBytes`, and what depends on them, are left out.
 */
export function constantEvaluator(host: RuntimeHost, externalDataFolder: string, maxBytes = MAX_BYTES): Evaluate {
  return async (model: Model, values: readonly string[]) => {
    const huge = await valuesBehindHuge(host, model, externalDataFolder, maxBytes);
    const wanted = values.filter((name) => !huge.has(name));
    if (wanted.length === 0) return new Map();
    const outputs = wanted.map((name): ValueInfo => ({ name, type: { kind: 'none' } }));
    const nodes = model.graph.nodes.filter((node) => !node.outputs.some((output) => huge.has(output)));
    const source: Model = { ...model, graph: { ...model.graph, nodes, outputs, valueInfo: [] } };
    const results = await host.run(evaluateTask, await stageModel(host, source, 'constants.onnx', externalDataFolder));
    return new Map([...results].map(([name, { dtype, dims, bytes }]) => [name, { dtype, dims, storage: memoryStorage(bytes) }]));
  };
}

/** Values that are too large, as far as the runtime works out their shapes, and those that depend on them. */
async function valuesBehindHuge(host: RuntimeHost, model: Model, externalDataFolder: string, maxBytes: number): Promise<ReadonlySet<string>> {
  const { graph } = model;
  const huge = new Set<string>();
  if (!graph.nodes.some(({ domain, opType }) => domain === '' && GROWS.test(opType))) return huge;
  const types = await inferTypes(host, { ...model, graph: { ...graph, outputs: [], valueInfo: [] } }, externalDataFolder);
  const isHuge = (name: string) => {
    const type = types.get(name);
    if (type?.kind !== 'tensor' || !type.shape) return false;
    return packedByteLength(type.dtype, elementCount(type.shape.map((dim) => (typeof dim === 'number' ? dim : 1)))) > maxBytes;
  };
  for (const node of graph.nodes) {
    if (!node.outputs.some(isHuge) && !node.inputs.some((input) => huge.has(input))) continue;
    for (const output of node.outputs) if (output) huge.add(output);
  }
  return huge;
}
