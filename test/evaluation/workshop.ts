import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { DataSpec } from '../../src/data/data-spec.js';
import { encodeNpz } from '../../src/data/npz.js';
import type { Model } from '../../src/graph/model.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import type { ProgressEvent, Warning } from '../../src/progress.js';
import { stagedFile, type StagedModel } from '../../src/runtime/staged-model.js';
import type { TaskContext } from '../../src/runtime/task.js';
import type { Tensor } from '../../src/tensor/tensor.js';
import { GraphBuilder } from '../helpers/graph-builder.js';

/** A context that keeps what a task tells. */
export function recordingContext(): TaskContext & { readonly events: ProgressEvent[]; readonly warnings: Warning[] } {
  const events: ProgressEvent[] = [];
  const warnings: Warning[] = [];
  return { events, warnings, progress: (event) => void events.push(event), warn: (warning) => void warnings.push(warning), endsEarly: () => false };
}

/** Writes a model into a folder. */
export function writeStaged(folder: string, name: string, model: Model): StagedModel {
  const path = join(folder, name);
  writeFileSync(path, encodeModel(model));
  return stagedFile(path);
}

/** Builds a model and writes it. */
export function stage(folder: string, name: string, build: (g: GraphBuilder) => void, opset?: number): StagedModel {
  const g = new GraphBuilder(opset);
  build(g);
  return writeStaged(folder, name, g.model());
}

/** Inputs by name; with one input, its tensor is enough. */
export type Samples = Readonly<Record<string, Readonly<Record<string, Tensor>>>>;

/** Writes samples by name, which may name sub-folders, as .npz files below a folder of their own. */
export function writeSamples(folder: string, name: string, samples: Samples): DataSpec {
  const root = join(folder, name);
  for (const [sample, inputs] of Object.entries(samples)) {
    const path = join(root, `${sample}.npz`);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, encodeNpz(new Map(Object.entries(inputs))));
  }
  return { paths: [root] };
}
