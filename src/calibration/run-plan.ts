import { writeFile } from 'node:fs/promises';
import type { InputTensors } from '../data/sample.js';
import type { Model } from '../graph/model.js';
import { encodeModel } from '../onnx/model-codec.js';
import { externalStorages } from '../onnx/model-tensors.js';
import { dimsText, type ModelSource, type RunPlan } from './sample-runner.js';
import { sampledTap, type SeenValue } from './sampled-tap.js';
import { tapValues } from './tap.js';

/** What a plan is made of. */
export interface PlanOptions {
  readonly model: Model;
  /** Folder of the model's side files. */
  readonly externalDataFolder: string;
  /** Path in a temporary folder; files whose names start with it are written. */
  readonly scratchPath: string;
  /** Values to observe. */
  readonly names: readonly string[];
}

/** The plan that counts every element. */
export async function planWhole(options: PlanOptions, threads: number): Promise<RunPlan> {
  const { model, computed, fed } = tapValues(options.model, options.names);
  return { ...(computed.length > 0 && { whole: await store(model, 'whole', options) }), fed, threads };
}

/** The plan that reduces large values, made for samples like one whose values were seen; the plan given where none is large. */
export async function planReduced(
  options: PlanOptions,
  plan: RunPlan,
  seen: Readonly<Record<string, { readonly dtype: SeenValue['dtype']; readonly dims: readonly (number | null)[] | null }>>,
  inputs: InputTensors,
): Promise<RunPlan> {
  const tap = tapValues(options.model, options.names);
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

/**
 * Puts a model where sessions of several threads can open it. One that refers to side files is small and is passed on as bytes, so
 * that the files are found; weights inside the model are read from a file by the runtime itself, which saves a copy.
 */
async function store(model: Model, name: string, { externalDataFolder, scratchPath }: PlanOptions): Promise<ModelSource> {
  const bytes = encodeModel(model);
  const [external] = externalStorages(model);
  if (external) return { model: bytes, externalDataFolder };
  const path = `${scratchPath}.${name}.onnx`;
  await writeFile(path, bytes);
  return { model: path };
}
