import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { openData } from '../data/open-data.js';
import type { DataSpec } from '../data/data-spec.js';
import { modelInputs } from '../data/model-inputs.js';
import { writeNpz } from '../data/npz.js';
import { messageOf, QdqError } from '../errors.js';
import type { RuntimeName } from '../runtime/runtime-names.js';
import { openStaged, readStaged, type StagedModel } from '../runtime/staged-model.js';
import { defineTask, type TaskContext } from '../runtime/task.js';
import type { DType } from '../tensor/dtype.js';
import { bytesOf, memoryStorage, type Tensor } from '../tensor/tensor.js';

/** What to run. Plain data. */
export interface OutputsArguments {
  readonly model: StagedModel;
  readonly data: DataSpec;
  readonly threads: number;
  /** Where it runs; in onnxruntime-node where absent. */
  readonly runtime?: RuntimeName | undefined;
  /** A folder, which takes one .npz a sample, or a .npz file, which takes all samples joined along axis 0. */
  readonly to?: string;
}

/** An output as it came from the last sample. */
export interface WrittenOutput {
  readonly name: string;
  readonly type: DType;
  /** null for a dimension that differed between samples. */
  readonly shape: readonly (number | null)[];
}

/** Runs a model on all samples and writes its outputs where that is asked for. */
export const outputsTask = defineTask(import.meta.url, 'outputsTask', async (args: OutputsArguments, context: TaskContext) => {
  const { graph } = await readStaged(args.model);
  const data = await openData(args.data, modelInputs(graph));
  for (const warning of data.warnings) context.warn(warning);
  const session = await openStaged(args.model, { threads: args.threads, runtime: args.runtime });
  const intoFile = args.to?.endsWith('.npz') ? args.to : undefined;
  const intoFolder = intoFile ? undefined : args.to;
  if (intoFolder) await createFolder(intoFolder);
  const shapes = new Map<string, WrittenOutput>();
  const joined: ReadonlyMap<string, Tensor>[] = [];
  const files: string[] = [];
  const taken = new Set<string>();
  let samples = 0;
  for await (const sample of data) {
    const outputs = await session.run(sample.inputs);
    for (const [name, tensor] of outputs) shapes.set(name, mergeOutput(shapes.get(name), name, tensor));
    if (intoFolder) {
      const file = join(intoFolder, `${fileNameOf(sample.name, taken)}.npz`);
      await writeNpz(file, outputs);
      files.push(file);
    }
    if (intoFile) joined.push(outputs);
    context.progress({ stage: 'running', done: ++samples, unit: 'samples', ...(data.total === undefined ? {} : { total: data.total }) });
  }
  await session.release();
  if (intoFile) {
    await writeNpz(intoFile, joinOutputs(joined, intoFile));
    files.push(intoFile);
  }
  return { samples, outputs: [...shapes.values()], files };
});

async function createFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (cause) {
    throw new QdqError('file-unwritable', `the folder ${path} cannot be made: ${messageOf(cause)}`, 'Name another place with --outputs.', { cause });
  }
}

/** Sample names are paths; one level of files keeps them apart by their separators, and by a number where that is not enough. */
function fileNameOf(sample: string, taken: Set<string>): string {
  const stem = sample.replace(/\.(npz|npy|pb|png|jpe?g|webp|gif|tiff?|avif)$/i, '').replace(/[/\\]/g, '__');
  let name = stem;
  for (let i = 2; taken.has(name); i++) name = `${stem}_${i}`;
  taken.add(name);
  return name;
}

function mergeOutput(before: WrittenOutput | undefined, name: string, tensor: Tensor): WrittenOutput {
  const shape = tensor.dims.map((dim, axis) => (before && before.shape[axis] !== dim ? null : dim));
  return { name, type: tensor.dtype, shape };
}

/** Outputs of all samples, joined along axis 0; those of a single sample as they are. */
function joinOutputs(samples: readonly ReadonlyMap<string, Tensor>[], file: string): Map<string, Tensor> {
  const [first] = samples;
  if (!first) return new Map();
  return new Map([...first].map(([name]) => [name, concatenate(samples.map((outputs) => outputs.get(name)!), name, file)]));
}

function concatenate(tensors: readonly Tensor[], name: string, file: string): Tensor {
  const first = tensors[0]!;
  if (tensors.length === 1) return first;
  const rest = first.dims.slice(1);
  const fits = first.dims.length > 0 && tensors.every(({ dims }) => dims.length === rest.length + 1 && rest.every((dim, i) => dims[i + 1] === dim));
  if (!fits || first.strings) {
    throw new QdqError(
      'data-invalid',
      `output "${name}" has other shapes for other samples and cannot be joined in ${file}`,
      'Name a folder with --outputs: it takes one .npz file a sample.',
    );
  }
  const bytes = new Uint8Array(bytesOf(tensors));
  let at = 0;
  for (const { storage } of tensors) {
    bytes.set(storage.read(), at);
    at += storage.byteLength;
  }
  const count = tensors.reduce((sum, { dims }) => sum + dims[0]!, 0);
  return { dtype: first.dtype, dims: [count, ...rest], storage: memoryStorage(bytes) };
}
