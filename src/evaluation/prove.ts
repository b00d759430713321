import type { DataSpec } from '../data/data-spec.js';
import { modelInputs } from '../data/model-inputs.js';
import { openData } from '../data/open-data.js';
import type { Model } from '../graph/model.js';
import type { Tensor } from '../tensor/tensor.js';
import { fusedGraph, markNodes, type MarkedModel } from '../runtime/fused-graph.js';
import type { RuntimeHost } from '../runtime/host.js';
import type { FusedReport, IntegerReport } from '../runtime/integer-report.js';
import { integerReport } from '../runtime/kernel-coverage.js';
import { withProfile } from '../runtime/measured-report.js';
import { profileRuns, type ProfiledNode } from '../runtime/profile.js';
import type { RuntimeName } from '../runtime/runtime-names.js';
import { readStaged, type StagedModel } from '../runtime/staged-model.js';
import { defineTask } from '../runtime/task.js';
import { webReport } from '../runtime/web-report.js';

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
export async function prove(host: RuntimeHost, args: ProveArguments): Promise<FusedReport> {
  return host.run(proveTask, { ...args, scratchPath: await host.temporaryPath('fused.onnx'), scratchPrefix: await host.temporaryPath('profile') });
}

/** The same in a runtime of choice; onnxruntime-web shows less. */
export async function proveIn(runtime: RuntimeName, host: RuntimeHost, args: ProveArguments): Promise<IntegerReport> {
  return runtime === 'web' ? host.run(proveInWebTask, { ...args, scratchPrefix: await host.temporaryPath('profile') }) : prove(host, args);
}

/** The part of `prove` that runs in the child process. */
export const proveTask = defineTask(
  import.meta.url,
  'proveTask',
  async (args: ProveArguments & { readonly scratchPath: string; readonly scratchPrefix: string }): Promise<FusedReport> => {
    const model = await readStaged(args.model);
    const marked = markNodes(model);
    const report = integerReport(model, await fusedGraph(marked, args.model.externalDataFolder, args.scratchPath));
    return withProfile(report, model, marked, await profile('node', model, marked, args), RUNS);
  },
);

/** The part of `proveIn` that runs in the child process in onnxruntime-web. */
export const proveInWebTask = defineTask(import.meta.url, 'proveInWebTask', async (args: ProveArguments & { readonly scratchPrefix: string }): Promise<IntegerReport> => {
  const model = await readStaged(args.model);
  const marked = markNodes(model);
  return webReport(model, marked, await profile('web', model, marked, args), RUNS);
});

async function profile(runtime: RuntimeName, model: Model, marked: MarkedModel, args: ProveArguments & { readonly scratchPrefix: string }): Promise<ProfiledNode[]> {
  const only = args.only && new Set(args.only);
  const feeds: ReadonlyMap<string, Tensor>[] = [];
  const data = await openData(args.data, modelInputs(model.graph));
  for await (const { inputs } of data.filter((name, i) => (only ? only.has(name) : i < MAX_SAMPLES))) {
    feeds.push(inputs);
    if (feeds.length === MAX_SAMPLES) break;
  }
  const { threads, scratchPrefix } = args;
  return profileRuns(marked.bytes, feeds, { runs: RUNS, warmup: WARMUP_RUNS, runtime, threads, externalDataFolder: args.model.externalDataFolder, scratchPrefix });
}
