import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { floatAttribute, intAttribute } from '../graph/attributes.js';
import { indexOf, soleReader, type GraphIndex } from '../graph/graph-index.js';
import type { Model, Node } from '../graph/model.js';
import { passResult, type Change, type PassResult } from '../passes/pass.js';
import { prune } from '../passes/prune.js';
import { INTEGER_LIMITS } from '../tensor/affine.js';
import { roundHalfEven } from '../tensor/round-half-even.js';
import { float32Tensor, tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { biasValues } from './qat-followers.js';
import { dequantizerOf, isPerTensor, labelOf, type Quantizer } from './qat-quantizer.js';
import { fitsGemm, type ValueTypes } from './select.js';

const PASS = 'integer-bias';

/** Beyond this a stored scale is another one, and not the product of the same two scales rounded otherwise. */
const SAME_SCALE = 1e-5;

/** Largest magnitude of an integer bias that leaves the products it is added to room in 32 bits. */
const MAX_BIAS = 2 ** 30;

/**
 * Stores the bias of each convolution and matrix product whose input and weight are quantized as int32 with the product of their scales,
 * which is what the integer kernels add. A bias that is stored with another scale is rounded anew, because the runtime takes its integers
 * without looking at the scale.
 */
export function quantizeBiases(model: Model, types: ValueTypes): PassResult {
  const { graph } = model;
  const index = indexOf(graph);
  const editor = new GraphEditor(graph);
  const done: string[] = [];
  const left: Change[] = [];
  for (const node of graph.nodes) {
    const site = biasSite(index, types, node);
    if (!site) continue;
    const { reader, input, x, w, integers } = site;
    const channels = w.scales.length;
    const values = biasValues(index, { ...reader, inputs: ['', '', reader.inputs[input]!] }, channels);
    if (!values || values.length === 0) continue;
    const scaleAt = (c: number) => Math.fround(x.scales[0]! * w.scales[channels === 1 ? 0 : c]!);
    if (isStoredSo(index, reader.inputs[input]!, scaleAt)) continue;
    const count = channels === 1 ? values.length : channels;
    const bias = Float64Array.from({ length: count }, (_, c) => roundHalfEven(values[values.length === 1 ? 0 : c]! / scaleAt(c)));
    const tooLarge = bias.findIndex((value) => !(Math.abs(value) <= MAX_BIAS));
    if (tooLarge >= 0) {
      left.push({ pass: PASS, names: [labelOf(node)], message: `its bias stays float32: channel ${tooLarge} does not fit int32 with the product of the trained scales` });
      continue;
    }
    const scales = channels === 1 ? float32Tensor(scaleAt(0)) : float32Tensor(Float32Array.from({ length: count }, (_, c) => scaleAt(c)));
    const label = reader.inputs[input]!;
    const stored = editor.addInitializer(`${label}_q`, tensorFromArray('int32', [count], Int32Array.from(bias)));
    const scale = editor.addInitializer(`${label}_scale`, scales);
    const value = editor.names.unique(`${label}_dq`);
    const attributes = channels === 1 ? {} : { axis: { kind: 'int', value: 0 } as const };
    // Without a zero point it is 0, whatever the type.
    editor.add(createNode({ name: editor.names.unique(`${label}_DQ`), opType: 'DequantizeLinear', domain: integers.domain, inputs: [stored, scale], outputs: [value], attributes }));
    editor.replace(reader, { ...reader, inputs: reader.inputs.map((name, i) => (i === input ? value : name)) });
    done.push(labelOf(reader));
  }
  if (done.length === 0) return { model, changes: left };
  const message = `${done.length} biases are stored as int32 with the product of the trained scales of input and weight`;
  const result = passResult(model, editor.finish(), [{ pass: PASS, names: done, message }, ...left]);
  return { ...result, model: prune(result.model).model };
}

interface BiasSite {
  /** The node that reads the bias, and as which input. */
  readonly reader: Node;
  readonly input: number;
  readonly x: Quantizer;
  readonly w: Quantizer;
  /** The DQ of the weight. */
  readonly integers: Node;
}

function biasSite(index: GraphIndex, types: ValueTypes, node: Node): BiasSite | undefined {
  if (node.domain !== '' || !['Conv', 'Gemm', 'MatMul'].includes(node.opType)) return undefined;
  const [x, w] = [dequantizerOf(index, node.inputs[0]), dequantizerOf(index, node.inputs[1])];
  const weight = w && index.constant(w.node.inputs[0]!);
  if (!x || !w || !weight || !isPerTensor(x) || w.blockSize > 0 || !hasOutputScales(node, w, weight)) return undefined;
  if (node.opType !== 'MatMul') {
    if (floatAttribute(node, 'alpha', 1) !== 1 || floatAttribute(node, 'beta', 1) !== 1) return undefined;
    return node.inputs[2] ? { reader: node, input: 2, x, w, integers: w.node } : undefined;
  }
  // The runtime makes one Gemm of MatMul and Add where it can, and that takes its bias as int32.
  const add = soleReader(index, node.outputs[0]!);
  if (add?.opType !== 'Add' || add.domain !== '' || weight.dims.length !== 2) return undefined;
  const input = add.inputs[0] === node.outputs[0] ? 1 : 0;
  const bias = index.constant(add.inputs[input]!);
  const shapes = new Map(types).set(node.inputs[1]!, { kind: 'tensor', dtype: 'float32', shape: weight.dims });
  return bias?.dims.length === 1 && bias.dims[0] === weight.dims[1] && fitsGemm(index, shapes, node, add.inputs[input]!) ? { reader: add, input, x, w, integers: w.node } : undefined;
}

/** Whether a weight has one scale, or one for each output channel of its node. */
function hasOutputScales(node: Node, { axis, scales }: Quantizer, { dims }: Tensor): boolean {
  if (axis === null) return true;
  const at = axis < 0 ? axis + dims.length : axis;
  const outputs = node.opType === 'Conv' || intAttribute(node, 'transB', 0) !== 0 ? 0 : dims.length - 1;
  return at === outputs && scales.length === dims[at];
}

function isStoredSo(index: GraphIndex, name: string, scaleAt: (c: number) => number): boolean {
  const stored = dequantizerOf(index, name);
  if (stored?.dtype !== 'int32') return false;
  const [low, high] = INTEGER_LIMITS.int32;
  const constant = index.constant(stored.node.inputs[0]!);
  const integers = constant && numbersOf(constant);
  if (!integers?.every((value) => value > low && value < high)) return false;
  const zero = Array.from(stored.zeroPoints).every((value) => value === 0);
  return zero && Array.from(integers, (_, c) => c).every((c) => {
    const scale = stored.scales[stored.scales.length === 1 ? 0 : c]!;
    return Math.abs(scale / scaleAt(c) - 1) <= SAME_SCALE;
  });
}
