import { openData } from '../data/open-data.js';
import type { DataSpec } from '../data/data-spec.js';
import { modelInputs } from '../data/model-inputs.js';
import { indexOf } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';
import { markNodes, type MarkedModel } from '../runtime/fused-graph.js';
import { isComputeOperator } from '../runtime/kernels.js';
import { computeNodeBehind } from '../runtime/measured-report.js';
import { profileRuns, type ProfiledNode } from '../runtime/profile.js';
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
  /** Names of the model's nodes that it stands for, as far as that can be told: the one that takes the time first. */
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
  return profiled.map((node) => {
    const sorted = [...node.timesMs].sort((a, b) => a - b);
    return {
      names: nodesOf(model.graph, marked, node).map(({ name }) => name),
      opType: node.opType,
      timeMs: (sorted[sorted.length >> 1] ?? 0) * (node.timesMs.length / runs),
      elements: elementCount(node.outputs[0]?.dims ?? []),
    };
  });
});

/** The nodes that a kernel stands for, the one that multiplies first. */
function nodesOf(graph: Graph, marked: MarkedModel, kernel: ProfiledNode): readonly Node[] {
  const byMark = marked.nodesIn(kernel.name);
  if (byMark.length > 0) return byMark;
  // The layout optimizer names kernels after the value that they make, which is that of an activation where the kernel took one along.
  const value = kernel.name.replace(/_nchwc.*$/, '');
  const maker = indexOf(graph).producer(value);
  const source = isComputeOperator(kernel.opType) ? computeNodeBehind(graph, value) : undefined;
  return [...new Set([source, maker])].filter((node) => node !== undefined);
}
