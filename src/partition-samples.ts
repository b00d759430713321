import type { CalibrationTable } from './calibration/calibration-table.js';
import { openData } from './data/open-data.js';
import type { DataSpec } from './data/data-spec.js';
import { modelInputs } from './data/model-inputs.js';
import { holdOut } from './data/split.js';
import type { RuntimeHost } from './runtime/host.js';
import { readStaged, stagedFile, type StagedModel } from './runtime/staged-model.js';
import { defineTask } from './runtime/task.js';

/** Which samples may decide (give ranges, choose a method), and which only judge. Names in order. */
export interface SamplePartition {
  readonly all: readonly string[];
  readonly deciding: readonly string[];
  readonly heldOut: readonly string[];
}

/** Names of the samples that a spec gives for a model, and their digests where asked for (which reads all of them). */
export const listSamplesTask = defineTask(
  import.meta.url,
  'listSamplesTask',
  async (args: { model: StagedModel; data: DataSpec; digests: boolean }): Promise<{ name: string; sha256: string }[]> => {
    const { graph } = await readStaged(args.model);
    const data = await openData(args.data, modelInputs(graph));
    if (!args.digests) return (await data.names()).map((name) => ({ name, sha256: '' }));
    const listed = [];
    for await (const sample of data) listed.push({ name: sample.name, sha256: sample.digest });
    return listed;
  },
);

/**
 * Splits samples into those that decide and those held out. Without a table, a quarter of eight or more, drawn by a hash of their names, is
 * held out; so it is where a table was made from none of them. Otherwise those that the table was not made from are. Undefined without data.
 */
export async function partitionSamples(
  host: RuntimeHost,
  modelPath: string,
  data: DataSpec | undefined,
  table: CalibrationTable | undefined,
): Promise<SamplePartition | undefined> {
  if (!data) return undefined;
  const listed = await host.run(listSamplesTask, { model: stagedFile(modelPath), data, digests: table !== undefined });
  const all = listed.map(({ name }) => name);
  const seen = new Set(table?.samples.map(({ sha256 }) => sha256));
  const unseen = listed.filter(({ sha256 }) => !seen.has(sha256)).map(({ name }) => name);
  const heldOut = unseen.length === all.length ? holdOut(all) : new Set(unseen);
  return { all, deciding: all.filter((name) => !heldOut.has(name)), heldOut: all.filter((name) => heldOut.has(name)) };
}
