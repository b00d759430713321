import { mapSubgraphs, subgraphsOf, withAttributes } from '../graph/attributes.js';
import { createNode, GraphEditor, renameInputs } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Attribute, Graph, Model, Node, ValueInfo, ValueType } from '../graph/model.js';
import { Names } from '../graph/names.js';
import { DeferredStorage } from '../tensor/deferred-storage.js';
import { dtypeInfo } from '../tensor/dtype.js';
import { float16ToNumber, numberToFloat16 } from '../tensor/float16.js';
import { memoryStorage, tensorFromArray, type Tensor, type TensorStorage } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { passResult, type PassResult } from './pass.js';

const FLOAT16 = dtypeInfo('float16').code;
const FLOAT32 = dtypeInfo('float32').code;

/** Attributes of the ONNX domain that name an element type. Source: onnx/docs/Operators.md. */
const TYPE_ATTRIBUTES = ['to', 'dtype', 'output_datatype', 'stash_type', 'softmax_precision'];
/** Domains whose operators take float32 wherever they take float16. */
const KNOWN_DOMAINS = new Set(['', 'com.microsoft', 'ai.onnx.ml']);

/** Weights from this size on are widened each time they are read, so that they need no memory twice. */
const MAX_HELD_BYTES = 64 * 2 ** 20;
/** Smaller constants are not worth a Cast to take them back to float16. */
const MIN_NARROWED_BYTES = 1024;

/** The float16 tensor that a widened one was made from. */
const originals = new WeakMap<Tensor, Tensor>();

/**
 * Lets a float16 model compute in float32, in which its runs on a CPU are done anyway: types of constants and inner values change, inputs and
 * outputs keep theirs through a Cast. Does nothing unless a `wanted` node has a float16 constant, which no plan could quantize. `narrowFloat16`
 * takes back what is still float afterwards.
 */
export function widenFloat16(model: Model, wanted: (node: Node) => boolean): PassResult {
  const { graph } = model;
  if (!readsFloat16(graph, wanted, new Set())) return { model, changes: [] };
  const obstacle = obstacleTo(model);
  const change = (message: string) => ({ pass: 'widen-float16', names: [], message });
  if (obstacle) return { model, changes: [change(`the model stays in float16, because ${obstacle}`)] };
  const names = new Names(graph);
  const message = 'float16 was widened to float32, so that it can be quantized; inputs and outputs keep their types';
  return passResult(model, withCasts(widened(graph, new Set(graph.outputs.map(({ name }) => name))), graph, names), [change(message)]);
}

/**
 * Stores float32 constants in float16 again, behind a Cast that the runtime folds: those that `widenFloat16` widened, and others whose every
 * element is a float16, where the `source` that the model was made from had float16 constants (folding evaluates the Cast after them).
 */
export function narrowFloat16(model: Model, source: Model): PassResult {
  if (!storesFloat16(source.graph)) return { model, changes: [] };
  const narrowed: string[] = [];
  const names = new Names(model.graph);
  const narrow = (graph: Graph): Graph => {
    const initializers = new Map<string, Tensor>();
    const casts: Node[] = [];
    const { isOutput } = indexOf(graph);
    for (const [name, tensor] of graph.initializers) {
      const original = tensor.storage.byteLength < 2 * MIN_NARROWED_BYTES || isOutput(name) ? undefined : (originals.get(tensor) ?? exactFloat16(tensor));
      if (!original) {
        initializers.set(name, tensor);
        continue;
      }
      const stored = names.unique(`${name}_f16`);
      initializers.set(stored, original);
      casts.push(castNode(names, stored, name, FLOAT32));
      narrowed.push(name);
    }
    let changed = casts.length > 0;
    const nodes = graph.nodes.map((node) => {
      const inner = mapSubgraphs(node, narrow);
      changed ||= inner !== node;
      return inner;
    });
    return changed ? { ...graph, initializers, nodes: [...casts, ...nodes] } : graph;
  };
  const graph = narrow(model.graph);
  if (narrowed.length === 0) return { model, changes: [] };
  return passResult(model, graph, [{ pass: 'narrow-float16', names: narrowed, message: `${narrowed.length} constants that stay float are stored in float16, as they were` }]);
}

