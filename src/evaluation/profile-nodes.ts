import { openData } from '../data/open-data.js';
import type { DataSpec } from '../data/data-spec.js';
import { modelInputs } from '../data/model-inputs.js';
import { indexOf } from '../graph/graph-index.js';
import { markNodes } from '../runtime/fused-graph.js';
import { profileRuns } from '../runtime/profile.js';
import { readStaged, type StagedModel } from '../runtime/staged-model.js';
import { defineTask } from '../runtime/task.js';
import { elementCount, type Tensor } from '../tensor/tensor.js';

/** What to profile. Plain data. */
export interface ProfileNodesArguments {
  readonly model: StagedModel;
  readonly data: DataSpec;
  readonly only: readonly string[];
  readonly threads: number;
  readonly runs: number;
  readonly warmup: number;
  /** Path prefix for the trace. */
  readonly scratchPrefix: string;
}

/** A node of the optimized graph as it ran. */
export interface NodeTime {
  /** Names of the model's nodes that it stands for, as far as that can be told. */
  readonly names: readonly string[];
  readonly opType: string;
  /** Median time in one run of the model, in milliseconds. */
  readonly timeMs: number;
  /** Elements of its first output. */
  readonly elements: number;
}

/** Times of all nodes that the runtime ran. Belongs into the child process. */
export const profileNodesTask = defineTask(import.meta.url, 'profileNodesTask', async (args: ProfileNodesArguments): Promise<NodeTime[]> => {
  const model = await readStaged(args.model);
  const marked = markNodes(model);
  const only = new Set(args.only);
  const feeds: ReadonlyMap<string, Tensor>[] = [];
  const data = await openData(args.data, modelInputs(model.graph));
  for await (const { inputs } of data.filter((name) => only.has(name))) feeds.push(inputs);
  const { runs, warmup, threads, scratchPrefix } = args;
  const profiled = await profileRuns(marked.bytes, feeds, { runs, warmup, threads, scratchPrefix, externalDataFolder: args.model.externalDataFolder });
  const index = indexOf(model.graph);
  return profiled.map((node) => {
    const byMark = marked.nodesIn(node.name).map(({ name }) => name);
    // The layout optimizer names kernels after the value that they make.
    const maker = byMark.length > 0 ? undefined : index.producer(node.name.replace(/_nchwc.*$/, ''))?.name;
    const sorted = [...node.timesMs].sort((a, b) => a - b);
    return {
      names: maker === undefined ? byMark : [maker],
      opType: node.opType,
      timeMs: (sorted[sorted.length >> 1] ?? 0) * (node.timesMs.length / runs),
      elements: elementCount(node.outputs[0]?.dims ?? []),
    };
  });
});
