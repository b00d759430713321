import { readFile, truncate, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Model } from '../graph/model.js';
import { hollowModel } from '../onnx/hollow-model.js';
import { encodeModelParts } from '../onnx/model-codec.js';
import { readModel } from '../onnx/read-model.js';
import { writeReferring } from '../onnx/write-referring.js';
import { closeBodies } from '../passes/close-bodies.js';
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

/**
 * Writes a model with its bodies closed, without the side files it refers to, into the host's temporary folder. Many bytes that are yet to be computed go to a side
 * file there, chunk by chunk.
 */
export async function stageModel(host: RuntimeHost, opened: Model, name: string, externalDataFolder: string): Promise<StagedModel> {
  const model = closeBodies(opened);
  const path = await host.temporaryPath(name);
  try {
    const root = await writeReferring(path, model);
    if (root !== undefined) return { path, externalDataFolder: root };
    await writeFile(path, encodeModelParts(model).parts);
  } catch (error) {
    // An abort removes the folder.
    host.throwIfInterrupted();
    throw error;
  }
  return { path, externalDataFolder };
}

/**
 * The same for looking at what the runtime makes of the graph: large weights that are in side files, or yet to be computed, are left out. Such a
 * model opens, and what it computes means nothing.
 */
export async function stageForLook(host: RuntimeHost, opened: Model, name: string, externalDataFolder: string): Promise<StagedModel> {
  const model = closeBodies(opened);
  const path = await host.temporaryPath(name);
  const hollow = hollowModel(model, `${name}.hole`);
  if (!hollow) return stageModel(host, model, name, externalDataFolder);
  try {
    await writeHole(`${path}.hole`, hollow.sideFileBytes);
    await writeFile(path, hollow.bytes);
  } catch (error) {
    host.throwIfInterrupted();
    throw error;
  }
  return stagedFile(path);
}

/** A file of a size that takes no room on disk, where the file system allows that. */
export async function writeHole(path: string, sizeBytes: number): Promise<void> {
  await writeFile(path, '');
  await truncate(path, sizeBytes);
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
