import type { Model, ValueInfo } from '../graph/model.js';
import type { Evaluate } from '../passes/pass.js';
import type { DType } from '../tensor/dtype.js';
import { memoryStorage } from '../tensor/tensor.js';
import type { RuntimeHost } from './host.js';
import { openStaged, stageModel, type StagedModel } from './staged-model.js';
import { defineTask } from './task.js';

interface PlainTensor {
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly bytes: Uint8Array;
}

/** Runs a model without inputs once and returns its outputs. */
export const evaluateTask = defineTask(import.meta.url, 'evaluateTask', async (model: StagedModel): Promise<Map<string, PlainTensor>> => {
  const session = await openStaged(model, { optimization: 'disabled' });
  const outputs = await session.run(new Map());
  await session.release();
  return new Map([...outputs].map(([name, tensor]) => [name, { dtype: tensor.dtype, dims: tensor.dims, bytes: tensor.storage.read() }]));
});

/** An evaluator of constant values that lets onnxruntime compute them in the host's child process. */
export function constantEvaluator(host: RuntimeHost, externalDataFolder: string): Evaluate {
  return async (model: Model, values: readonly string[]) => {
    const outputs = values.map((name): ValueInfo => ({ name, type: { kind: 'none' } }));
    const source: Model = { ...model, graph: { ...model.graph, outputs, valueInfo: [] } };
    const results = await host.run(evaluateTask, await stageModel(host, source, 'constants.onnx', externalDataFolder));
    return new Map([...results].map(([name, { dtype, dims, bytes }]) => [name, { dtype, dims, storage: memoryStorage(bytes) }]));
  };
}
