import type { PlannedNode, PlannedTensor, QuantizationPlan } from './plan.js';

/** What the runtime made of the nodes of a plan. */
export interface FusionEvidence {
  /** Kernel of each compute node by name. */
  readonly kernels: ReadonlyMap<string, string>;
  /** Why compute nodes run in float, by name. */
  readonly float: ReadonlyMap<string, string>;
  /** Names of nodes that read from a DequantizeLinear in the fused graph. */
  readonly readDequantized: ReadonlySet<string>;
}

/** A changed plan and, in words, what changed. */
export interface Repair {
  readonly plan: QuantizationPlan;
  readonly changes: readonly { readonly names: readonly string[]; readonly message: string }[];
}

/**
 * Changes a plan where the runtime did not fuse what it asks for: a bias is stored in the other way, and where that has been tried, the
 * node goes back to float, so that no Q/DQ is left that feeds no integer kernel. Undefined where everything fused. `tried` holds the names
 * of nodes whose bias was changed before.
 */
export function repairPlan(plan: QuantizationPlan, evidence: FusionEvidence, tried: Set<string>): Repair | undefined {
  const rebiased: string[] = [];
  const removed = new Set<string>();
  const nodes = plan.nodes.map((node): PlannedNode => {
    if (!node.kernel) return node;
    const unfused = evidence.float.has(node.name) || evidence.readDequantized.has(node.name);
    const separateAdd = node.biasAdd?.as === 'int32' && /MatMul/.test(evidence.kernels.get(node.name) ?? '');
    if (!unfused && !separateAdd) return node;
    if (node.biasAdd && !tried.has(node.name)) {
      tried.add(node.name);
      rebiased.push(node.name);
      return { ...node, biasAdd: { ...node.biasAdd, as: node.biasAdd.as === 'int32' ? 'float' : 'int32' } };
    }
    if (!unfused) return node;
    removed.add(node.name);
    return { name: node.name, opType: node.opType, decision: 'float', reason: evidence.float.get(node.name) ?? 'onnxruntime did not fuse it with its Q/DQ nodes' };
  });
  if (rebiased.length === 0 && removed.size === 0) return undefined;
  const released = nodes.map((node): PlannedNode => {
    if (node.takenBy === undefined || !removed.has(node.takenBy)) return node;
    return { name: node.name, opType: node.opType, decision: 'float', reason: 'the node before it stays float' };
  });
  return {
    plan: { ...plan, nodes: released, tensors: usedTensors(released, plan.tensors) },
    changes: [
      ...(rebiased.length > 0 ? [{ names: rebiased, message: `the bias of ${rebiased.length} MatMul nodes is stored in the way that the runtime fuses` }] : []),
      ...(removed.size > 0 ? [{ names: [...removed], message: `${removed.size} nodes went back to float because the runtime did not fuse them` }] : []),
    ],
  };
}

/** The tensors that some quantized node still reads or makes. */
export function usedTensors(nodes: readonly PlannedNode[], tensors: QuantizationPlan['tensors']): Record<string, PlannedTensor> {
  const used = new Set(nodes.flatMap((node) => [...Object.values(node.activations ?? {}), ...(node.outputs ?? [])]));
  return Object.fromEntries(Object.entries(tensors).filter(([name]) => used.has(name)));
}
