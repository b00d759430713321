import { QdqError } from '../errors.js';
import { mapSubgraphs, withAttributes } from '../graph/attributes.js';
import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Attribute, Graph, Node } from '../graph/model.js';
import { Names } from '../graph/names.js';
import type { QuantizedType } from '../tensor/affine.js';
import { int64Tensor, type Tensor } from '../tensor/tensor.js';
import { storeDynamicWeight } from './dynamic-weights.js';
import { constantIn, type Scope } from './scopes.js';
import { matrixShape, type ChannelMatrix } from './weight-only-blocks.js';
import type { BlockFormat } from './weight-only-format.js';
import { packWeight, type BlockOrder, type PackedWeight } from './weight-only-packing.js';
import type { RoundedWeight } from './weight-only-gptq.js';
import type { FitBlock } from './weight-only-rounding.js';
import type { WeightOnlyChoice, WeightOnlyNode } from './weight-only-select.js';
import { channelMaxima, scalesFromMaxima, weightLimit, weightZeroPoint } from './weights.js';

/** How one node and its weight are written. */
export type WeightForm =
  /** com.microsoft MatMulNBits, or GatherBlockQuantized for a lookup. Accuracy level 4: activations become int8; 0: weights are dequantized. */
  | { readonly as: 'contrib'; readonly format: BlockFormat; readonly accuracyLevel: number }
  /** DequantizeLinear of blocks (operator set 21), then the product. */
  | { readonly as: 'blocks'; readonly format: BlockFormat }
  /** DequantizeLinear with one scale for each output channel (operator set 13), or one in all, then the product. */
  | { readonly as: 'channels'; readonly dtype: QuantizedType; readonly perTensor: boolean };

/** The form of each choice that has one, and how the parameters of a weight's blocks are found. */
export interface WeightForms {
  readonly formOf: (choice: WeightOnlyNode) => WeightForm;
  readonly fit?: FitBlock;
  /** Weights whose integers are found already, by the weight as a product reads it. */
  readonly rounded?: (choice: WeightOnlyNode, format: BlockFormat) => RoundedWeight | undefined;
}

const CONTRIB = 'com.microsoft';

/** The graph with each choice carried out; choices are those of `selectWeightOnly` for the same graph. Throws `model-invalid` where a weight is not finite. */
export function storeWeights(graph: Graph, choices: readonly WeightOnlyChoice[], forms: WeightForms): Graph {
  return new WeightOnlyRecipe(graph, choices, forms).apply();
}

interface EditedScope extends Scope {
  readonly editor: GraphEditor;
  readonly parent: EditedScope | undefined;
  readonly stored: Map<string, StoredWeight>;
}

/** Names of a weight's constants. */
interface StoredWeight {
  readonly integers: string;
  readonly scales: string;
  /** '' where they all are the middle. */
  readonly zeroPoints: string;
  /** The integers as rows of bytes, as lookups read them; made for the first of them. */
  rows?: string;
}

const int = (value: number): Attribute => ({ kind: 'int', value });

class WeightOnlyRecipe {
  readonly #graph: Graph;
  readonly #choices: readonly WeightOnlyChoice[];
  readonly #forms: WeightForms;
  readonly #names: Names;
  #at = 0;

  constructor(graph: Graph, choices: readonly WeightOnlyChoice[], forms: WeightForms) {
    this.#graph = graph;
    this.#choices = choices;
    this.#forms = forms;
    this.#names = new Names(graph);
  }

  apply(): Graph {
    return this.#editGraph(this.#graph, undefined);
  }

