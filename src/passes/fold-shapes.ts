import { intAttribute } from '../graph/attributes.js';
import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf, type GraphIndex } from '../graph/graph-index.js';
import type { Model, Node, ValueType } from '../graph/model.js';
import { tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { passResult, type PassResult } from './pass.js';

/**
 * Stores what Shape, Size and Gather of a Shape give where the runtime has worked out the dimensions that they ask for: ranks of values whose
 * sizes are open, and single dimensions that are declared. `types` are those of the main graph's values, as the runtime infers them.
 */
export function foldShapes(model: Model, types: ReadonlyMap<string, ValueType>): PassResult {
  const { graph } = model;
  const index = indexOf(graph);
  const editor = new GraphEditor(graph);
  const folded: string[] = [];
  for (const node of graph.nodes) {
    const [output = ''] = node.outputs;
    if (node.domain !== '' || !output || index.isOutput(output)) continue;
    const tensor = FOLDS[node.opType]?.(node, index, types);
    if (!tensor) continue;
    editor.replace(node);
    editor.setInitializer(output, tensor);
    folded.push(output);
  }
  if (folded.length === 0) return { model, changes: [] };
  return passResult(model, editor.finish(), [{ pass: 'fold-shapes', names: folded, message: `${folded.length} sizes that are the same for every input were stored` }]);
}

type Fold = (node: Node, index: GraphIndex, types: ReadonlyMap<string, ValueType>) => Tensor | undefined;

const FOLDS: Readonly<Record<string, Fold>> = {
  Shape: (node, _index, types) => {
    const dims = shapeGivenBy(node, types);
    return isKnown(dims) ? int64s([dims.length], dims) : undefined;
  },
  Size: (node, index, types) => {
    const shape = index.producer(node.inputs[0] ?? '');
    const dims = shape ? shapeGivenBy(shape, types) : undefined;
    return dims ? int64s([], [dims.length]) : undefined;
  },
  Gather: (node, index, types) => {
    const shape = index.producer(node.inputs[0] ?? '');
    const dims = shape ? shapeGivenBy(shape, types) : undefined;
    const indices = index.constant(node.inputs[1] ?? '');
    if (!dims || !indices || (indices.dtype !== 'int64' && indices.dtype !== 'int32') || intAttribute(node, 'axis', 0) !== 0) return undefined;
    const gathered = Array.from(numbersOf(indices), (i) => dims[i < 0 ? i + dims.length : i] ?? null);
    return isKnown(gathered) ? int64s(indices.dims, gathered) : undefined;
  },
};

/** The dimensions that a Shape node gives, null where one is open; undefined for other nodes and unknown ranks. */
function shapeGivenBy(node: Node, types: ReadonlyMap<string, ValueType>): readonly (number | null)[] | undefined {
  if (node.opType !== 'Shape' || node.domain !== '') return undefined;
  const type = types.get(node.inputs[0] ?? '');
  if (type?.kind !== 'tensor' || !type.shape) return undefined;
  const dims = type.shape.map((dim) => (typeof dim === 'number' ? dim : null));
  // As in slices: negative places count from the end, and places beyond it are the end.
  const place = (name: string, fallback: number) => {
    const at = intAttribute(node, name, fallback);
    return Math.min(Math.max(at < 0 ? at + dims.length : at, 0), dims.length);
  };
  return dims.slice(place('start', 0), place('end', dims.length));
}

function isKnown(dims: readonly (number | null)[] | undefined): dims is readonly number[] {
  return dims !== undefined && dims.every((dim) => dim !== null);
}

function int64s(dims: readonly number[], values: readonly number[]): Tensor {
  return tensorFromArray('int64', dims, BigInt64Array.from(values, BigInt));
}
