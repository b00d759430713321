import { writeFile } from 'node:fs/promises';
import { modelInputs, type ModelInput } from '../data/model-inputs.js';
import type { InputTensors } from '../data/sample.js';
import type { Model } from '../graph/model.js';
import { encodeModel } from '../onnx/model-codec.js';
import { externalStorages } from '../onnx/model-tensors.js';
import { readModel } from '../onnx/read-model.js';
import { dimsText, type ModelSource, type RunPlan } from './sample-runner.js';
import { sampledTap, type SeenValue } from './sampled-tap.js';
import { tapValues } from './tap.js';
import type { TensorRecord } from './tensor-record.js';

/** What a plan is made of. */
export interface PlanOptions {
  /** The model, in a temporary folder: files are written beside it. */
  readonly modelPath: string;
  /** Folder of the model's side files. */
  readonly externalDataFolder: string;
  /** Values to observe. */
  readonly names: readonly string[];
}

/** A value's type and dimensions, in a record of one sample. */
type Seen = Pick<TensorRecord, 'dtype' | 'dims'>;

/** The plan that counts every element, and what the model takes. The model itself is let go, as it may be large. */
export async function planWhole(options: PlanOptions): Promise<{ plan: Omit<RunPlan, 'threads'>; inputs: readonly ModelInput[] }> {
  const source = await readSource(options);
  const { model, computed, fed } = tapValues(source, options.names);
  return {
    plan: { ...(computed.length > 0 && { whole: await store(model, 'whole', options) }), fed },
    inputs: modelInputs(source.graph),
  };
}

/** The plan that reduces large values, made for samples like one whose values were seen; the plan given where none is large. */
export async function planReduced(
  options: PlanOptions,
  plan: RunPlan,
  seen: Readonly<Record<string, Seen>>,
  inputs: InputTensors,
): Promise<RunPlan> {
  const tap = tapValues(await readSource(options), options.names);
  const values = tap.computed.flatMap((name): [string, SeenValue][] => {
    const record = seen[name];
    // The dimensions of a single sample are numbers.
    return record ? [[name, { dtype: record.dtype, dims: record.dims as readonly number[] }]] : [];
  });
  const reduced = sampledTap(tap.model, new Map(values));
  if (!reduced) return plan;
  const { joined, steps } = reduced;
  return { ...plan, sampled: { source: await store(reduced.model, 'sampled', options), joined, steps, inputDims: dimsText(inputs) } };
}

async function readSource({ modelPath, externalDataFolder }: PlanOptions): Promise<Model> {
  return readModel(modelPath, { directory: externalDataFolder });
}

/**
 * Puts a model where sessions of several threads can open it. One that refers to side files is small and is passed on as bytes, so
 * that the files are found; weights inside the model are read from a file by the runtime itself, which saves a copy.
 */
async function store(model: Model, name: string, { externalDataFolder, modelPath }: PlanOptions): Promise<ModelSource> {
  const bytes = encodeModel(model);
  const [external] = externalStorages(model);
  if (external) return { model: bytes, externalDataFolder };
  const path = `${modelPath}.${name}.onnx`;
  await writeFile(path, bytes);
  return { model: path };
}
