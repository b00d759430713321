import { readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Model } from '../graph/model.js';
import { encodeModel } from '../onnx/model-codec.js';
import { readModel } from '../onnx/read-model.js';
import { inlineFunctions } from '../passes/inline-functions.js';
import type { RuntimeHost } from './host.js';
import { isComputeNode } from './kernels.js';
import { Session, type SessionOptions } from './session.js';

/** A model that the child process can load: its file, and the folder that its side files are named from. Plain data. */
export interface StagedModel {
  readonly path: string;
  readonly externalDataFolder: string;
}

/** A model file where it lies. */
export function stagedFile(path: string): StagedModel {
  return { path, externalDataFolder: dirname(path) };
}

/** Writes a model, without the side files it refers to, into the host's temporary folder. */
export async function stageModel(host: RuntimeHost, model: Model, name: string, externalDataFolder: string): Promise<StagedModel> {
  const path = await host.temporaryPath(name);
  try {
    await writeFile(path, encodeModel(model));
  } catch (error) {
    // An abort removes the folder.
    host.throwIfInterrupted();
    throw error;
  }
  return { path, externalDataFolder };
}

/** Opens a session on a staged model. */
export async function openStaged(model: StagedModel, options: SessionOptions = {}): Promise<Session> {
  if (dirname(model.path) === model.externalDataFolder) return Session.open(model.path, options);
  return Session.open(await readFile(model.path), { ...options, externalDataFolder: model.externalDataFolder });
}

/** Decodes a staged model, functions that compute put in the place of their calls, as the runtime does when it loads it. */
export async function readStaged(model: StagedModel): Promise<Model> {
  return inlineFunctions(await readModel(model.path, { directory: model.externalDataFolder }), isComputeNode).model;
}
