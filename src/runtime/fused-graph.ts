import { readFile } from 'node:fs/promises';
import { mapSubgraphs } from '../graph/attributes.js';
import type { Graph, Model, Node } from '../graph/model.js';
import { decodeModel, encodeModel } from '../onnx/model-codec.js';
import { Session } from './session.js';

/** A model as the runtime rewrote it, with the way back from its nodes to those of the model that came in. */
export interface FusedGraph {
  readonly graph: Graph;
  /** Nodes of the model that came in whose marks the name of a fused node bears. */
  readonly marked: (fused: Node) => readonly Node[];
}

const MARK = /qdq-node-\d{6}/g;

/**
 * Lets onnxruntime optimize a model as far as Q/DQ fusion goes and reads the result. Each node gets a unique mark as its name
 * beforehand, because fused nodes mostly keep names, with additions, and models may repeat or leave out names. The layout step beyond
 * `extended` is left out: it renames values and changes no kernel's arithmetic.
 */
export async function fusedGraph(model: Model, externalDataFolder: string, scratchPath: string): Promise<FusedGraph> {
  const byMark = new Map<string, Node>();
  const mark = (graph: Graph): Graph => ({
    ...graph,
    nodes: graph.nodes.map((node) => {
      const name = `qdq-node-${String(byMark.size).padStart(6, '0')}`;
      byMark.set(name, node);
      return mapSubgraphs({ ...node, name }, mark);
    }),
  });
  const marked = encodeModel({ ...model, graph: mark(model.graph) });
  const session = await Session.open(marked, { optimization: 'extended', optimizedModelPath: scratchPath, externalDataFolder });
  await session.release();
  const { graph } = decodeModel(await readFile(scratchPath));
  return {
    graph,
    marked: (fused) => (fused.name.match(MARK) ?? []).flatMap((name) => byMark.get(name) ?? []),
  };
}
