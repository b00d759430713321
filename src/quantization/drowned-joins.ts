import { indexOf } from '../graph/graph-index.js';
import type { Graph } from '../graph/model.js';
import { numbersOf } from '../tensor/values.js';
import type { Range } from './plan-static.js';
import type { Selection } from './select.js';

/** Joins whose output has one scale for what several inputs bring. A product's inputs do not compete for it. */
const ADDING = new Set(['Add', 'Where', 'Concat']);

/** An input whose whole range is below two of 256 steps of the output is lost in its rounding. */
const MAX_RATIO = 128;

/**
 * Selected joins in which one input's range drowns another's, with the reason, by node name: masks of −10,000 before a Softmax, or boxes from
 * 0 to 640 beside scores from 0 to 1. They had better stay in float.
 */
export function drownedJoins(graph: Graph, selection: Selection, rangeOf: (value: string) => Range | undefined): Map<string, string> {
  const index = indexOf(graph);
  const reasons = new Map<string, string>();
  for (const { node, activations, constants } of selection.nodes.values()) {
    if (!ADDING.has(node.opType)) continue;
    const spans = [...activations, ...constants].flatMap((i) => {
      const name = node.inputs[i]!;
      const constant = index.constant(name);
      const range = constant ? extremes(numbersOf(constant)) : rangeOf(name);
      const span = range ? Math.max(range[1], 0) - Math.min(range[0], 0) : 0;
      return span > 0 ? [{ name, span }] : [];
    });
    if (spans.length < 2) continue;
    const narrow = spans.reduce((a, b) => (b.span < a.span ? b : a));
    const wide = spans.reduce((a, b) => (b.span > a.span ? b : a));
    if (wide.span <= MAX_RATIO * narrow.span) continue;
    reasons.set(node.name, `with one scale for both, "${wide.name}" (range ${wide.span.toPrecision(3)}) would drown "${narrow.name}" (range ${narrow.span.toPrecision(3)})`);
  }
  return reasons;
}

function extremes(values: ArrayLike<number>): Range {
  let [low, high] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    low = Math.min(low, values[i]!);
    high = Math.max(high, values[i]!);
  }
  return [low, high];
}