  #editGraph(graph: Graph, parent: EditedScope | undefined): Graph {
    const editor = new GraphEditor(graph, this.#names);
    const scope: EditedScope = { graph, parent, editor, stored: new Map() };
    for (const node of graph.nodes) {
      const choice = this.#choices[this.#at++]!;
      const inside = mapSubgraphs(node, (body) => this.#editGraph(body, scope));
      if (choice.form !== null) editor.replace(node, ...this.#write(scope, choice));
      else if (inside !== node) editor.replace(node, inside);
    }
    return withoutOrphans(editor.finish(), graph);
  }

  #write(scope: EditedScope, choice: WeightOnlyNode): readonly Node[] {
    const form = this.#forms.formOf(choice);
    const weight = this.#weight(scope, choice, form);
    if (form.as !== 'contrib') return dequantizedProduct(choice, form, weight, this.#names);
    return choice.form === 'lookup' ? this.#lookup(scope, choice, form.format, weight) : this.#product(scope, choice, form, weight);
  }

  #product(scope: EditedScope, { node, weight: { tensor }, depthAxis }: WeightOnlyNode, { format, accuracyLevel }: WeightForm & { as: 'contrib' }, weight: StoredWeight): readonly Node[] {
    const { depth, channels } = matrixShape({ tensor, depthAxis });
    const [x = '', , addend = ''] = node.inputs;
    const bias = node.opType === 'Gemm' ? addend : '';
    const isVector = bias !== '' && constantIn(scope, bias)?.tensor.dims.join() === String(channels);
    const output = node.outputs[0]!;
    const product = bias === '' || isVector ? output : this.#names.unique(`${output}_product`);
    const inputs = [x, weight.integers, weight.scales, weight.zeroPoints, '', isVector ? bias : ''];
    while (inputs.at(-1) === '') inputs.pop();
    const name = node.name || output;
    const attributes = { K: int(depth), N: int(channels), bits: int(format.bits), block_size: int(format.blockSize), accuracy_level: int(accuracyLevel) };
    return [
      createNode({ name, opType: 'MatMulNBits', domain: CONTRIB, inputs, outputs: [product], attributes }),
      ...(product === output ? [] : [createNode({ name: this.#names.unique(`${name}_bias`), opType: 'Add', inputs: [product, bias], outputs: [output] })]),
    ];
  }

  /** A lookup reads the integers that a product may share, as rows of bytes. */
  #lookup(scope: EditedScope, choice: WeightOnlyNode, { bits, blockSize }: BlockFormat, weight: StoredWeight): readonly Node[] {
    const { node } = choice;
    const { depth, channels } = matrixShape({ tensor: choice.weight.tensor, depthAxis: choice.depthAxis });
    const { editor } = scopeOf(choice.weight.scope.graph, scope);
    if (weight.rows === undefined) {
      weight.rows = this.#names.unique(`${weight.integers}_rows`);
      const shape = editor.addInitializer(`${weight.rows}_shape`, int64Tensor([channels, (depth * bits) / 8]));
      editor.add(createNode({ name: this.#names.unique(`${weight.rows}_Reshape`), opType: 'Reshape', inputs: [weight.integers, shape], outputs: [weight.rows] }));
    }
    const inputs = [weight.rows, node.inputs[1]!, weight.scales, ...(weight.zeroPoints ? [weight.zeroPoints] : [])];
    const attributes = { bits: int(bits), block_size: int(blockSize), gather_axis: int(0), quantize_axis: int(1) };
    return [createNode({ name: node.name || node.outputs[0]!, opType: 'GatherBlockQuantized', domain: CONTRIB, inputs, outputs: node.outputs, attributes })];
  }

  /** Stores a weight in the graph where it stands, once for all that read it along the same axis in the same form. */
  #weight(scope: EditedScope, choice: WeightOnlyNode, form: WeightForm): StoredWeight {
    const { node, weight, depthAxis } = choice;
    const home = scopeOf(weight.scope.graph, scope);
    const key = `${depthAxis}/${form.as}/${weight.name}`;
    const known = home.stored.get(key);
    if (known) return known;
    const matrix = { tensor: weight.tensor, depthAxis };
    const refuse = () => notFinite(weight.name, node);
    const order: BlockOrder = form.as === 'contrib' ? 'by channel' : 'by depth';
    const packed = form.as === 'channels' ? wholeChannels(matrix, form.dtype, form.perTensor, refuse) : packWeight(matrix, form.format, order, refuse, this.#forms.rounded?.(choice, form.format) ?? this.#forms.fit);
    const put = (suffix: string, tensor: Tensor) => {
      const name = this.#names.unique(`${weight.name}_${suffix}`);
      home.editor.setInitializer(name, tensor);
      return name;
    };
    const bits = form.as === 'channels' ? 8 : form.format.bits;
    const { integers, scales, zeroPoints } = packed;
    const stored = { integers: put(`q${bits}`, integers), scales: put('scales', scales), zeroPoints: zeroPoints ? put('zeros', zeroPoints) : '' };
    home.stored.set(key, stored);
    return stored;
  }
}

/** A weight of [depth, channels] in 8 bits with one scale a channel, or one in all, symmetric. */
function wholeChannels({ tensor, depthAxis }: ChannelMatrix, dtype: QuantizedType, perTensor: boolean, refuse: () => Error): PackedWeight {
  const axis = perTensor ? null : 1 - depthAxis;
  const limit = weightLimit(dtype, false);
  const maxima = channelMaxima(tensor, axis);
  if (!maxima.every(Number.isFinite)) throw refuse();
  const planned = { dtype, axis, scales: '', zeroPoint: weightZeroPoint(dtype), limit };
  const { integers, scale, zeroPoint } = storeDynamicWeight(tensor, planned, [...scalesFromMaxima(maxima, limit)], 'Gather', depthAxis === 1);
  return { integers, scales: scale, zeroPoints: zeroPoint };
}

/** The product reading its weight through DequantizeLinear. The runtime fuses pairs whose DequantizeLinear has one reader, so that each product gets its own. */
function dequantizedProduct({ node, depthAxis }: WeightOnlyNode, form: WeightForm, weight: StoredWeight, names: Names): readonly Node[] {
  const value = names.unique(`${weight.integers}_dq`);
  const inputs = [weight.integers, weight.scales, ...(weight.zeroPoints ? [weight.zeroPoints] : [])];
  const attributes: Record<string, Attribute> = form.as === 'blocks' ? { axis: int(0), block_size: int(form.format.blockSize) } : form.as === 'channels' && !form.perTensor ? { axis: int(1) } : {};
  const product = node.opType === 'Gemm' && depthAxis === 1 ? withAttributes(node, { transB: undefined }) : node;
  return [
    createNode({ name: names.unique(`${value}_DequantizeLinear`), opType: 'DequantizeLinear', inputs, outputs: [value], attributes }),
    { ...product, inputs: node.inputs.map((input, i) => (i === 1 ? value : input)) },
  ];
}

function notFinite(name: string, node: Node): QdqError {
  return new QdqError('model-invalid', `the weight "${name}" contains NaN or infinity`, `Leave its node in float: --exclude "${node.name || node.outputs[0]}".`);
}

function scopeOf(graph: Graph, from: EditedScope): EditedScope {
  for (let scope: EditedScope | undefined = from; scope; scope = scope.parent) if (scope.graph === graph) return scope;
  throw new RangeError('a constant stands in no graph around its reader');
}

/** Drops Constant and Transpose nodes that nothing reads any more, and the constants that only they read. */
function withoutOrphans(graph: Graph, before: Graph): Graph {
  const index = indexOf(graph);
  const then = indexOf(before);
  const isOrphan = ({ opType, outputs }: Node) => /^(Constant|Transpose)$/.test(opType) && outputs.every((output) => then.isRead(output) && !index.isRead(output));
  const orphans = graph.nodes.filter(isOrphan);
  if (orphans.length === 0) return graph;
  const editor = new GraphEditor(graph);
  for (const node of orphans) editor.replace(node);
  return editor.finish();
}
