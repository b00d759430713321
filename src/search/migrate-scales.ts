import { mergeTensors, type Observations } from '../calibration/calibration-table.js';
import { channelMaximaTask } from '../evaluation/channel-maxima.js';
import { createNode } from '../graph/graph-editor.js';
import type { Model, Node } from '../graph/model.js';
import { Names } from '../graph/names.js';
import { migrateScales, scaleOf, scaleSteps, siteWeightMaxima, type MigrationSite, type SiteScales } from '../quantization/scale-migration.js';
import { stageModel } from '../runtime/staged-model.js';
import { bytesOf, tensorFromArray } from '../tensor/tensor.js';
import type { Migration } from './migration.js';
import type { ChannelMeans, Planner } from './planner.js';
import type { TrialJob } from './trials.js';

/** How much of what activations and weights differ by goes into the weights, in the order in which they are tried. */
const ALPHAS = [0.8, 0.65, 0.5, 0.9] as const;

/** Weights that copies with other scales may take in memory, all together. */
const MAX_WEIGHT_BYTES = 1e9;

/** Samples that show the largest magnitudes of channels. */
const MAX_SAMPLES = 16;

/** Observes values of a model over the samples of these names. */
export type Observe = (model: Model, values: readonly string[], samples: readonly string[]) => Promise<Observations['tensors']>;

/** Where ranges come from while plans are compared. */
export interface RangeSamples {
  readonly observe: Observe;
  readonly samples: readonly string[];
}

/** Migrations with several shares; none where the model has no place for them. */
export async function proposeMigrations(job: TrialJob, planner: Planner, { observe, samples }: RangeSamples): Promise<Migration[]> {
  const sites = planner.migrationSites();
  if (sites.length === 0) return [];
  const { float } = planner;
  const weights = new Set(sites.flatMap(({ products }) => products.map(({ node }) => node.inputs[1]!)));
  const bytes = bytesOf([...weights].map((name) => float.graph.initializers.get(name)!));
  const alphas = ALPHAS.slice(0, Math.floor(MAX_WEIGHT_BYTES / bytes));
  if (alphas.length === 0) return [];
  const step = Math.ceil(samples.length / MAX_SAMPLES);
  const maxima = await job.host.run(channelMaximaTask, {
    model: await stageModel(job.host, float, 'maxima.onnx', job.baseline.externalDataFolder),
    values: sites.map(({ value, channels }) => ({ name: value, channels })),
    data: job.data,
    only: samples.filter((_, i) => i % step === 0),
  });
  const proposed = alphas.map((alpha) => {
    const scales = sites.flatMap((site): SiteScales[] => {
      const steps = scaleSteps(maxima.get(site.value)!, siteWeightMaxima(float.graph, site), alpha);
      return steps.some((step) => step !== 0) ? [{ value: site.value, steps }] : [];
    });
    return { alpha, scales, ...migrateScales(float, sites, scales) };
  });
  const moving = proposed.filter(({ scales }) => scales.length > 0);
  if (moving.length === 0) return [];
  const records = await observeScaled(float, sites, moving, observe, samples);
  return moving.map(({ model, ...migration }, i) => ({ ...migration, float: model, records: records[i]! }));
}

/** The same migration with ranges from further samples too. */
export async function observeFurther(planner: Planner, migration: Migration, { observe, samples }: RangeSamples): Promise<Migration> {
  if (samples.length === 0) return migration;
  const [records] = await observeScaled(planner.float, planner.migrationSites(), [migration], observe, samples);
  return { ...migration, records: mergeTensors(migration.records, records!) };
}

/** Means of values after their channels were scaled. */
export function scaledMeans(means: ChannelMeans, sites: readonly MigrationSite[], { scales }: Pick<Migration, 'scales'>): ChannelMeans {
  const scaled = new Map(means);
  for (const { value, steps } of scaledValues(sites, scales)) {
    const mean = means.get(value);
    if (mean?.length === steps.length) scaled.set(value, Array.from(mean, (one, c) => one * scaleOf(-steps[c]!)));
  }
  return scaled;
}

/** Records of scaled values for each of several migrations. One session scales and shows them all. */
async function observeScaled(float: Model, sites: readonly MigrationSite[], migrations: readonly Pick<Migration, 'scales' | 'inserted'>[], observe: Observe, samples: readonly string[]): Promise<Observations['tensors'][]> {
  const names = new Names(float.graph);
  const initializers = new Map(float.graph.initializers);
  const nodes: Node[] = [...float.graph.nodes];
  const places = migrations.map(({ scales, inserted }) => {
    const made = [...inserted].map(([value, from]) => ({ value, from, steps: scales.find((one) => one.value === from)!.steps }));
    const values = [...scaledValues(sites, scales).map((one) => ({ ...one, from: one.value })), ...made];
    return values.map(({ value, from, steps }) => {
      const [factors, output] = [names.unique(`${value}_factors`), names.unique(`${value}_scaled`)];
      initializers.set(factors, tensorFromArray('float32', [steps.length], Float32Array.from(steps, (step) => scaleOf(-step))));
      nodes.push(createNode({ name: names.unique(`${output}_Mul`), opType: 'Mul', inputs: [from, factors], outputs: [output] }));
      return { value, output };
    });
  });
  const records = await observe({ ...float, graph: { ...float.graph, nodes, initializers } }, places.flat().map(({ output }) => output), samples);
  return places.map((values) => Object.fromEntries(values.map(({ value, output }) => [value, records[output]!])));
}

/** Values whose channels are scaled where they are made, with their steps. */
function scaledValues(sites: readonly MigrationSite[], scales: readonly SiteScales[]): SiteScales[] {
  const byValue = new Map(sites.map((site) => [site.value, site]));
  return scales.flatMap(({ value, steps }) => byValue.get(value)!.scaled.map((scaled) => ({ value: scaled, steps })));
}