function storesFloat16(graph: Graph): boolean {
  if ([...graph.initializers.values()].some(({ dtype }) => dtype === 'float16')) return true;
  const isNarrow = (attribute: Attribute) => attribute.kind === 'tensor' && attribute.value.dtype === 'float16';
  return graph.nodes.some((node) => [...node.attributes.values()].some(isNarrow) || subgraphsOf(node).some(storesFloat16));
}

/** The tensor in float16; undefined where that would change an element, or where it is not held in memory. */
function exactFloat16(tensor: Tensor): Tensor | undefined {
  if (tensor.dtype !== 'float32' || tensor.storage.byteLength > MAX_HELD_BYTES) return undefined;
  const values = numbersOf(tensor);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    bits[i] = numberToFloat16(values[i]!);
    if (!Object.is(float16ToNumber(bits[i]!), values[i])) return undefined;
  }
  return tensorFromArray('float16', tensor.dims, bits);
}

/** Removes Cast nodes whose input has the type that they cast to, as widening leaves them. `types` are those of the main graph. */
export function removeIdleCasts(model: Model, types: ReadonlyMap<string, ValueType>): PassResult {
  const { graph } = model;
  const index = indexOf(graph);
  const editor = new GraphEditor(graph);
  const removed: string[] = [];
  for (const node of graph.nodes) {
    const [input] = node.inputs;
    const [output] = node.outputs;
    if (node.opType !== 'Cast' || node.domain !== '' || !input || !output || index.isOutput(output)) continue;
    const [from, to] = [types.get(input), types.get(output)];
    if (from?.kind !== 'tensor' || to?.kind !== 'tensor' || from.dtype !== to.dtype) continue;
    editor.replace(node);
    editor.renameUses(output, input);
    removed.push(node.name || output);
  }
  if (removed.length === 0) return { model, changes: [] };
  return passResult(model, editor.finish(), [{ pass: 'remove-idle-casts', names: removed, message: `${removed.length} Cast nodes that change no type were removed` }]);
}

/** Whether a wanted node reads a float16 constant of its graph or of one around it. */
function readsFloat16(graph: Graph, wanted: (node: Node) => boolean, outer: ReadonlySet<string>): boolean {
  const narrow = new Set(outer);
  for (const [name, { dtype }] of graph.initializers) if (dtype === 'float16') narrow.add(name);
  for (const node of graph.nodes) {
    const value = node.opType === 'Constant' ? node.attributes.get('value') : undefined;
    if (value?.kind === 'tensor' && value.value.dtype === 'float16') narrow.add(node.outputs[0]!);
  }
  return graph.nodes.some(
    (node) => (wanted(node) && node.inputs.some((input) => narrow.has(input))) || subgraphsOf(node).some((body) => readsFloat16(body, wanted, narrow)),
  );
}

function obstacleTo({ graph, functions }: Model): string | undefined {
  const foreign = foreignNode(graph);
  if (foreign) return `nothing says which types ${foreign.domain}.${foreign.opType} takes`;
  if (functions.length > 0) return 'it has functions of its own';
  const container = [...graph.inputs, ...graph.outputs].find(({ type }) => type.kind !== 'tensor' && type.kind !== 'none');
  return container && `"${container.name}" is a ${container.type.kind}, whose elements cannot be cast`;
}

function foreignNode(graph: Graph): Node | undefined {
  for (const node of graph.nodes) {
    if (!KNOWN_DOMAINS.has(node.domain)) return node;
    for (const body of subgraphsOf(node)) {
      const inner = foreignNode(body);
      if (inner) return inner;
    }
  }
  return undefined;
}

