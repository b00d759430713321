import type { CalibrationTable } from './calibration/calibration-table.js';
import { openData } from './data/open-data.js';
import type { DataSpec } from './data/data-spec.js';
import { modelInputs, type ModelInput } from './data/model-inputs.js';
import { holdOut, JUDGE_MIN_SAMPLES, judgingHalf } from './data/split.js';
import type { Graph } from './graph/model.js';
import type { RuntimeHost } from './runtime/host.js';
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

/** A sample by name, with its digest where that was asked for. */
export interface ListedSample {
  readonly name: string;
  readonly sha256: string | undefined;
}

/** Lists samples in the child process. */
export const listSamplesTask = defineTask(
  import.meta.url,
  'listSamplesTask',
  async ({ inputs, data, digests }: { inputs: readonly ModelInput[]; data: DataSpec; digests: boolean }): Promise<ListedSample[]> => {
    const samples = await openData(data, inputs);
    if (!digests) return (await samples.names()).map((name) => ({ name, sha256: undefined }));
    const listed = [];
    for await (const sample of samples) listed.push({ name: sample.name, sha256: sample.digest });
    return listed;
  },
);

/** Begins to list the samples that a spec gives; with digests, all of them are read. What goes wrong is thrown to whoever waits for them. */
export function listSamples(host: RuntimeHost, graph: Graph, data: DataSpec, digests: boolean): Promise<readonly ListedSample[]> {
  const listed = host.run(listSamplesTask, { inputs: modelInputs(graph), data, digests });
  listed.catch(() => undefined);
  return listed;
}

/**
 * Splits samples into those that give ranges, those that judge and those held out. Without a table, a quarter of eight or more, drawn by a hash
 * of their names, is held out; so it is where a table was made from none of them. Otherwise those that the table was not made from are, but for
 * a half that judges where there are enough and something is to be chosen. Samples beside a table are listed with digests.
 */
export function partitionSamples(listed: readonly ListedSample[], table?: CalibrationTable, chooses = true): SamplePartition {
  const all = listed.map(({ name }) => name);
  const among = (names: ReadonlySet<string>) => all.filter((name) => names.has(name));
  const seen = new Set<string | undefined>(table?.samples.map(({ sha256 }) => sha256));
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
