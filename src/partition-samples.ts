import type { CalibrationTable } from './calibration/calibration-table.js';
import { openData } from './data/open-data.js';
import type { DataSpec } from './data/data-spec.js';
import { modelInputs } from './data/model-inputs.js';
import { holdOut, JUDGE_MIN_SAMPLES, judgingHalf } from './data/split.js';
import type { RuntimeHost } from './runtime/host.js';
import { readStaged, stagedFile, type StagedModel } from './runtime/staged-model.js';
import { defineTask } from './runtime/task.js';

/** What samples are for. Names in order. */
export interface SamplePartition {
  readonly all: readonly string[];
  /** Those that give ranges. */
  readonly deciding: readonly string[];
  /** Those of `deciding` that judge plans whose ranges come from the others; all of them where they are too few to part. */
  readonly judging: readonly string[];
  /** Those that neither ranges nor choices see. */
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
 * Splits samples into those that give ranges, those that judge and those held out. Without a table, a quarter of eight or more, drawn by a hash
 * of their names, is held out; so it is where a table was made from none of them. Otherwise those that the table was not made from are, but for
 * a half that judges where there are enough and something is to be chosen. Undefined without data.
 */
export async function partitionSamples(
  host: RuntimeHost,
  modelPath: string,
  data: DataSpec | undefined,
  table: CalibrationTable | undefined,
  chooses = true,
): Promise<SamplePartition | undefined> {
  if (!data) return undefined;
  const listed = await host.run(listSamplesTask, { model: stagedFile(modelPath), data, digests: table !== undefined });
  const all = listed.map(({ name }) => name);
  const among = (names: ReadonlySet<string>) => all.filter((name) => names.has(name));
  const seen = new Set(table?.samples.map(({ sha256 }) => sha256));
  const unseen = listed.filter(({ sha256 }) => !seen.has(sha256)).map(({ name }) => name);
  if (unseen.length < all.length) {
    const deciding = all.filter((name) => !unseen.includes(name));
    if (!chooses || unseen.length < JUDGE_MIN_SAMPLES) return { all, deciding, judging: deciding, heldOut: unseen };
    const judging = new Set(judgingHalf(unseen));
    return { all, deciding, judging: among(judging), heldOut: unseen.filter((name) => !judging.has(name)) };
  }
  const heldOut = holdOut(all);
  const deciding = all.filter((name) => !heldOut.has(name));
  return { all, deciding, judging: table ? deciding : judgingHalf(deciding), heldOut: among(heldOut) };
}
