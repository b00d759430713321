import { writeFile } from 'node:fs/promises';
import { modelInputs, type ModelInput } from '../data/model-inputs.js';
import type { InputTensors } from '../data/sample.js';
import { QdqError } from '../errors.js';
import type { Model } from '../graph/model.js';
import { encodeModel } from '../onnx/model-codec.js';
import { externalStorages } from '../onnx/model-tensors.js';
import { readModel } from '../onnx/read-model.js';
import { dimsText, type ModelSource, type RunPlan } from './sample-runner.js';
import { sampledTap, type SeenValue } from './sampled-tap.js';
import { tapValues, type Tap } from './tap.js';
import type { TensorRecord } from './tensor-record.js';

/** Which model to tap, and where. */
export interface TapOptions {
  /** The model, in a temporary folder: files are written beside it. */
  readonly modelPath: string;
  /** Folder of the model's side files. */
  readonly externalDataFolder: string;
  /** Values to observe. */
  readonly names: readonly string[];
}

/** Makes the tapped copies of a model that sessions open. */
export class ModelTaps {
  readonly inputs: readonly ModelInput[];
  readonly #options: TapOptions;
  #tap: Tap | undefined;

  private constructor(model: Model, options: TapOptions) {
    this.inputs = modelInputs(model.graph);
    this.#options = options;
    this.#tap = tapValues(model, options.names);
  }

  /** Reads the model. Throws the QdqError of `readModel`. */
  static async open(options: TapOptions): Promise<ModelTaps> {
    return new ModelTaps(await readModel(options.modelPath, { directory: options.externalDataFolder }), options);
  }

  /** The plan that counts every element. */
  async planWhole(threads: number): Promise<RunPlan> {
    const { model, computed, fed } = this.#open();
    return { ...(computed.length > 0 && { whole: await this.#store(model, 'whole') }), fed, threads };
  }

  /** The plan that reduces large values, made for samples like the one of the records and inputs; the plan given where none is large. */
  async planReduced(plan: RunPlan, records: Readonly<Record<string, TensorRecord>>, inputs: InputTensors): Promise<RunPlan> {
    const { model, computed } = this.#open();
    const seen = computed.flatMap((name): [string, SeenValue][] => {
      const record = records[name];
      // The dimensions of a single sample are numbers.
      return record ? [[name, { dtype: record.dtype, dims: record.dims as readonly number[] }]] : [];
    });
    const reduced = sampledTap(model, new Map(seen));
    if (!reduced) return plan;
    const { joined, steps } = reduced;
    return { ...plan, sampled: { source: await this.#store(reduced.model, 'sampled'), joined, steps, inputDims: dimsText(inputs) } };
  }

  /** Lets the model go, which may be large. */
  close(): void {
    this.#tap = undefined;
  }

  #open(): Tap {
    if (!this.#tap) throw new QdqError('internal', 'the taps of the model are closed');
    return this.#tap;
  }

  /**
   * Puts a model where sessions of several threads can open it. One that refers to side files is small and is passed on as bytes, so
   * that the files are found; weights inside the model are read from a file by the runtime itself, which saves a copy.
   */
  async #store(model: Model, name: string): Promise<ModelSource> {
    const bytes = encodeModel(model);
    const [external] = externalStorages(model);
    if (external) return { model: bytes, externalDataFolder: this.#options.externalDataFolder };
    const path = `${this.#options.modelPath}.${name}.onnx`;
    await writeFile(path, bytes);
    return { model: path };
  }
}
