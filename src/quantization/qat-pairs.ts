import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf, soleReader, type GraphIndex } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';
import { integerScalar, type AffineParameters } from '../tensor/affine.js';
import { float32Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { activationInputs, ruleOf } from './operator-rules.js';
import { dequantizerOf, isDequantizeLinear, isPerTensor, isQuantizeLinear, quantizerOf, type Quantizer } from './qat-quantizer.js';

/** Names of the scale and zero point of a pair, and the domain of its nodes. */
export interface PairParameters {
  readonly domain: string;
  /** Scale, and zero point where there is one. */
  readonly names: readonly string[];
}

/** The parameters of a quantizer, for another pair that maps alike. */
export function parametersOf({ node }: Quantizer): PairParameters {
  return { domain: node.domain, names: node.inputs.slice(1) };
}

/** Adds Q/DQ pairs to a graph, each for all readers of a value or for one. */
export class PairEditor {
  readonly editor: GraphEditor;
  readonly index: GraphIndex;
  readonly #graph: Graph;
  readonly #inputs = new Map<Node, string[]>();
  readonly #outputs = new Map<Node, string[]>();
  readonly #dequantized = new Map<string, string>();
  readonly #fresh = new Map<string, PairParameters>();

  constructor(graph: Graph) {
    this.#graph = graph;
    this.editor = new GraphEditor(graph);
    this.index = indexOf(graph);
  }

  inputsOf(node: Node): string[] {
    return this.#own(this.#inputs, node, node.inputs);
  }

  outputsOf(node: Node): string[] {
    return this.#own(this.#outputs, node, node.outputs);
  }

  /** Lets every reader of a node's output, the graph's output too, read it through Q and DQ. */
  quantizeForAll(producer: Node, value: string, parameters: PairParameters): void {
    const raw = this.editor.names.unique(`${value}_f`);
    const outputs = this.outputsOf(producer);
    outputs[outputs.indexOf(value)] = raw;
    this.#pair(value, raw, value, parameters);
  }

  /** Lets one reader read a value through Q and DQ, which all such readers share. */
  quantizeForReader(reader: Node, input: number, parameters: PairParameters): void {
    const value = reader.inputs[input]!;
    let dequantized = this.#dequantized.get(value);
    if (dequantized === undefined) {
      dequantized = this.editor.names.unique(`${value}_dq`);
      this.#dequantized.set(value, dequantized);
      this.#pair(value, value, dequantized, parameters);
    }
    this.inputsOf(reader)[input] = dequantized;
  }

  /** Parameters that the graph does not have yet; alike ones are stored once. */
  newParameters(hint: string, { dtype, scale, zeroPoint }: AffineParameters, domain: string): PairParameters {
    const key = [domain, dtype, scale, zeroPoint].join();
    let parameters = this.#fresh.get(key);
    if (!parameters) {
      const names = [this.editor.addInitializer(`${hint}_scale`, float32Tensor(scale)), this.editor.addInitializer(`${hint}_zero`, integerScalar(dtype, zeroPoint))];
      this.#fresh.set(key, (parameters = { domain, names }));
    }
    return parameters;
  }

  finish(): Graph {
    for (const node of this.#graph.nodes) {
      const [inputs, outputs] = [this.#inputs.get(node), this.#outputs.get(node)];
      if (inputs || outputs) this.editor.replace(node, { ...node, inputs: inputs ?? node.inputs, outputs: outputs ?? node.outputs });
    }
    return this.editor.finish();
  }

  #own(map: Map<Node, string[]>, node: Node, names: readonly string[]): string[] {
    let own = map.get(node);
    if (!own) map.set(node, (own = [...names]));
    return own;
  }

  #pair(hint: string, from: string, to: string, { domain, names }: PairParameters): void {
    const quantized = this.editor.names.unique(`${hint}_q`);
    const node = (opType: string, input: string, output: string) =>
      createNode({ name: this.editor.names.unique(`${hint}_${opType === 'QuantizeLinear' ? 'Q' : 'DQ'}`), opType, domain, inputs: [input, ...names], outputs: [output] });
    this.editor.add(node('QuantizeLinear', from, quantized), node('DequantizeLinear', quantized, to));
  }
}

/** The per-tensor Q nodes that read a value. */
export function quantizersOf(index: GraphIndex, value: string): Quantizer[] {
  return index.uses(value).flatMap(({ node, input }) => {
    const quantizer = input === 0 && isQuantizeLinear(node) ? quantizerOf(index, node) : undefined;
    return quantizer && isPerTensor(quantizer) ? [quantizer] : [];
  });
}

/** Whether a value comes out of a DQ with one scale. */
export function isDequantizedValue(index: GraphIndex, value: string): boolean {
  const quantizer = dequantizerOf(index, value);
  return quantizer !== undefined && isPerTensor(quantizer);
}

/** Whether all that a node takes as activations or weights comes out of DQ nodes, so that an integer kernel can stand in its place. */
export function readsIntegers(index: GraphIndex, node: Node): boolean {
  const rule = ruleOf(node);
  if (!rule || rule.obstacle?.(node)) return false;
  const inputs = activationInputs(rule, node);
  if (rule.kind === 'compute') return isDequantizedValue(index, node.inputs[0]!) && isDequantizedAnyhow(index, node.inputs[1]!);
  return inputs.length > 0 && inputs.every((i) => isDequantizedValue(index, node.inputs[i]!));
}

/** Whether a value comes out of a DQ, with one scale or several. */
export function isDequantizedAnyhow(index: GraphIndex, value: string): boolean {
  const producer = index.producer(value);
  return producer !== undefined && isDequantizeLinear(producer);
}

/** The node that makes a value, looking through a Relu or Clip that is all that reads it. */
export function sourceOf(index: GraphIndex, value: string): Node | undefined {
  const producer = index.producer(value);
  if (!producer || !isActivation(producer)) return producer;
  const before = producer.inputs[0]!;
  return soleReader(index, before) === producer ? index.producer(before) : producer;
}

export const isActivation = (node: Node) => node.domain === '' && (node.opType === 'Relu' || node.opType === 'Clip');

/** What a Relu or Clip cuts off below and above; undefined for other nodes, and where a bound is computed. */
export function boundsOf(index: GraphIndex, node: Node): readonly [number, number] | undefined {
  if (!isActivation(node)) return undefined;
  if (node.opType === 'Relu') return [0, Infinity];
  const bound = (i: number, fallback: number) => {
    if (!node.inputs[i]) return fallback;
    const constant = index.constant(node.inputs[i]);
    return constant && numbersOf(constant)[0];
  };
  const [low, high] = [bound(1, -Infinity), bound(2, Infinity)];
  return low === undefined || high === undefined ? undefined : [low, high];
}
