import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A model file that tests read. */
export interface TestModel {
  /** Path below its collection, for test names. */
  readonly name: string;
  readonly path: string;
}

const projectRoot = findRoot(dirname(fileURLToPath(import.meta.url)));

/** Folder of the models that the project shares: `QDQ_MODELS`, or `../shared/models` beside the project. */
export const sharedModelsFolder = process.env['QDQ_MODELS'] ?? join(projectRoot, '..', 'shared', 'models');

/** For `skip` of tests that need the shared models: false where they are there, otherwise the reason. */
export const noSharedModels: string | false = existsSync(sharedModelsFolder)
  ? false
  : `no models in ${sharedModelsFolder}; set QDQ_MODELS to a folder of ONNX models`;

/** Every shared model; none where the folder is absent. */
export function sharedModels(): TestModel[] {
  return noSharedModels === false ? modelsBelow(sharedModelsFolder) : [];
}

/** Every model of `samples/`. */
export function sampleModels(): TestModel[] {
  return modelsBelow(join(projectRoot, 'samples'));
}

/** The float models of `samples/`. */
export function floatSampleModels(): TestModel[] {
  return sampleModels().filter(({ name }) => basename(name) === 'model.onnx');
}

function modelsBelow(folder: string): TestModel[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.onnx'))
    .sort()
    .map((name) => ({ name, path: join(folder, name) }));
}

function findRoot(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : findRoot(dirname(folder));
}
