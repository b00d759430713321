import { resolve } from 'node:path';
import { QdqError } from '../errors.js';
import { arraySource, createArrayCache, stackedSources } from './array-sources.js';
import { listedDataSet, selectSamples, type DataRemarks, type DataSet } from './data-set.js';
import type { DataSpec } from './data-spec.js';
import { freeInputs, withFrozen } from './frozen-inputs.js';
import { imageSources } from './image-sources.js';
import { listFiles, type DataFile } from './list-files.js';
import { withShapes, type ModelInput } from './model-inputs.js';
import { PREPROCESSOR_CONFIG } from './preprocessor-config.js';
import { RANDOM_WARNING, randomCount, randomSources } from './random-samples.js';
import { readerData } from './reader-data.js';
import { isReaderModule } from './reader-module.js';
import type { SampleSource } from './sample.js';
import { testSetSource } from './test-set.js';

/**
 * Opens the data that a spec names, for a model with these inputs. Files are listed now and read while iterating.
 * Throws QdqError `usage`, `file-not-found`, `file-unreadable`, `data-empty` or `data-invalid`.
 */
export async function openData(spec: DataSpec, modelInputs: readonly ModelInput[]): Promise<DataSet> {
  const inputs = withFrozen(withShapes(modelInputs, spec.shapes), spec.frozen);
  if (!inputs.length) throw new QdqError('data-invalid', 'the model has no inputs, so that it cannot be given data');
  const [first, ...others] = spec.paths;
  if (first === undefined) throw new QdqError('usage', 'no data given', 'give --data with a folder, files, a reader module or random:N');
  const alone = spec.paths.find((path) => isReaderModule(path) || path.startsWith('random:'));
  if (alone !== undefined && others.length) throw new QdqError('usage', `--data ${alone} cannot be combined with other data`);
  if (isReaderModule(first)) return readerData(first, inputs, spec);

  const count = randomCount(first);
  if (count !== undefined) {
    return selectSamples(listedDataSet(randomSources(count, inputs), inputs, { notes: [], warnings: [RANDOM_WARNING] }), spec);
  }
  const { sources, remarks } = await openFiles(spec, inputs);
  if (!sources.length) throw new QdqError('data-empty', `${spec.paths.join(', ')}: no samples`);
  return selectSamples(listedDataSet(sources, inputs, remarks), spec);
}

async function openFiles(spec: DataSpec, inputs: readonly ModelInput[]): Promise<{ sources: SampleSource[]; remarks: DataRemarks }> {
  const isConfig = (path: string): boolean => path.endsWith(PREPROCESSOR_CONFIG);
  const config = spec.paths.find(isConfig);
  const files = uniqueNames((await Promise.all(spec.paths.filter((path) => !isConfig(path)).map(listFiles))).flat());
  const sources: SampleSource[] = [];
  const cache = createArrayCache();
  for (const { kind, path, name } of files) {
    if (kind === 'test-set') sources.push(testSetSource(path, name, inputs));
    else if (kind === 'array' && spec.stacked) sources.push(...(await stackedSources(path, name, inputs, cache)));
    else if (kind === 'array') sources.push(arraySource(path, name, inputs));
  }
  const pictures = files.filter(({ kind }) => kind === 'image');
  if (!pictures.length) return { sources: sources.sort(byName), remarks: { notes: [], warnings: [] } };
  const images = await imageSources(pictures, freeInputs(inputs), { ...(config !== undefined && { config }), ...spec.image });
  return { sources: [...sources, ...images.sources].sort(byName), remarks: { notes: images.notes, warnings: [] } };
}

/** The files without those given twice, sorted, under their full paths where names of several folders collide. */
function uniqueNames(files: readonly DataFile[]): DataFile[] {
  const distinct = [...new Map(files.map((file) => [resolve(file.path), file])).values()];
  const collide = new Set(distinct.map(({ name }) => name)).size < distinct.length;
  return distinct.map((file) => (collide ? { ...file, name: file.path.replaceAll('\\', '/') } : file)).sort(byName);
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : 1;
}
