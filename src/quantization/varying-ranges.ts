import { indexOf } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';

/** Extremes of a value over all samples, and the tightest ones of single samples: see the calibration's observers. */
export interface SampleExtremes {
  readonly min: number | null;
  readonly max: number | null;
  /** Greatest of the samples' minima. */
  readonly sampleMinHigh: number | null;
  /** Least of the samples' maxima. */
  readonly sampleMaxLow: number | null;
}

/** How the reason of a node begins that is quantized dynamically because the range of its activation varies. */
export const VARYING_RANGE = 'quantized dynamically, because the range of its input varies';

/**
 * Ranges that vary by less are served as well by one static range: on real encoders and classifiers, whose ranges vary by 1 to 2.3, ranges of
 * each run won 0.1 to 0.5 dB; where scales of samples were made to vary by 4, 8 and 30, they won 2.7, 3.2 and 6.1 dB at the same speed.
 */
const MIN_VARIATION = 4;

/**
 * How far the range of a value, zero included, varies between samples: the width of the range of all samples over that of the narrowest one, at
 * least 1. Infinite where a sample had nothing but zeros, null where nothing was seen.
 */
export function rangeVariation({ min, max, sampleMinHigh, sampleMaxLow }: SampleExtremes): number | null {
  if (min === null || max === null || sampleMinHigh === null || sampleMaxLow === null) return null;
  const widest = Math.max(max, 0) - Math.min(min, 0);
  const narrowest = Math.max(sampleMaxLow, 0) - Math.min(sampleMinHigh, 0);
  return widest === 0 ? 1 : widest / narrowest;
}

/**
 * The MatMul and Gemm nodes of a graph, by name, that one static range would serve badly because their activation's range varies much from
 * sample to sample, each with its reason in words. `recordOf` gives what calibration saw of a value; `isStatic` says which nodes the user wants
 * static all the same. A static plan leaves them in float, and dynamic quantization takes them.
 */
export function varyingNodes(graph: Graph, recordOf: (value: string) => SampleExtremes | undefined, isStatic: (node: Node) => boolean): ReadonlyMap<string, string> {
  const index = indexOf(graph);
  const reasons = new Map<string, string>();
  for (const node of graph.nodes) {
    if (node.domain !== '' || !/^(MatMul|Gemm)$/.test(node.opType) || !index.constant(node.inputs[1] ?? '') || isStatic(node)) continue;
    const record = recordOf(node.inputs[0]!);
    const variation = record && rangeVariation(record);
    if (!variation || variation < MIN_VARIATION) continue;
    const times = Number.isFinite(variation) ? `${variation.toPrecision(2)} times between samples` : 'down to nothing in some samples';
    reasons.set(node.name, `${VARYING_RANGE} (${times}; below ${MIN_VARIATION} it stays static)`);
  }
  return reasons;
}
