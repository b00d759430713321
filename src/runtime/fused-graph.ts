import { readFile, rm, symlink } from 'node:fs/promises';
import { platform } from 'node:os';
import { basename, dirname } from 'node:path';
import { QdqError } from '../errors.js';
import { mapSubgraphs } from '../graph/attributes.js';
import type { Graph, Model, Node } from '../graph/model.js';
import { hollowModel } from '../onnx/hollow-model.js';
import { decodeModel, encodeModel } from '../onnx/model-codec.js';
import { Session, type SessionOptions } from './session.js';
import { writeHole } from './staged-model.js';

/** A model whose nodes bear unique marks as names, and the way back from a mark to the node. */
export interface MarkedModel {
  readonly model: Model;
  /** The file; made when it is asked for. */
  readonly bytes: Uint8Array;
  /** Nodes of the model that came in whose marks a name contains. */
  readonly nodesIn: (name: string) => readonly Node[];
}

const MARK = /qdq-node-\d{6}/g;

/** Marks all nodes: what the runtime fuses mostly keeps names, with additions, and models may repeat or leave out names. */
export function markNodes(model: Model): MarkedModel {
  const byMark = new Map<string, Node>();
  const mark = (graph: Graph): Graph => ({
    ...graph,
    nodes: graph.nodes.map((node) => {
      const name = `qdq-node-${String(byMark.size).padStart(6, '0')}`;
      byMark.set(name, node);
      return mapSubgraphs({ ...node, name }, mark);
    }),
  });
  const marked: Model = { ...model, graph: mark(model.graph) };
  let bytes: Uint8Array | undefined;
  return {
    model: marked,
    get bytes() {
      return (bytes ??= encodeModel(marked));
    },
    nodesIn: (name) => (name.match(MARK) ?? []).flatMap((found) => byMark.get(found) ?? []),
  };
}

/** A model as the runtime rewrote it. */
export interface FusedGraph {
  readonly graph: Graph;
  /** Nodes of the model that came in that a fused node stands for, as far as its name tells. */
  readonly marked: (fused: Node) => readonly Node[];
}

/**
 * Lets onnxruntime optimize a marked model as far as Q/DQ fusion goes and reads the result. The layout step beyond `extended` is left out:
 * it renames values and changes no kernel's arithmetic. Nor do the bytes of large weights in side files: in their place stands a hole, so that
 * gigabytes are neither read nor copied. `scratchPath` is where the runtime writes the graph; what stands beside it is removed.
 */
export async function fusedGraph(
  marked: MarkedModel,
  externalDataFolder: string,
  scratchPath: string,
  options: Pick<SessionOptions, 'fuseInt8'> = {},
): Promise<FusedGraph> {
  const hole = `${scratchPath}.hole`;
  const hollow = hollowModel(marked.model, basename(hole));
  const weights = `${scratchPath}.data`;
  try {
    if (hollow) {
      await writeHole(hole, hollow.sideFileBytes);
      // Weights that the runtime would write beside the graph are not looked at.
      if (platform() !== 'win32') await symlink('/dev/null', weights);
    }
    const session = await Session.open(hollow?.bytes ?? marked.bytes, {
      ...options,
      optimization: 'extended',
      optimizedModelPath: scratchPath,
      externalDataFolder: hollow ? dirname(scratchPath) : externalDataFolder,
      prepack: false,
      threads: 1,
    });
    await session.release();
    const { graph } = decodeModel(await readFile(scratchPath), { file: scratchPath });
    return { graph, marked: (fused) => marked.nodesIn(fused.name) };
  } catch (error) {
    if (!(error instanceof QdqError)) throw error;
    const message = error.message.replace(MARK, (mark) => marked.nodesIn(mark).map(({ name, outputs }) => name || outputs[0] || '').join());
    throw new QdqError(error.code, message, error.hint, { cause: error });
  } finally {
    await Promise.all([hole, weights].map((path) => rm(path, { force: true })));
  }
}
