import { QdqError } from '../errors.js';
import { intAttribute, subgraphsOf } from '../graph/attributes.js';
import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf, type GraphIndex } from '../graph/graph-index.js';
import type { Graph, Model, Node } from '../graph/model.js';
import { passResult, type PassResult } from '../passes/pass.js';
import { INTEGER_LIMITS } from '../tensor/affine.js';
import { dtypeFromCode, type DType } from '../tensor/dtype.js';
import { elementCount, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';

/** A QuantizeLinear or DequantizeLinear whose scale, in float32, and zero point are constants. */
export interface Quantizer {
  readonly node: Node;
  /** Integer type on its quantized side. */
  readonly dtype: DType;
  readonly scale: Tensor;
  readonly scales: ArrayLike<number>;
  /** As many as there are scales. */
  readonly zeroPoints: ArrayLike<number>;
  /** Axis of the channels as written, which may be negative; null for one scale in all. */
  readonly axis: number | null;
  /** Elements along the axis that share a scale; 0 for one scale a channel. */
  readonly blockSize: number;
}

const isQdqDomain = (node: Node) => node.domain === '' || node.domain === 'com.microsoft';

export const isQuantizeLinear = (node: Node): boolean => node.opType === 'QuantizeLinear' && isQdqDomain(node);
export const isDequantizeLinear = (node: Node): boolean => node.opType === 'DequantizeLinear' && isQdqDomain(node);

/** Smallest and largest integer of a type that Q and DQ know; undefined for others. */
export function integerLimits(dtype: DType): readonly [number, number] | undefined {
  if (dtype === 'int4') return [-8, 7];
  if (dtype === 'uint4') return [0, 15];
  return dtype in INTEGER_LIMITS ? INTEGER_LIMITS[dtype as keyof typeof INTEGER_LIMITS] : undefined;
}

/** What a node is called in messages. */
export const labelOf = (node: Node) => node.name || (node.outputs.find(Boolean) ?? node.opType);

/** Reads a Q or DQ; undefined for other nodes, and where its scale is no float32 constant or its zero point is computed. */
export function quantizerOf(index: GraphIndex, node: Node | undefined): Quantizer | undefined {
  if (!node || (!isQuantizeLinear(node) && !isDequantizeLinear(node))) return undefined;
  const scale = index.constant(node.inputs[1] ?? '');
  const zeroPoint = node.inputs[2] ? index.constant(node.inputs[2]) : undefined;
  if (scale?.dtype !== 'float32' || (node.inputs[2] && !zeroPoint)) return undefined;
  const scales = numbersOf(scale);
  return {
    node,
    dtype: zeroPoint?.dtype ?? impliedType(index, node),
    scale,
    scales,
    zeroPoints: zeroPoint ? numbersOf(zeroPoint) : new Float64Array(scales.length),
    axis: elementCount(scale.dims) === 1 ? null : intAttribute(node, 'axis', 1),
    blockSize: intAttribute(node, 'block_size', 0),
  };
}

/** Type where no zero point tells: of a Q what `output_dtype` says, otherwise u8; of a DQ that of the integers that it reads. */
function impliedType(index: GraphIndex, node: Node): DType {
  if (isQuantizeLinear(node)) {
    const code = intAttribute(node, 'output_dtype', 0);
    return code === 0 ? 'uint8' : dtypeFromCode(code);
  }
  const constant = index.constant(node.inputs[0]!);
  if (constant) return constant.dtype;
  const producer = index.producer(node.inputs[0]!);
  return (producer && isQuantizeLinear(producer) ? quantizerOf(index, producer)?.dtype : undefined) ?? 'unknown';
}

/** The quantizer that makes a value, if a DQ with constant parameters does. */
export function dequantizerOf(index: GraphIndex, value: string | undefined): Quantizer | undefined {
  const producer = index.producer(value ?? '');
  return producer && isDequantizeLinear(producer) ? quantizerOf(index, producer) : undefined;
}

/** Whether two quantizers of one scale map alike. */
export function sameMapping(a: Quantizer, b: Quantizer): boolean {
  return isPerTensor(a) && isPerTensor(b) && a.dtype === b.dtype && a.scales[0] === b.scales[0] && a.zeroPoints[0] === b.zeroPoints[0];
}

/** The least and the largest number that a quantizer of one scale can stand for; unlimited for types without limits here. */
export function rangeOfQuantizer({ dtype, scales, zeroPoints }: Quantizer): readonly [number, number] {
  const limits = integerLimits(dtype);
  if (!limits) return [-Infinity, Infinity];
  const [low, high] = limits.map((limit) => Math.fround((limit - zeroPoints[0]!) * scales[0]!));
  return [low!, high!];
}

/** Whether one scale is for the whole value. */
export const isPerTensor = ({ axis, blockSize }: Quantizer) => axis === null && blockSize === 0;

/**
 * Refuses Q and DQ nodes that no rewriting can make sense of. Throws `model-invalid` where a scale is not positive and finite, where scales,
 * zero points and axis do not fit each other or the constant that they are for, and where a Q and the DQ that reads it disagree on the type.
 */
export function checkQuantizers(graph: Graph): void {
  const index = indexOf(graph);
  for (const node of graph.nodes) {
    for (const body of subgraphsOf(node)) checkQuantizers(body);
    const quantizer = quantizerOf(index, node);
    if (!quantizer) continue;
    const problem = problemOf(index, quantizer);
    if (problem) throw new QdqError('model-invalid', `${node.opType} "${labelOf(node)}": ${problem}`, 'Export the model again, or repair the node named.');
  }
}

function problemOf(index: GraphIndex, { node, dtype, scale, scales, zeroPoints, axis, blockSize }: Quantizer): string | undefined {
  const bad = Array.from(scales).find((value) => !(value > 0 && Number.isFinite(value)));
  if (bad !== undefined) return `its scale "${node.inputs[1]}" contains ${bad}; expected positive, finite numbers`;
  if (zeroPoints.length !== scales.length) return `it has ${scales.length} scales and ${zeroPoints.length} zero points; expected as many of each`;
  const constant = index.constant(node.inputs[0]!);
  if (isDequantizeLinear(node) && constant && constant.dtype !== dtype) return `its input "${node.inputs[0]}" is ${constant.dtype} and its zero point ${dtype}; expected one type`;
  const producer = isDequantizeLinear(node) ? quantizerOf(index, index.producer(node.inputs[0]!)) : undefined;
  if (producer && isQuantizeLinear(producer.node) && producer.dtype !== dtype) {
    return `it reads ${producer.dtype} from ${producer.node.opType} "${labelOf(producer.node)}" and its zero point is ${dtype}; expected one type`;
  }
  if (!constant || axis === null) return undefined;
  const { dims } = constant;
  const at = axis < 0 ? axis + dims.length : axis;
  if (at < 0 || at >= dims.length) return `its axis ${axis} is outside of "${node.inputs[0]}" with dimensions [${dims.join(', ')}]`;
  if (blockSize > 0) {
    const expected = dims.map((dim, i) => (i === at ? Math.ceil(dim / blockSize) : dim));
    return expected.join() === scale.dims.join() ? undefined : `its scales are [${scale.dims.join(', ')}]; expected [${expected.join(', ')}] for blocks of ${blockSize} along axis ${axis}`;
  }
  return dims[at] === scales.length ? undefined : `it has ${scales.length} scales for the ${dims[at]} channels of "${node.inputs[0]}" along axis ${axis}`;
}

/**
 * Gives constants that are read by `readers` new contents: under the same name where nothing else reads them, otherwise under a new one, which is
 * returned. Names stay short so, and files do not grow.
 */
export function replaceConstant(editor: GraphEditor, index: GraphIndex, name: string, readers: ReadonlySet<Node>, tensor: Tensor): string {
  if (!index.isOutput(name) && index.uses(name).every(({ node, input }) => input >= 0 && readers.has(node))) {
    editor.setInitializer(name, tensor);
    return name;
  }
  return editor.addInitializer(name, tensor);
}

/** Stores scales and zero points of one element as scalars, which is the only form that the runtime's integer kernels take. */
export function scalarParameters(model: Model): PassResult {
  const { graph } = model;
  const index = indexOf(graph);
  const editor = new GraphEditor(graph);
  const pairs = new Set(graph.nodes.filter((node) => isQuantizeLinear(node) || isDequantizeLinear(node)));
  const scalars = new Map<string, string>();
  const changed: string[] = [];
  for (const node of pairs) {
    const inputs = node.inputs.map((name, i) => {
      const constant = i > 0 ? index.constant(name) : undefined;
      if (constant?.dims.length !== 1 || constant.dims[0] !== 1 || (quantizerOf(index, node)?.blockSize ?? 0) > 0) return name;
      if (!scalars.has(name)) scalars.set(name, replaceConstant(editor, index, name, pairs, { dtype: constant.dtype, dims: [], storage: constant.storage }));
      return scalars.get(name)!;
    });
    const isVector = node.inputs.some((name) => scalars.has(name));
    if (!isVector) continue;
    editor.replace(node, { ...node, inputs });
    changed.push(labelOf(node));
  }
  if (changed.length === 0) return { model, changes: [] };
  const message = `scales and zero points of ${changed.length} Q and DQ nodes became scalars, without which the runtime refuses or does not fuse them`;
  return passResult(model, editor.finish(), [{ pass: 'scalar-parameters', names: changed, message }]);
}
