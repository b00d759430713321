import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { QdqError } from '../errors.js';
import type { ImageOptions } from './data-spec.js';
import { decodeImage } from './decode-image.js';
import { describeImagePlan, planImages, type ImagePlan } from './image-plan.js';
import { imageTensor } from './image-tensor.js';
import type { DataFile } from './list-files.js';
import { describeInput, describeType, fitsShape, listInputs, type ModelInput } from './model-inputs.js';
import { PREPROCESSOR_CONFIG, readPreprocessorConfig } from './preprocessor-config.js';
import type { SampleSource } from './sample.js';

/**
 * Image files as samples for a model with one input, and notes on how the pictures are prepared. Where no option is given, a
 * `preprocessor_config.json` in the data folder or its parent decides. Throws QdqError `usage` or `data-invalid`.
 */
export async function imageSources(
  files: readonly DataFile[],
  inputs: readonly ModelInput[],
  options: ImageOptions = {},
): Promise<{ sources: SampleSource[]; notes: string[] }> {
  const input = inputs[0];
  if (!input || inputs.length > 1) {
    throw new QdqError(
      'data-invalid',
      `images fill one input, but the model has ${inputs.length}: ${listInputs(inputs)}`,
      'give .npz files or a reader module',
    );
  }
  const config = options.config ?? (Object.keys(options).length ? undefined : await findConfig(files));
  const read = config === undefined ? { options: {}, notes: [] } : await readPreprocessorConfig(config);
  const plan = planWith(config, () => planImages({ ...read.options, ...options }, input));
  const notes = [`images${config === undefined ? '' : ` as ${config} says`}: ${describeImagePlan(plan)}`, ...read.notes];
  return { sources: files.map((file) => imageSource(file, plan)), notes };
}

/** Names the file that options come from, which the user may not know to be used. */
function planWith(config: string | undefined, plan: () => ImagePlan): ImagePlan {
  try {
    return plan();
  } catch (error) {
    if (config === undefined || !(error instanceof QdqError)) throw error;
    throw new QdqError(error.code, `as ${config} says, ${error.message}`, error.hint ?? 'image options such as --resize override it', {
      cause: error,
    });
  }
}

function imageSource({ path, name }: DataFile, plan: ImagePlan): SampleSource {
  return {
    name,
    async load() {
      const tensor = imageTensor(await decodeImage(path), plan);
      const { input, resize, crop } = plan;
      if (!fitsShape(tensor.dims, input.shape)) {
        throw new QdqError(
          'data-invalid',
          `${path}: the picture becomes ${describeType(tensor.dtype, tensor.dims)}, expected ${describeInput(input)}`,
          crop || typeof resize === 'object' ? 'give --layout or --channels' : 'give --crop, or --resize with width and height',
        );
      }
      return new Map([[input.name, tensor]]);
    },
  };
}

async function findConfig(files: readonly DataFile[]): Promise<string | undefined> {
  for (const root of new Set(files.map((file) => file.root))) {
    for (const folder of [root, join(root, '..')]) {
      const path = join(folder, PREPROCESSOR_CONFIG);
      if (await access(path).then(() => true, () => false)) return path;
    }
  }
  return undefined;
}
