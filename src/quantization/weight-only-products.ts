import { QdqError } from '../errors.js';
import { mapSubgraphs } from '../graph/attributes.js';
import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';
import { Names } from '../graph/names.js';
import type { Tensor } from '../tensor/tensor.js';
import { constantIn, type Scope } from './scopes.js';
import { matrixShape } from './weight-only-blocks.js';
import type { BlockFormat } from './weight-only-format.js';
import { packWeight, type PackedWeight } from './weight-only-packing.js';
import { selectWeightOnly, type WeightOnlyChoice, type WeightOnlyNode } from './weight-only-select.js';

/** How MatMulNBits is to store its weight and to multiply. */
export interface BlockProductOptions extends BlockFormat {
  /** 4: activations become int8 and products are integers; 0: weights are dequantized and multiplied as they are. */
  readonly accuracyLevel: number;
}

/** 8-bit weights in blocks, multiplied in integers: the most exact integer product that needs no data. */
export const BLOCK_PRODUCT_DEFAULTS: BlockProductOptions = { bits: 8, blockSize: 32, symmetric: true, accuracyLevel: 4 };

const CONTRIB = 'com.microsoft';

/**
 * The graph with the MatMul and Gemm nodes of these names as com.microsoft MatMulNBits, in bodies too. Names whose nodes cannot be (no
 * constant matrix, transA, fewer than 16 products a sum) stay as they are. The model must import com.microsoft 1. Throws `model-invalid` where
 * a weight is not finite.
 */
export function withBlockProducts(graph: Graph, names: ReadonlySet<string>, options: BlockProductOptions = BLOCK_PRODUCT_DEFAULTS): Graph {
  const keptFloat = (node: Node) => (names.has(node.name || (node.outputs[0] ?? '')) ? undefined : 'not asked for');
  return storeBlocks(graph, selectWeightOnly(graph, { keptFloat, lookups: false }), options);
}

/** The graph with each choice carried out; choices are those of `selectWeightOnly` for the same graph. */
export function storeBlocks(graph: Graph, choices: readonly WeightOnlyChoice[], options: BlockProductOptions): Graph {
  return new BlockRecipe(graph, choices, options).apply();
}

interface EditedScope extends Scope {
  readonly editor: GraphEditor;
  readonly parent: EditedScope | undefined;
  readonly stored: Map<string, StoredBlocks>;
}

/** Names of a weight's constants. */
interface StoredBlocks {
  readonly integers: string;
  readonly scales: string;
  /** '' where they all are the middle. */
  readonly zeroPoints: string;
}

class BlockRecipe {
  readonly #graph: Graph;
  readonly #choices: readonly WeightOnlyChoice[];
  readonly #options: BlockProductOptions;
  readonly #names: Names;
  #at = 0;

  constructor(graph: Graph, choices: readonly WeightOnlyChoice[], options: BlockProductOptions) {
    this.#graph = graph;
    this.#choices = choices;
    this.#options = options;
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
      if (choice.form === 'product') editor.replace(node, ...this.#product(scope, choice));
      else if (inside !== node) editor.replace(node, inside);
    }
    return withoutOrphans(editor.finish(), graph);
  }

  #product(scope: EditedScope, choice: WeightOnlyNode): readonly Node[] {
    const { node } = choice;
    const weight = this.#weight(scope, choice);
    const { depth, channels } = matrixShape({ tensor: choice.weight.tensor, depthAxis: choice.depthAxis });
    const [x = '', , addend = ''] = node.inputs;
    const bias = node.opType === 'Gemm' ? addend : '';
    const isVector = bias !== '' && constantIn(scope, bias)?.tensor.dims.join() === String(channels);
    const output = node.outputs[0]!;
    const product = bias === '' || isVector ? output : this.#names.unique(`${output}_product`);
    const inputs = [x, weight.integers, weight.scales, weight.zeroPoints, '', isVector ? bias : ''];
    while (inputs.at(-1) === '') inputs.pop();
    const { bits, blockSize, accuracyLevel } = this.#options;
    const int = (value: number) => ({ kind: 'int', value }) as const;
    const name = node.name || output;
    const attributes = { K: int(depth), N: int(channels), bits: int(bits), block_size: int(blockSize), accuracy_level: int(accuracyLevel) };
    return [
      createNode({ name, opType: 'MatMulNBits', domain: CONTRIB, inputs, outputs: [product], attributes }),
      ...(product === output ? [] : [createNode({ name: this.#names.unique(`${name}_bias`), opType: 'Add', inputs: [product, bias], outputs: [output] })]),
    ];
  }

  /** Stores a weight in the graph where it stands, once for all that read it along the same axis. */
  #weight(scope: EditedScope, { node, weight, depthAxis }: WeightOnlyNode): StoredBlocks {
    const home = scopeOf(weight.scope.graph, scope);
    const key = `${depthAxis}/${weight.name}`;
    const known = home.stored.get(key);
    if (known) return known;
    const packed = packWeight({ tensor: weight.tensor, depthAxis }, this.#options, () => notFinite(weight.name, node));
    const stored = this.#put(home.editor, weight.name, packed);
    home.stored.set(key, stored);
    return stored;
  }

  #put(editor: GraphEditor, name: string, { integers, scales, zeroPoints }: PackedWeight): StoredBlocks {
    const put = (suffix: string, tensor: Tensor) => {
      const unique = this.#names.unique(`${name}_${suffix}`);
      editor.setInitializer(unique, tensor);
      return unique;
    };
    return { integers: put(`q${this.#options.bits}`, integers), scales: put('scales', scales), zeroPoints: zeroPoints ? put('zeros', zeroPoints) : '' };
  }
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
