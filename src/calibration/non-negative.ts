import { floatAttribute } from '../graph/attributes.js';
import { indexOf } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';
import { numbersOf } from '../tensor/values.js';

/** Operators whose results cannot be negative, whatever they are given. */
const NON_NEGATIVE = new Set(['Relu', 'Sigmoid', 'HardSigmoid', 'Softmax', 'Softplus', 'Exp', 'Abs', 'Sqrt', 'ThresholdedRelu']);

/** Operators whose results cannot be negative where none of their data inputs is; the number says how many inputs are data. */
const KEEPS_SIGN: ReadonlyMap<string, number> = new Map([
  ['MaxPool', 1],
  ['AveragePool', 1],
  ['GlobalAveragePool', 1],
  ['GlobalMaxPool', 1],
  ['ReduceMean', 1],
  ['ReduceMax', 1],
  ['ReduceSum', 1],
  ['Identity', 1],
  ['Dropout', 1],
  ['Reshape', 1],
  ['Flatten', 1],
  ['Squeeze', 1],
  ['Unsqueeze', 1],
  ['Transpose', 1],
  ['Slice', 1],
  ['Split', 1],
  ['DepthToSpace', 1],
  ['SpaceToDepth', 1],
  ['Concat', Infinity],
  ['Add', 2],
  ['Mul', 2],
]);

/** A test whether a value of the graph is, by how it is made, never negative. `false` says nothing. */
export function nonNegativeValues(graph: Graph): (value: string) => boolean {
  const known = new Map<string, boolean>();
  const index = indexOf(graph);
  // Nodes come in order, so each asks only about values that are decided already: no recursion through deep graphs.
  for (const node of graph.nodes) {
    const result = isNonNegative(node);
    for (const output of node.outputs) known.set(output, result);
  }
  return (value) => index.producer(value) !== undefined && known.get(value) === true;

  function isNonNegative(node: Node): boolean {
    if (node.domain !== '') return false;
    if (NON_NEGATIVE.has(node.opType)) return true;
    if (node.opType === 'Clip') return clipMinimum(node) >= 0;
    const data = node.inputs.slice(0, KEEPS_SIGN.get(node.opType) ?? 0);
    return data.length > 0 && data.every((value) => known.get(value) ?? constantIsNonNegative(value));
  }

  function clipMinimum(node: Node): number {
    const input = node.inputs[1];
    const tensor = input ? index.constant(input) : undefined;
    if (input) return tensor ? (numbersOf(tensor)[0] ?? -Infinity) : -Infinity;
    return floatAttribute(node, 'min', -Infinity);
  }

  function constantIsNonNegative(value: string): boolean {
    const tensor = index.constant(value);
    return tensor?.dtype === 'float32' && numbersOf(tensor).every((element) => element >= 0);
  }
}
