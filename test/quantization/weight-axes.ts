import assert from 'node:assert/strict';
import { intAttribute } from '../../src/graph/attributes.js';
import { indexOf } from '../../src/graph/graph-index.js';
import type { Graph, Node } from '../../src/graph/model.js';
import { isDequantize } from '../../src/runtime/kernels.js';
import { elementCount } from '../../src/tensor/tensor.js';

/** Along which axis of its weight a node takes scales; onnxruntime fuses others as well, and then computes something else. */
function channelAxis(reader: Node, rank: number): number | undefined {
  switch (reader.opType) {
    case 'Conv':
      return 0;
    case 'MatMul':
      return rank - 1;
    case 'Gemm':
      return intAttribute(reader, 'transB', 0) === 0 ? 1 : 0;
    default:
      return undefined;
  }
}

/** Asserts that every weight with scales of its own for each channel has them along the axis that its readers take. Returns how many there are. */
export function assertWeightAxes(graph: Graph): number {
  const index = indexOf(graph);
  let count = 0;
  for (const node of graph.nodes) {
    const [weight, scale] = [node.inputs[0], node.inputs[1]].map((name) => index.constant(name ?? ''));
    if (!isDequantize(node) || !weight || !scale || weight.dims.length < 2 || elementCount(scale.dims) === 1) continue;
    for (const use of index.uses(node.outputs[0]!)) {
      if (use.input !== 1) continue;
      count++;
      assert.equal(intAttribute(node, 'axis', 1), channelAxis(use.node, weight.dims.length), `axis of ${node.name} for ${use.node.opType} "${use.node.name}"`);
      assert.equal(elementCount(scale.dims), weight.dims[intAttribute(node, 'axis', 1)], node.name);
    }
  }
  return count;
}
