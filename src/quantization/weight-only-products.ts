import type { Graph, Node } from '../graph/model.js';
import type { BlockFormat } from './weight-only-format.js';
import { storeWeights } from './weight-only-recipe.js';
import { selectWeightOnly } from './weight-only-select.js';

/** How MatMulNBits is to store its weight and to multiply. */
export interface BlockProductOptions extends BlockFormat {
  /** 4: activations become int8 and products are integers; 0: weights are dequantized and multiplied as they are. */
  readonly accuracyLevel: number;
}

/** 8-bit weights in blocks, multiplied in integers: the most exact integer product that needs no data. */
export const BLOCK_PRODUCT_DEFAULTS: BlockProductOptions = { bits: 8, blockSize: 32, symmetric: true, accuracyLevel: 4 };

/**
 * The graph with the MatMul and Gemm nodes of these names as com.microsoft MatMulNBits, in bodies too. Names whose nodes cannot be (no
 * constant matrix, transA, fewer than 16 products a sum) stay as they are. The model must import com.microsoft 1. Throws `model-invalid` where
 * a weight is not finite.
 */
export function withBlockProducts(graph: Graph, names: ReadonlySet<string>, options: BlockProductOptions = BLOCK_PRODUCT_DEFAULTS): Graph {
  const keptFloat = (node: Node) => (names.has(node.name || (node.outputs[0] ?? '')) ? undefined : 'not asked for');
  const { accuracyLevel, ...format } = options;
  return storeWeights(graph, selectWeightOnly(graph, { keptFloat, lookupBlock: null }), { formOf: () => ({ as: 'contrib', format, accuracyLevel }) });
}