/** The graph with float32 wherever it had float16; declarations of the values in `kept` stay as they are. */
function widened(graph: Graph, kept: ReadonlySet<string>): Graph {
  const keptInput = new Set(kept.size > 0 ? graph.inputs.map(({ name }) => name) : []);
  const declared = (value: ValueInfo): ValueInfo => (kept.has(value.name) || keptInput.has(value.name) ? value : widenedInfo(value));
  return {
    ...graph,
    nodes: graph.nodes.map((node) => mapSubgraphs(widenedNode(node), (body) => widened(body, new Set()))),
    initializers: new Map([...graph.initializers].map(([name, tensor]) => [name, widenedTensor(tensor)])),
    inputs: graph.inputs.map(declared),
    outputs: graph.outputs.map(declared),
    valueInfo: graph.valueInfo.map(declared),
  };
}

function widenedInfo(value: ValueInfo): ValueInfo {
  const { type } = value;
  return type.kind === 'tensor' && type.dtype === 'float16' ? { ...value, type: { ...type, dtype: 'float32' } } : value;
}

function widenedNode(node: Node): Node {
  const changes: Record<string, Attribute> = {};
  for (const [name, attribute] of node.attributes) {
    if (attribute.kind === 'tensor' && attribute.value.dtype === 'float16') changes[name] = { kind: 'tensor', value: widenedTensor(attribute.value) };
    if (attribute.kind === 'int' && attribute.value === FLOAT16 && node.domain === '' && TYPE_ATTRIBUTES.includes(name)) changes[name] = { kind: 'int', value: FLOAT32 };
  }
  return Object.keys(changes).length > 0 ? withAttributes(node, changes) : node;
}

function widenedTensor(tensor: Tensor): Tensor {
  if (tensor.dtype !== 'float16') return tensor;
  const { dims, storage } = tensor;
  const sizeBytes = 2 * storage.byteLength;
  const wide: Tensor = {
    dtype: 'float32',
    dims,
    storage: sizeBytes > MAX_HELD_BYTES ? new DeferredStorage(sizeBytes, (offset, length) => widenedBytes(storage, offset, length)) : memoryStorage(widenedBytes(storage, 0, sizeBytes)),
  };
  originals.set(wide, tensor);
  return wide;
}

/** `length` bytes from `offset` of the float32 form of float16 elements. */
function widenedBytes(storage: TensorStorage, offset: number, length: number): Uint8Array {
  const first = offset >> 2;
  const end = (offset + length + 3) >> 2;
  const bytes = memoryStorage(storage.readRange(2 * first, 2 * (end - first)));
  const values = numbersOf({ dtype: 'float16', dims: [end - first], storage: bytes });
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength).subarray(offset - 4 * first, offset - 4 * first + length);
}

/** The widened graph with a Cast after each float16 input and before each float16 output of the graph that was. */
function withCasts(wide: Graph, graph: Graph, names: Names): Graph {
  const isNarrow = ({ type }: ValueInfo) => type.kind === 'tensor' && type.dtype === 'float16';
  const inner = new Map<string, string>();
  const take = (value: ValueInfo): readonly (readonly [string, string])[] => {
    if (!isNarrow(value) || inner.has(value.name)) return [];
    const name = names.unique(`${value.name}_f32`);
    inner.set(value.name, name);
    return [[value.name, name]];
  };
  const inputs = graph.inputs.flatMap(take);
  const outputs = graph.outputs.flatMap(take);
  const rename = (value: string) => inner.get(value) ?? value;
  return {
    ...wide,
    nodes: [
      ...inputs.map(([outside, inside]) => castNode(names, outside, inside, FLOAT32)),
      ...wide.nodes.map((node) => ({ ...renameInputs(node, rename), outputs: node.outputs.map(rename) })),
      ...outputs.map(([outside, inside]) => castNode(names, inside, outside, FLOAT16)),
    ],
    initializers: new Map([...wide.initializers].map(([name, tensor]) => [rename(name), tensor])),
  };
}

function castNode(names: Names, input: string, output: string, to: number): Node {
  return createNode({ name: names.unique(`${output}_cast`), opType: 'Cast', inputs: [input], outputs: [output], attributes: { to: { kind: 'int', value: to } } });
}
