import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { intAttribute } from '../graph/attributes.js';
import { indexOf } from '../graph/graph-index.js';
import type { Model, Node } from '../graph/model.js';
import { passResult, type Change, type PassResult } from '../passes/pass.js';
import { elementCount, float32Tensor, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { liftedAttributes, QOPERATORS, type QOperatorRow } from './qoperators.js';
import { labelOf } from './qat-quantizer.js';

const PASS = 'lift-qoperators';

/** Below this operator set DequantizeLinear has no axis in the ONNX domain; com.microsoft's has. */
const CHANNELS_SINCE = 13;

/**
 * Turns operators on integers (QLinearConv, QLinearAdd and their like) into float operators between DequantizeLinear and QuantizeLinear, which
 * the runtime fuses to the same kernels. Nodes that have no such form are listed with the reason.
 */
export function liftQOperators(model: Model): PassResult {
  const lifting = new Lifting(model);
  const lifted: string[] = [];
  const left: Change[] = [];
  for (const node of model.graph.nodes) {
    const row = QOPERATORS.find(({ quantized }) => quantized === node.opType);
    if (!row) continue;
    const nodes = lifting.lift(row, node);
    if (typeof nodes === 'string') {
      left.push({ pass: PASS, names: [labelOf(node)], message: `${node.opType} stays as it is: ${nodes}` });
      continue;
    }
    lifting.editor.replace(node, ...nodes);
    lifted.push(labelOf(node));
  }
  if (lifted.length === 0) return { model, changes: left };
  const opsets = new Map(model.opsets);
  if (lifting.domain !== '' && !opsets.has(lifting.domain)) opsets.set(lifting.domain, 1);
  const message = `${lifted.length} operators on integers became float operators between Q and DQ`;
  return passResult({ ...model, opsets }, lifting.editor.finish(), [{ pass: PASS, names: lifted, message }, ...left]);
}

class Lifting {
  readonly editor: GraphEditor;
  readonly domain: string;
  readonly #model: Model;
  readonly #opset: number;
  readonly #dequantized = new Map<string, string>();

  constructor(model: Model) {
    this.#model = model;
    this.editor = new GraphEditor(model.graph);
    this.#opset = model.opsets.get('') ?? 1;
    this.domain = this.#opset >= CHANNELS_SINCE ? '' : 'com.microsoft';
  }

  /** The nodes that say the same, or why there are none. */
  lift(row: QOperatorRow, node: Node): Node[] | string {
    const attributes = liftedAttributes(node, this.#opset);
    if (!attributes) return 'its attributes have no float form';
    const first = row.leading ?? (row.outputFirst ? 2 : 0);
    const count = row.operands === 'all' ? Math.floor((node.inputs.length - first) / 3) : row.operands;
    const after = first + 3 * count;
    const isGemm = row.opType === 'Gemm';
    const bias = isGemm ? node.inputs[after] : row.opType === 'Conv' ? node.inputs[after + 2] : undefined;
    const [scale = '', zeroPoint = ''] = row.outputFirst ? node.inputs : node.inputs.slice(isGemm ? after + 1 : after);
    const triples = Array.from({ length: count }, (_, i) => node.inputs.slice(first + 3 * i, first + 3 * i + 3));
    const added: Node[] = [];
    const inputs = node.inputs.slice(0, row.leading ?? 0);
    for (const [i, triple] of triples.entries()) {
      const axis = this.#axisOf(row, node, i, triple);
      if (axis === undefined) return `the scales of "${triple[0]}" are for no axis that can be told`;
      inputs.push(this.#dequantize(triple, axis, added));
    }
    if (bias) {
      const value = this.#dequantizeBias(bias, triples, added);
      if (value === undefined) return 'its scales are computed in every run';
      inputs.push(value);
    }
    const [output = ''] = node.outputs;
    const result = scale === '' ? output : this.editor.names.unique(`${output}_f`);
    added.push({ ...createNode({ name: node.name, opType: row.opType, inputs, outputs: [result] }), attributes });
    if (scale !== '') added.push(this.#pairNode('QuantizeLinear', output, [result, scale, ...(zeroPoint ? [zeroPoint] : [])], output, null));
    return added;
  }

  #constant(name: string | undefined): Tensor | undefined {
    return indexOf(this.#model.graph).constant(name ?? '');
  }

  /** Axis of an operand's scales; null for one scale, undefined where it cannot be told. */
  #axisOf({ opType }: QOperatorRow, node: Node, operand: number, [value, scale]: readonly string[]): number | null | undefined {
    const scales = this.#constant(scale);
    // Computed scales are taken for single ones, which all of these operators take but for weights.
    if (!scales) return operand === 0 || this.#constant(value) === undefined ? null : undefined;
    if (elementCount(scales.dims) === 1) return null;
    if (operand !== 1 || scales.dims.length !== 1) return undefined;
    if (opType === 'Conv') return 0;
    const rank = this.#constant(value)?.dims.length;
    if (opType === 'Gemm') return intAttribute(node, 'transB', 0) === 0 ? 1 : 0;
    return opType === 'MatMul' && rank !== undefined ? rank - 1 : undefined;
  }

  #dequantize([value = '', scale = '', zeroPoint = '']: readonly string[], axis: number | null, added: Node[]): string {
    const key = [value, scale, zeroPoint, axis].join('\n');
    let output = this.#dequantized.get(key);
    if (output === undefined) {
      output = this.editor.names.unique(`${value}_dq`);
      this.#dequantized.set(key, output);
      added.push(this.#pairNode('DequantizeLinear', value, [value, scale, ...(zeroPoint ? [zeroPoint] : [])], output, axis));
    }
    return output;
  }

  /** The bias with the product of the scales of input and weight, in which these operators add it. */
  #dequantizeBias(bias: string, triples: readonly (readonly string[])[], added: Node[]): string | undefined {
    const [x, w] = triples.map((triple) => this.#constant(triple[1]));
    if (!x || !w) return undefined;
    const factor = numbersOf(x)[0]!;
    const products = Array.from(numbersOf(w), (value) => Math.fround(factor * value));
    const scale = this.editor.addInitializer(`${bias}_scale`, float32Tensor(products.length === 1 ? products[0]! : products));
    const output = this.editor.names.unique(`${bias}_dq`);
    added.push(this.#pairNode('DequantizeLinear', bias, [bias, scale], output, products.length === 1 ? null : 0));
    return output;
  }

  #pairNode(opType: string, hint: string, inputs: readonly string[], output: string, axis: number | null): Node {
    const name = this.editor.names.unique(`${hint}_${opType === 'QuantizeLinear' ? 'Q' : 'DQ'}`);
    return createNode({ name, opType, domain: this.domain, inputs, outputs: [output], attributes: axis === null ? {} : { axis: { kind: 'int', value: axis } } });
  }
}
