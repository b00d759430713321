import type { DataSpec } from '../data/data-spec.js';
import { modelInputs } from '../data/model-inputs.js';
import { openData } from '../data/open-data.js';
import type { Tensor } from '../tensor/tensor.js';
import { fusedGraph, markNodes } from '../runtime/fused-graph.js';
import type { RuntimeHost } from '../runtime/host.js';
import type { IntegerReport } from '../runtime/integer-report.js';
import { integerReport } from '../runtime/kernel-coverage.js';
import { withProfile } from '../runtime/measured-report.js';
import { profileRuns } from '../runtime/profile.js';
import { readStaged, type StagedModel } from '../runtime/staged-model.js';
import { defineTask } from '../runtime/task.js';

const MAX_SAMPLES = 4;
const WARMUP_RUNS = 2;
const RUNS = 8;

/** What to prove, and on which samples. Plain data. */
export interface ProveArguments {
  readonly model: StagedModel;
  readonly data: DataSpec;
  /** Samples to use, by name; the first ones where absent. */
  readonly only?: readonly string[];
  readonly threads: number;
}

/** Shows what a model runs as: which kernels its nodes became, which of them ran, and the share of arithmetic and time in integers. */
export async function prove(host: RuntimeHost, args: ProveArguments): Promise<IntegerReport> {
  return host.run(proveTask, { ...args, scratchPath: await host.temporaryPath('fused.onnx'), scratchPrefix: await host.temporaryPath('profile') });
}

/** The part of `prove` that runs in the child process. */
export const proveTask = defineTask(
  import.meta.url,
  'proveTask',
  async (args: ProveArguments & { readonly scratchPath: string; readonly scratchPrefix: string }): Promise<IntegerReport> => {
    const model = await readStaged(args.model);
    const marked = markNodes(model);
    const { externalDataFolder } = args.model;
    const report = integerReport(model, await fusedGraph(marked, externalDataFolder, args.scratchPath));
    const only = args.only && new Set(args.only);
    const feeds: ReadonlyMap<string, Tensor>[] = [];
    const data = await openData(args.data, modelInputs(model.graph));
    for await (const { inputs } of data.filter((name, i) => (only ? only.has(name) : i < MAX_SAMPLES))) {
      feeds.push(inputs);
      if (feeds.length === MAX_SAMPLES) break;
    }
    const settings = { runs: RUNS, warmup: WARMUP_RUNS, threads: args.threads, externalDataFolder, scratchPrefix: args.scratchPrefix };
    return withProfile(report, model, marked, await profileRuns(marked.bytes, feeds, settings), RUNS);
  },
);
