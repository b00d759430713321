import { setImmediate } from 'node:timers/promises';
import { indexOf } from '../graph/graph-index.js';
import type { Graph } from '../graph/model.js';
import { ExternalStorage } from '../onnx/external-data.js';
import { integerStorage } from './integer-storage.js';
import { channelAxis, type StaticOptions } from './plan-static.js';
import type { Selection } from './select.js';
import { channelMaxima, weightLimit, weightScales } from './weights.js';

/**
 * Rounds the weights of a selection while the work of another process is waited for, weight by weight, so that plans find them rounded: what a plan
 * needs of them does not depend on ranges, except where a bias asks for a larger scale. `isAway` tells when the other process has what it needs of
 * this one. Weights in side files are left where they are. Gives what the work gives, and ends with it.
 */
export async function roundWhile<Result>(
  work: Promise<Result>,
  isAway: () => boolean,
  graph: Graph,
  selection: Selection,
  { weightType: dtype, perChannel, reduceRange }: Pick<StaticOptions, 'weightType' | 'perChannel' | 'reduceRange'>,
): Promise<Result> {
  const state = { isDone: false };
  const end = () => void (state.isDone = true);
  work.then(end, end);
  const limit = weightLimit(dtype, reduceRange);
  for (const { node, weight } of selection.nodes.values()) {
    const tensor = weight === undefined ? undefined : indexOf(graph).constant(node.inputs[weight]!);
    if (!tensor || tensor.storage instanceof ExternalStorage) continue;
    do await setImmediate();
    while (!isAway() && !state.isDone);
    if (state.isDone) break;
    const axis = channelAxis(node, tensor.dims.length, perChannel);
    channelMaxima(tensor, null);
    const scales = weightScales(tensor, axis, limit);
    if (dtype === 'int8' || dtype === 'uint8') integerStorage(tensor, { axis, scales, dtype, limit });
  }
  return work;
}
