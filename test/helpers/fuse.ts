import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Model } from '../../src/graph/model.js';
import type { SessionOptions } from '../../src/runtime/session.js';
import { fusedGraph, markNodes, type FusedGraph } from '../../src/runtime/fused-graph.js';

/** What onnxruntime makes of a model, in this process. */
export async function fuse(model: Model, options: Pick<SessionOptions, 'fuseInt8'> = {}): Promise<FusedGraph> {
  const folder = await mkdtemp(join(tmpdir(), 'qdq-fuse-'));
  try {
    return await fusedGraph(markNodes(model), folder, join(folder, 'fused.onnx'), options);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
